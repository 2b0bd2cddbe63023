use keystead_crypto::{MAX_CIPHERTEXT_LEN, SystemRandom};
use keystead_model::KeyVersion;
use keystead_provider::Description;
use keystead_provider_local::KeyFile;

use super::*;
use crate::testbed::{OUTAGE_BOUND, Testbed};

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
    let reference = third.reference(KeyVersion::from(1), None, None).expect("a good reference");
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

/// What a plugin of before fingerprints in key ids encrypted, with the key file of format 1 in `docs/formats/key-file.md`.
const OLD_KEY_ID: &str = "local-v3-a4-cbfcf3f9dbdf58c6";
const OLD_CIPHERTEXT: &str = "011c6c6f63616c2d76332d61342d636266636633663964626466353863360060ea0efb02cdab74aa4cf08cc58cea\
    6c45fe97c80f23709fb5254af0dbce86dd0c6a67d08fe788d90f62e04260e8f6abcb31f7cb7aab21628ee78e4c8fa26d774cf34df1bd31a5e37075\
    5d1cc03f40bbee03771ea0cec87c82a14fae9fa875255e99dbceb2c4e29af45c824ba49cd66a0838d29d950f5dd927f49b3b3a72b5d77f3892bee6\
    cdf17f084d497f1bd443fcf37685b3a5c90c1f17e9616b1fa37aff55c04eafb5a234acca32715572068595a10d6a564a27ac845dcaf32f3135350f\
    50";
const OLD_SEED: &[u8] = b"a seed of 32 bytes, as they are.";

#[tokio::test]
async fn what_was_encrypted_before_an_update_opens_and_keeps_its_key_id_until_the_next_rotation() {
    let document = include_str!("../../../../docs/formats/key-file.md");
    let (_, rest) = document.split_once("```key-file-1\n").expect("the document has the block");
    let (text, _) = rest.split_once("```").expect("the block ends");
    let file = KeyFile::parse(text.as_bytes()).expect("format 1");
    let bed = Testbed::of_key_file(&file, OUTAGE_BOUND);
    let ciphertext = hex::decode(OLD_CIPHERTEXT).expect("hexadecimal");

    assert!(bed.prober().probe_once().await);
    assert_eq!(bed.kms.status().expect("serving").key_id(), OLD_KEY_ID, "nothing is stale after an update");
    let number = bed.add_version();
    bed.promote(number);
    assert!(bed.prober().probe_once().await);
    let new = bed.kms.encrypt(OLD_SEED).expect("sealed");
    let (start, digest) = new.key_id.split_at("local-v5-a5-m".len());
    assert!(start == "local-v5-a5-m" && digest.len() == "01234567-cbfcf3f9dbdf58c6".len(), "{}", new.key_id);
    for (ciphertext, key_id) in [(&ciphertext, OLD_KEY_ID), (&new.ciphertext, new.key_id.as_str())] {
        assert_eq!(bed.kms.decrypt(ciphertext, Some(key_id)).await.expect("opened").expose(), OLD_SEED);
    }
    // The part is no matter of taste: it stands in the ciphertext, and the request must say it too.
    let without = format!("local-v5-a5-{}", OLD_KEY_ID.rsplit('-').next().expect("a digest"));
    assert_eq!(class_of(&bed, &new.ciphertext, Some(&without)).await, Some(ErrorClass::Invalid));
}

/// Same number, same count of activations, other bytes: nothing of one host is taken for the other's.
#[tokio::test]
async fn hosts_that_rotated_apart_have_two_key_ids() {
    let (one, other) = Testbed::two_hosts_apart();
    for bed in [&one, &other] {
        assert!(bed.prober().probe_once().await);
    }
    let sealed = one.kms.encrypt(b"seed").expect("sealed");
    let theirs = other.kms.encrypt(b"seed").expect("sealed");
    assert!(sealed.key_id.starts_with("local-v2-a2-m") && theirs.key_id.starts_with("local-v2-a2-m"));
    assert_ne!(sealed.key_id, theirs.key_id);
    assert_eq!(class_of(&other, &sealed.ciphertext, Some(&theirs.key_id)).await, Some(ErrorClass::Invalid));
    assert_eq!(class_of(&other, &sealed.ciphertext, Some(&sealed.key_id)).await, Some(ErrorClass::Corrupt));
    assert_eq!(
        one.kms.decrypt(&sealed.ciphertext, Some(&sealed.key_id)).await.expect("ours").expose(),
        b"seed"
    );
}
