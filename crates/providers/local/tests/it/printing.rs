//! No error holds a key, in no form.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use keystead_crypto::{CryptoFailed, Random};
use keystead_model::{ErrorChain, KeyVersion};
use keystead_provider::Provider;
use keystead_provider_local::{Identity, KeyFile, create, edit, load, open_sealed, seal_to, store};

use crate::fixed::{NOW, Place, body, key, set_mode, with_digest};

/// All key material is this, so that any trace of it can be found.
const CANARY: u8 = 0xc7;

struct Canaries;

impl Random for Canaries {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CryptoFailed> {
        bytes.fill(CANARY);
        Ok(())
    }
}

fn canary_file() -> KeyFile {
    let mut file = KeyFile::generate(NOW, &Canaries).expect("generated");
    file.add(NOW, &Canaries).expect("added");
    file
}

fn assert_clean(error: &(impl Error + 'static)) {
    for text in [ErrorChain(error).to_string(), format!("{error:?}"), format!("{error:#?}")] {
        for trace in
            [BASE64.encode([CANARY; 3]), "199, 199".to_owned(), "199,\n".to_owned(), "c7c7c7".repeat(6)]
        {
            assert!(!text.contains(&trace), "{text}");
        }
    }
}

/// The canary is found where it is, so that finding none means something.
#[test]
fn canary_is_in_the_file() {
    assert!(canary_file().print().contains(&BASE64.encode([CANARY; 3])));
}

#[test]
fn errors_of_parsing_hold_no_key() {
    let good = body(&canary_file());
    let line = good.lines().find(|line| line.starts_with("version 2")).expect("version 2");
    let encoded = BASE64.encode([CANARY; 32]);
    for (from, to) in [
        ("next 3", encoded.as_str()),
        ("next 3", &format!("next {encoded}")),
        ("primary 1", &format!("primary {encoded}")),
        ("activation 1", line),
        ("id ", &format!("id {encoded} ")),
        (line, &format!("{line} {encoded}")),
        (line, &line.replace("2026-01-31T12:00:00Z ", "")),
        (line, &line.replace("2026-01-31T12:00:00Z", &encoded)),
        (line, &line.replace("version 2", &format!("version {encoded}"))),
        (line, &line.replace("version 2", "version 1")),
        (line, &format!("{line}{encoded}")),
        (line, &line.replace('=', "")),
        (line, &encoded),
        ("keystead-key-file 2", &encoded),
    ] {
        assert!(good.contains(from));
        let text = with_digest(&good.replacen(from, to, 1));
        assert_clean(
            &KeyFile::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("accepted {from} -> {to}")),
        );
        let truncated = text.split_at(text.len() - 10).0;
        assert_clean(&KeyFile::parse(truncated.as_bytes()).err().expect("truncated"));
    }
}

#[test]
fn errors_of_the_disk_hold_no_key() {
    let place = Place::new();
    create(&place.key_file(), &canary_file()).expect("created");
    assert_clean(&create(&place.key_file(), &canary_file()).expect_err("exists"));
    assert_clean(&edit(&place.key_file(), |file| file.remove(1)).expect_err("primary"));
    assert_clean(&edit(&place.key_file(), |file| file.remove(7)).expect_err("no such version"));
    assert_clean(&store(&place.key_file(), crate::fixed::fresh()).expect_err("another key"));
    std::fs::write(place.key_file(), body(&canary_file())).expect("written");
    assert_clean(&load(&place.key_file()).err().expect("no digest"));
    set_mode(&place.key_file(), 0o644);
    assert_clean(&load(&place.key_file()).err().expect("mode"));
}

#[test]
fn errors_of_moving_hold_no_key() {
    let place = Place::new();
    let path = place.path("identity");
    let encoded = BASE64.encode([CANARY; 64]);
    for text in [
        format!("keystead-identity-1:{encoded}A\n"),
        encoded.clone(),
        format!("keystead-identity-1: {encoded}"),
    ] {
        std::fs::write(&path, text).expect("written");
        set_mode(&path, 0o600);
        assert_clean(&Identity::load(&path).err().expect("refused"));
    }
    std::fs::write(&path, format!("keystead-identity-1:{encoded}\n")).expect("written");
    let canary = Identity::load(&path).expect("64 bytes");
    let other = Identity::generate().expect("generated");
    let sealed = seal_to(&other.recipient(), &canary_file()).expect("sealed");
    assert_clean(&open_sealed(&canary, sealed.as_bytes()).err().expect("another recipient"));
    assert_clean(&open_sealed(&canary, canary_file().print().as_bytes()).err().expect("not sealed"));
    assert_clean(&encoded.parse::<keystead_provider_local::Recipient>().expect_err("no recipient"));
}

#[tokio::test]
async fn errors_of_the_provider_hold_no_key() {
    let place = Place::new();
    create(&place.key_file(), &canary_file()).expect("created");
    let provider = place.provider();
    let wrapped = provider.wrap(&key()).await.expect("wrapped");
    for version in [KeyVersion::from(2), KeyVersion::from(9), KeyVersion::from(1)] {
        let error = provider.unwrap(&version, &wrapped.bytes[1..]).await.err().expect("refused");
        assert_clean(&error);
    }
}
