//! Any bytes as the signing request of a host that joins: no panic, and the digest of its public key is 64 hexadecimal digits.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystead_server::pki::public_key_digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The encoding in PEM is no fuzzer's: it is made right here.
    let pem = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        STANDARD.encode(bytes)
    );
    for request in [&pem, std::str::from_utf8(bytes).unwrap_or_default()] {
        if let Ok(digest) = public_key_digest(request) {
            assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
        }
    }
});
