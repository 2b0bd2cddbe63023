//! Heads that are signed and kept elsewhere.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use keystead_audit::{AuditLog, AuditSettings, HeadError, HeadSigner, SignedHead, SignedHeads, verify};
use keystead_crypto::{PublicKey, SecretBytes};

use crate::scene;

fn signer() -> HeadSigner {
    HeadSigner::from_pkcs8(&HeadSigner::generate().expect("a key")).expect("its own form")
}

fn signed(signer: &HeadSigner) -> SignedHead {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=3);
    signer.sign(&log.head())
}

#[test]
fn a_head_is_good_for_its_key_only_and_only_as_it_was() {
    let signer = signer();
    let head = signed(&signer);
    let text = head.to_string();
    let read: SignedHead = text.parse().expect("its own text");
    assert_eq!(read.verify(&signer.public_key()), Ok(head.unverified()));
    assert_eq!(head.unverified().sequence, 3);
    let other = HeadSigner::from_pkcs8(&HeadSigner::generate().expect("a key")).expect("its own form");
    assert_eq!(read.verify(&other.public_key()), Err(HeadError::Signature));
    for (from, to) in [("sequence 3", "sequence 4"), ("hash ", "hash 0"), ("12:00:00.5Z", "12:00:00Z")] {
        let changed = text.replace(from, to);
        let changed = if from == "hash " {
            changed.replacen("hash 0", "hash ", 1).replacen('a', "b", 40)
        } else {
            changed
        };
        assert_ne!(changed, text);
        if let Ok(head) = changed.parse::<SignedHead>() {
            assert_eq!(head.verify(&signer.public_key()), Err(HeadError::Signature), "{changed}");
        }
    }
}

#[test]
fn what_is_nearly_a_head_or_a_key_is_refused() {
    let signer = signer();
    let text = signed(&signer).to_string();
    for bad in [
        String::new(),
        text.trim_end().to_owned(),
        format!("{text}\n"),
        format!(" {text}"),
        text.replace("sequence 3", "sequence 03"),
        text.replace("sequence 3", "sequence +3"),
        text.replace("head 1", "head 2"),
        text.replace('\n', "\r\n"),
        text.lines().rev().collect::<Vec<_>>().join("\n"),
    ] {
        assert_eq!(bad.parse::<SignedHead>(), Err(HeadError::Form), "{bad}");
    }
    let refused = HeadSigner::from_pkcs8(&SecretBytes::from(vec![0; 83])).err();
    assert_eq!(refused, Some(HeadError::SecretKey));
}

/// As the page on the format says: without any program of ours.
#[test]
fn openssl_checks_a_head() {
    let signer = signer();
    let text = signed(&signer).to_string();
    let dir = scene::directory();
    fs::write(dir.path().join("head"), &text).expect("writable");
    fs::write(dir.path().join("key.pem"), signer.public_key().to_string()).expect("writable");
    let script = "sed '$d' head >signed && sed -n 's/^signature //p' head | base64 -d >signature &&
        openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in signed -sigfile signature";
    let run = || {
        let output =
            Command::new("sh").args(["-c", script]).current_dir(dir.path()).output().expect("sh runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (good, said) = run();
    assert!(good, "{said}");
    fs::write(dir.path().join("head"), text.replace("sequence 3", "sequence 2")).expect("writable");
    assert!(!run().0);
}

#[test]
fn a_head_is_signed_while_the_log_is_open_and_when_it_is_closed() {
    let dir = scene::directory();
    let (log_dir, file) = (dir.path().join("log"), dir.path().join("head"));
    let signed_heads = Some(SignedHeads { signer: Arc::new(signer()), file: file.clone() });
    let log = AuditLog::open(&log_dir, AuditSettings { signed_heads, ..scene::settings() }).expect("opens");
    let key: PublicKey =
        fs::read_to_string(dir.path().join("head.pem")).expect("text").parse().expect("a key");
    let kept = || {
        let text = fs::read_to_string(&file).ok()?;
        Some(text.parse::<SignedHead>().expect("a head").verify(&key).expect("signed by the key beside it"))
    };
    scene::append(&log, [1]);
    scene::wait_until("the first head", || kept().is_some_and(|it| it.sequence == 1));
    scene::append(&log, 2..=5);
    log.close();
    let head = kept().expect("a head");
    assert_eq!(head.sequence, 5);
    assert!(verify(&log_dir, Some(&head)).expect("good").head_found);
}
