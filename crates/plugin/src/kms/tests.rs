use keystead_crypto::{MAX_CIPHERTEXT_LEN, SystemRandom};
use keystead_model::KeyVersion;
use keystead_provider::Description;

use super::*;
use crate::testbed::Testbed;

async fn started() -> Testbed {
    let bed = Testbed::new();
    assert!(bed.prober().probe_once().await);
    bed
}

async fn class_of(bed: &Testbed, ciphertext: &[u8], key_id: Option<&str>) -> Option<ErrorClass> {
    bed.kms.decrypt(ciphertext, key_id).await.err().map(|error| error.class())
}

#[tokio::test]
async fn every_length_up_to_256_comes_back_and_257_is_refused() {
    let bed = started().await;
    // 4 bytes are the `ping` of kube-apiserver's health check of KMS v1.
    for plaintext in [&b""[..], b"\0", b"ping", &[7; 32], &[7; 255], &[7; 256]] {
        let Encrypted { ciphertext, key_id } = bed.kms.encrypt(plaintext).expect("sealed");
        assert!(ciphertext.len() < 1024, "kube-apiserver refuses more");
        for key_id in [None, Some(key_id.as_str())] {
            let opened = bed.kms.decrypt(&ciphertext, key_id).await.expect("opened");
            assert_eq!(opened.expose(), plaintext);
        }
    }
    let error = bed.kms.encrypt(&[7; 257]).err().expect("too long");
    assert_eq!(error.class(), ErrorClass::Invalid);
    assert_eq!(error.to_string(), "the plaintext has 257 bytes; at most 256 can be encrypted");
}

#[tokio::test]
async fn one_plaintext_never_gives_one_ciphertext_twice() {
    let bed = started().await;
    let seal = || bed.kms.encrypt(b"seed").expect("sealed").ciphertext;
    assert_ne!(seal(), seal());
}

#[tokio::test]
async fn the_key_id_beside_the_ciphertext_must_be_the_one_in_it() {
    let bed = started().await;
    let Encrypted { ciphertext, key_id } = bed.kms.encrypt(b"seed").expect("sealed");
    let next = key_id.replace("-a1-", "-a2-");
    let longer = format!("{key_id} ");
    let long = "k".repeat(100_000);
    for given in ["", "local", next.as_str(), longer.as_str(), key_id.to_uppercase().as_str(), &long] {
        let error = bed.kms.decrypt(&ciphertext, Some(given)).await.err().expect("refused");
        assert_eq!(error.class(), ErrorClass::Invalid, "{given:.40}");
        assert!(error.to_string().len() < 300, "what comes from outside is cut: {error:.400}");
    }
}

#[tokio::test]
async fn what_comes_from_outside_stays_on_one_line() {
    let bed = started().await;
    let ciphertext = bed.kms.encrypt(b"seed").expect("sealed").ciphertext;
    let error =
        bed.kms.decrypt(&ciphertext, Some("a\nERROR all is lost\u{1b}[2J")).await.err().expect("refused");
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
}

#[tokio::test]
async fn ciphertexts_of_other_keys_are_refused_without_a_call() {
    let bed = started().await;
    let (other, third) = (started().await, Description { kind: "memory", key_name: "k".into() });
    let foreign = other.kms.encrypt(b"seed").expect("sealed");
    let key = other.wrap().await;
    let reference = third.reference(KeyVersion::from(1), None).expect("a good reference");
    let other_kind = Envelope::seal(&reference, &key.key, &key.wrapped, b"seed", &SystemRandom);

    let calls = bed.backend.unwraps();
    assert_eq!(class_of(&bed, &foreign.ciphertext, None).await, Some(ErrorClass::NotFound));
    assert_eq!(class_of(&bed, &foreign.ciphertext, Some(&foreign.key_id)).await, Some(ErrorClass::NotFound));
    assert_eq!(class_of(&bed, &other_kind.expect("sealed"), None).await, Some(ErrorClass::NotFound));
    assert_eq!(bed.backend.unwraps(), calls);
}

#[tokio::test]
async fn a_wrapped_key_moved_to_another_ciphertext_opens_nothing() {
    let bed = started().await;
    let (one, two) = (bed.wrap().await, bed.wrap().await);
    // Its wrapped key unwraps well, to a key that the message was not sealed with.
    let swapped = Envelope::seal(&one.reference, &one.key, &two.wrapped, b"seed", &SystemRandom);
    assert_eq!(class_of(&bed, &swapped.expect("sealed"), None).await, Some(ErrorClass::Corrupt));
}

#[tokio::test]
async fn truncated_at_any_length_or_longer_is_refused() {
    let bed = started().await;
    let Encrypted { ciphertext, key_id } = bed.kms.encrypt(b"seed").expect("sealed");
    for len in 0..ciphertext.len() {
        for key_id in [None, Some(key_id.as_str())] {
            assert!(class_of(&bed, &ciphertext[..len], key_id).await.is_some(), "{len} bytes");
        }
    }
    for more in [1, 16, 1024, 100_000] {
        let longer = [ciphertext.clone(), vec![0; more]].concat();
        assert!(class_of(&bed, &longer, None).await.is_some(), "{more} bytes more");
    }
}

/// Each bit of each byte, in memory (the key is known) and through the backend (a plugin that has not seen the key).
#[tokio::test]
async fn every_flipped_bit_is_an_error_and_never_bytes() {
    let bed = started().await;
    let Encrypted { ciphertext, key_id } = bed.kms.encrypt(&[7; 32]).expect("sealed");
    let other = bed.another();
    for bed in [&bed, &other] {
        for bit in 0..ciphertext.len() * 8 {
            let mut flipped = ciphertext.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for key_id in [None, Some(key_id.as_str())] {
                assert!(class_of(bed, &flipped, key_id).await.is_some(), "bit {bit}");
            }
        }
        let opened = bed.kms.decrypt(&ciphertext, Some(&key_id)).await;
        assert_eq!(opened.expect("the good one still opens").expose(), [7; 32]);
    }
}

proptest::proptest! {
    #[test]
    fn junk_is_refused(junk in proptest::collection::vec(proptest::num::u8::ANY, 0..MAX_CIPHERTEXT_LEN + 100)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bed = started().await;
            // Also behind a good beginning.
            let good = bed.kms.encrypt(b"seed").expect("sealed").ciphertext;
            let begins_well = [&good[..good.len() / 2], &junk].concat();
            for junk in [&junk, &begins_well] {
                let class = class_of(&bed, junk, None).await;
                assert!(
                    matches!(class, Some(ErrorClass::Invalid | ErrorClass::Corrupt | ErrorClass::NotFound)),
                    "{class:?}"
                );
            }
        });
    }
}
