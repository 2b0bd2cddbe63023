//! What kube-apiserver sends and accepts.

use keystead_crypto::{
    CryptoFailed, Envelope, EnvelopeError, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN, MAX_WRAPPED_LEN, Random,
    SystemRandom,
};

use crate::fixed::{FixedRandom, WRAPPED, key, reference};

/// `encryptedDEKSourceMaxSize` in kube-apiserver.
const KUBE_APISERVER_LIMIT: usize = 1024;

#[test]
fn every_plaintext_from_nothing_to_256_bytes() {
    for plaintext in [&b""[..], b"x", b"ping", &[1; 32], &[2; 256]] {
        let ciphertext =
            Envelope::seal(&reference(), &key(1), &WRAPPED, plaintext, &SystemRandom).expect("sealed");
        let opened = Envelope::parse(&ciphertext).expect("parsed").open(&key(1)).expect("opened");
        assert_eq!(opened.expose(), plaintext);
    }
}

#[test]
fn plaintext_of_257_bytes_is_refused() {
    assert_eq!(MAX_PLAINTEXT_LEN, 256);
    let refused = Envelope::seal(&reference(), &key(1), &WRAPPED, &[0; 257], &SystemRandom);
    assert_eq!(refused, Err(EnvelopeError::PlaintextTooLong(257)));
}

#[test]
fn wrapped_key_of_0_or_513_bytes_is_refused() {
    assert_eq!(MAX_WRAPPED_LEN, 512);
    for len in [0, 513, 65_535, 65_536, 70_000] {
        let refused = Envelope::seal(&reference(), &key(1), &vec![0; len], b"ping", &SystemRandom);
        assert_eq!(refused, Err(EnvelopeError::WrappedTooLong(len)));
    }
}

#[test]
fn longest_ciphertext_fits_into_kube_apiserver() {
    let longest = format!("0123456789-v{}-a9999-0011223344556677", "x".repeat(28));
    assert_eq!(longest.len(), 63);
    let longest = longest.parse().expect("a key reference");
    let ciphertext = Envelope::seal(&longest, &key(1), &[1; 512], &[2; 256], &SystemRandom).expect("sealed");
    assert_eq!(ciphertext.len(), MAX_CIPHERTEXT_LEN);
    assert_eq!(MAX_CIPHERTEXT_LEN, 899, "docs/formats/envelope.md says so");
    assert!(ciphertext.len() < KUBE_APISERVER_LIMIT);
    assert!(Envelope::parse(&ciphertext).is_ok());
}

#[test]
fn two_seals_of_one_plaintext_share_nothing_but_header_and_wrapped_key() {
    let seal = || Envelope::seal(&reference(), &key(1), &WRAPPED, b"ping", &SystemRandom).expect("sealed");
    let (first, second) = (seal(), seal());
    let shared = 2 + reference().to_string().len() + 2 + WRAPPED.len();
    assert_eq!(first[..shared], second[..shared]);
    for (first, second) in first[shared..].chunks_exact(4).zip(second[shared..].chunks_exact(4)) {
        assert_ne!(first, second, "salt, commitment, ciphertext and tag are new each time");
    }
}

#[test]
fn without_randomness_nothing_is_sealed() {
    struct NoRandom;
    impl Random for NoRandom {
        fn fill(&self, _: &mut [u8]) -> Result<(), CryptoFailed> {
            Err(CryptoFailed)
        }
    }
    let refused = Envelope::seal(&reference(), &key(1), &WRAPPED, b"ping", &NoRandom);
    assert_eq!(refused, Err(EnvelopeError::Crypto(CryptoFailed)));
    // 16 bytes are drawn, no more and no less: the published vectors depend on it.
    let too_few = Envelope::seal(&reference(), &key(1), &WRAPPED, b"ping", &FixedRandom(vec![0; 15]));
    assert_eq!(too_few, Err(EnvelopeError::Crypto(CryptoFailed)));
}
