//! Any ciphertext: no panic, what is read prints back, and nothing opens that was not sealed. And what is sealed opens,
//! with any plaintext and any wrapped key. Good inputs to start from: `docs/formats/envelope-vectors.json`.
#![no_main]

use keystead_crypto::{Envelope, EnvelopeError, Secret32, SystemRandom};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = Secret32::from_slice(&[0xa5; 32]).expect("32 bytes");
    if let Ok(envelope) = Envelope::parse(bytes) {
        let reference = envelope.key_reference().to_string();
        let mut printed = vec![1, u8::try_from(reference.len()).expect("under 64")];
        printed.extend_from_slice(reference.as_bytes());
        printed
            .extend_from_slice(&u16::try_from(envelope.wrapped().len()).expect("at most 512").to_be_bytes());
        printed.extend_from_slice(envelope.wrapped());
        assert!(bytes.starts_with(&printed));
        assert!(envelope.open(&key).is_err());
    }

    let (wrapped, plaintext) = bytes.split_at(bytes.len() / 2);
    let reference = "local-v3-a5-0123456789abcdef".parse().expect("a key reference");
    match Envelope::seal(&reference, &key, wrapped, plaintext, &SystemRandom) {
        Ok(ciphertext) => {
            let envelope = Envelope::parse(&ciphertext).expect("it was sealed");
            assert_eq!(envelope.wrapped(), wrapped);
            assert_eq!(envelope.open(&key).expect("it was sealed").expose(), plaintext);
        }
        Err(EnvelopeError::PlaintextTooLong(len)) => assert!(len == plaintext.len() && len > 256),
        Err(EnvelopeError::WrappedTooLong(len)) => assert!(len == wrapped.len() && (len == 0 || len > 512)),
        Err(error) => panic!("{error}"),
    }
});
