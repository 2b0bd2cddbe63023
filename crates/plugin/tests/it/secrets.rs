//! Nothing secret leaves the process by logs, errors or the admin port, at any level and in any encoding.

use std::collections::HashMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keystead_proto::kms_v1;
use keystead_proto::kms_v2::{DecryptRequest, EncryptRequest, StatusRequest};
use tonic::Status;

use crate::plugin_process::{Place, Plugin, clients, get};

/// Text, so that a log would show it as it is; and bytes, which a log would escape or list.
const CANARIES: [&[u8]; 2] = [b"canary-5e0f-NOT-FOR-ANY-LOG-7a91", &[0x9c; 32]];

/// Every way in which a program writes bytes down by accident.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    let hex = |separator: &str, upper: bool| {
        let digits =
            secret.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
        digits.collect::<Vec<_>>().join(separator).into_bytes()
    };
    for separator in ["", " ", ":"] {
        forms.extend([hex(separator, false), hex(separator, true)]);
    }
    // In base64 a text looks different at each of three places in what is encoded around it.
    for before in 0..3 {
        let padded = [vec![0; before], secret.to_vec()].concat();
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = alphabet.encode(&padded).into_bytes();
            // The characters at both ends hold bits of the neighbours.
            forms.push(encoded[(before * 8).div_ceil(6)..encoded.len() - 1].to_vec());
        }
    }
    // Rust's `{:?}` of a list of bytes, and of a text of bytes.
    forms.push(format!("{secret:?}").trim_matches(['[', ']']).as_bytes().to_vec());
    forms.push(secret.escape_ascii().to_string().into_bytes());
    forms
}

/// What is found of this secret: whole, or any 12 bytes of it.
fn found(text: &[u8], secret: &[u8]) -> Vec<String> {
    let pieces = secret.chunks_exact(12).chain([secret]);
    pieces
        .flat_map(forms)
        .filter(|form| text.windows(form.len()).any(|window| window == form))
        .map(|form| String::from_utf8_lossy(&form).into_owned())
        .collect()
}

