//! The envelope codec under 100,000 random cases.

use keystead_crypto::{
    Envelope, EnvelopeError, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN, MAX_WRAPPED_LEN, MESSAGE_OVERHEAD,
    Random, Secret32, SystemRandom,
};
use keystead_model::{KeyReference, KeyVersion, Material};
use proptest::prelude::*;

use crate::fixed::{key, reference, sealed};

/// Length byte, two bytes of length, and what a seal adds.
const AROUND: usize = 1 + 1 + 2 + MESSAGE_OVERHEAD;

fn cases(cases: u32) -> ProptestConfig {
    // No file of failures: a failing case prints its input.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn key_reference() -> impl Strategy<Value = KeyReference> {
    let texts = ("[a-z0-9]{1,10}", "[A-Za-z0-9._]{1,32}");
    (texts, any::<Option<u32>>(), any::<Option<[u8; 4]>>(), any::<[u8; 8]>()).prop_filter_map(
        "over 63 bytes",
        |((kind, version), activation, material, digest)| {
            let material = material.map(Material);
            KeyReference::new(&kind, KeyVersion::new(version).ok()?, activation, material, digest).ok()
        },
    )
}

/// Random bytes of a random length. Only the length shrinks: that is where a codec breaks, and it is ten times as quick.
fn bytes(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u8>> {
    len.prop_map(|len| {
        let mut bytes = vec![0; len];
        SystemRandom.fill(&mut bytes).expect("random bytes");
        bytes
    })
}

proptest! {
    #![proptest_config(cases(30_000))]
    #[test]
    fn round_trips(reference in key_reference(), wrapped in bytes(1..=MAX_WRAPPED_LEN),
                   plaintext in bytes(0..=MAX_PLAINTEXT_LEN)) {
        let wrapping_key = Secret32::generate(&SystemRandom).expect("random bytes");
        let ciphertext = Envelope::seal(&reference, &wrapping_key, &wrapped, &plaintext, &SystemRandom);
        let ciphertext = ciphertext.expect("sealed");
        prop_assert!(ciphertext.len() <= MAX_CIPHERTEXT_LEN);

        let parsed = Envelope::parse(&ciphertext).expect("parsed");
        prop_assert_eq!(parsed.key_reference(), &reference);
        prop_assert_eq!(parsed.wrapped(), wrapped.as_slice());
        let opened = parsed.open(&wrapping_key).expect("opened");
        prop_assert_eq!(opened.expose(), plaintext.as_slice());
        let text = reference.to_string();
        prop_assert_eq!(ciphertext.len(), AROUND + text.len() + wrapped.len() + plaintext.len());
        prop_assert_eq!(&ciphertext[2..2 + text.len()], text.as_bytes());
    }
}

proptest! {
    #![proptest_config(cases(30_000))]
    #[test]
    fn arbitrary_bytes_never_panic(bytes in bytes(0..=1_100), format in any::<bool>()) {
        let mut bytes = bytes;
        if let (true, Some(first)) = (format, bytes.first_mut()) {
            *first = 1;
        }
        prop_assert!(Envelope::parse(&bytes).is_err(), "no random bytes name a key");
    }
}

proptest! {
    #![proptest_config(cases(40_000))]
    /// Bytes behind a good header: everything that a parser can reach.
    #[test]
    fn what_parses_is_its_parts(wrapped_len in 0..700_u16, rest in bytes(0..=1_000)) {
        let header = &sealed()[..2 + reference().to_string().len()];
        let ciphertext = [header, &wrapped_len.to_be_bytes(), &rest].concat();
        let (wrapped_len, total) = (usize::from(wrapped_len), ciphertext.len());
        match Envelope::parse(&ciphertext) {
            Ok(parsed) => {
                prop_assert_eq!(parsed.key_reference(), &reference());
                prop_assert_eq!(parsed.wrapped(), &rest[..wrapped_len]);
                prop_assert!(rest.len() - wrapped_len >= MESSAGE_OVERHEAD);
                prop_assert!(parsed.open(&key(1)).is_err(), "nobody sealed this");
            }
            Err(EnvelopeError::CiphertextTooLong(len)) => {
                prop_assert!(len == total && total > MAX_CIPHERTEXT_LEN);
            }
            Err(EnvelopeError::WrappedTooLong(len)) => {
                prop_assert!(len == wrapped_len && (len == 0 || len > MAX_WRAPPED_LEN));
            }
            Err(error) => {
                prop_assert_eq!(error, EnvelopeError::Truncated);
                prop_assert!(rest.len() < wrapped_len + MESSAGE_OVERHEAD);
            }
        }
    }
}
