//! Any sealed key file, and any recipient: no panic, nothing opens that was not sealed, and a recipient prints back
//! identically. Good inputs to start from: the examples in `docs/formats/key-file.md`.
#![no_main]

use std::sync::LazyLock;

use keystead_provider_local::{Identity, Recipient, open_sealed};
use libfuzzer_sys::fuzz_target;

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::generate().expect("generated"));

fuzz_target!(|bytes: &[u8]| {
    assert!(open_sealed(&IDENTITY, bytes).is_err());
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(recipient) = text.parse::<Recipient>()
    {
        assert_eq!(recipient.to_string(), text.trim());
    }
});