#[test]
fn the_scanner_finds_each_form() {
    for secret in CANARIES {
        let mut planted: Vec<Vec<u8>> = forms(secret);
        for before in [&b""[..], b"a", b"ab", b"abc", b"{\"key\":\""] {
            let inside = [before, secret, b"\", and more"].concat();
            planted.push(STANDARD.encode(&inside).into_bytes());
            planted.push(base64::engine::general_purpose::URL_SAFE.encode(&inside).into_bytes());
        }
        planted.push(format!("{:?}", [b"xx", secret, b"yy"].concat()).into_bytes());
        planted.push(secret[..24].to_vec());
        for form in planted {
            let log = [b"2026-01-31 INFO text=", &form[..], b" other=1\n"].concat();
            assert!(!found(&log, secret).is_empty(), "{}", String::from_utf8_lossy(&log));
        }
        assert_eq!(found(b"2026-01-31 INFO nothing of that kind", secret), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn at_trace_level_no_call_leaves_a_plaintext_or_a_key_behind() {
    for format in ["json", "text"] {
        let place = Place::new();
        let mut command = place.serve();
        command.env("KEYSTEAD_LOG_FORMAT", format).env("KEYSTEAD_PROBE_INTERVAL", "100ms");
        let mut plugin = Plugin::start(command);
        plugin.says("encrypting");
        let mut told = Vec::new();
        for canary in CANARIES {
            told.extend(every_call(&place, canary).await);
        }
        assert!(told.len() > 20, "calls did fail: {}", told.len());
        // The file turns bad and good again, and a key is added: all of it is logged.
        let good = fs::read(place.key()).expect("a key file");
        place.write("key", &good[..good.len() - 20], 0o600);
        plugin.says("last good one");
        place.write("key", &good, 0o600);
        assert_eq!(place.run(["key", "rotate", "--single-host", "--key-file", "key"]).code, 0);
        plugin.says("was rotated");

        told.extend(["/metrics", "/readyz", "/livez"].map(|path| get(plugin.admin(), path).1));
        let ended = plugin.terminate();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains("V2Decrypt") && ended.stderr.contains("DEBUG"), "calls are logged");
        told.extend([ended.stdout, ended.stderr]);
        told.push(place.run(["key", "list", "--key-file", "key"]).stdout);

        let text = told.join("\n").into_bytes();
        for secret in CANARIES.iter().map(|it| it.to_vec()).chain(keys(&place)) {
            assert_eq!(found(&text, &secret), [""; 0], "{}", String::from_utf8_lossy(&text));
        }
    }
}

/// Every method of both APIs, well and badly; gives what the errors say.
async fn every_call(place: &Place, canary: &[u8]) -> Vec<String> {
    let (mut v1, mut v2) = clients(&place.socket()).await;
    let mut errors = Vec::new();
    let mut note = |error: Option<Status>| {
        errors.extend(error.map(|error| format!("{error:?} {error}")));
    };
    v2.status(StatusRequest {}).await.expect("ready");
    v1.version(kms_v1::VersionRequest { version: "v1beta1".into() }).await.expect("a version");

    let too_long = canary.repeat(9);
    for plaintext in [canary, &too_long] {
        let request = EncryptRequest { plaintext: plaintext.to_vec(), uid: "1".into() };
        note(v2.encrypt(request).await.err());
        let request = kms_v1::EncryptRequest { version: "v1beta1".into(), plain: plaintext.to_vec() };
        note(v1.encrypt(request).await.err());
    }
    let request = EncryptRequest { plaintext: canary.to_vec(), uid: "2".into() };
    let sealed = v2.encrypt(request).await.expect("sealed").into_inner();
    let request = DecryptRequest {
        ciphertext: sealed.ciphertext.clone(),
        uid: "3".into(),
        key_id: sealed.key_id.clone(),
        annotations: HashMap::new(),
    };
    assert_eq!(v2.decrypt(request.clone()).await.expect("opened").into_inner().plaintext, canary);

    // A plaintext where a ciphertext belongs, alone and behind a good beginning; changed, cut; with annotations.
    let mut changed = sealed.ciphertext.clone();
    *changed.last_mut().expect("not empty") ^= 1;
    let cut = &sealed.ciphertext[..sealed.ciphertext.len() - 1];
    let behind = [&sealed.ciphertext[..sealed.ciphertext.len() / 2], canary].concat();
    for ciphertext in [canary, &[&[1], canary].concat(), &[&[1, 32], canary].concat(), &behind, &changed, cut]
    {
        let ciphertext = ciphertext.to_vec();
        note(v2.decrypt(DecryptRequest { ciphertext: ciphertext.clone(), ..request.clone() }).await.err());
        let request = kms_v1::DecryptRequest { version: "v1beta1".into(), cipher: ciphertext };
        note(v1.decrypt(request).await.err());
    }
    let annotations = HashMap::from([("a.example.com".to_owned(), canary.to_vec())]);
    note(v2.decrypt(DecryptRequest { annotations, ..request.clone() }).await.err());
    note(v2.decrypt(DecryptRequest { key_id: String::new(), ..request }).await.err());
    let huge = canary.repeat(8 * 1024);
    note(v2.encrypt(EncryptRequest { plaintext: huge, uid: "4".into() }).await.err());
    errors
}

/// The key material of a key file.
fn keys(place: &Place) -> Vec<Vec<u8>> {
    let file = fs::read_to_string(place.key()).expect("a key file");
    let versions = file.lines().filter(|line| line.starts_with("version "));
    let keys: Vec<_> = versions
        .map(|line| STANDARD.decode(line.split(' ').nth(3).expect("a key")).expect("base64"))
        .collect();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|key| key.len() == 32));
    keys
}
