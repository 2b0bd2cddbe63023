//! `docs/formats/envelope-vectors.json`: what we publish is what we do. The file was made by a Python program over other
//! libraries, not by this crate.

use keystead_crypto::{Envelope, EnvelopeError, OpenError, Secret32};
use serde::Deserialize;

use crate::by_hand;
use crate::fixed::FixedRandom;

#[derive(Deserialize)]
struct Published {
    vectors: Vec<Vector>,
    refused: RefusedSet,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    key_reference: String,
    wrapping_key: Hex,
    wrapped: Hex,
    salt: Hex,
    plaintext: Hex,
    message_key: Hex,
    nonce: Hex,
    commitment: Hex,
    ciphertext: Hex,
}

#[derive(Deserialize)]
struct RefusedSet {
    wrapping_key: Hex,
    ciphertexts: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    error: String,
    ciphertext: Hex,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Hex(Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}

fn published() -> Published {
    let text = include_str!("../../../../../docs/formats/envelope-vectors.json");
    let published: Published = serde_json::from_str(text).expect("the vectors are JSON of this shape");
    assert_eq!(
        (published.vectors.len(), published.refused.ciphertexts.len()),
        (9, 35),
        "vectors were left out"
    );
    published
}

fn secret(bytes: &[u8]) -> Secret32 {
    Secret32::from_slice(bytes).expect("32 bytes of key")
}

#[test]
fn our_seal_gives_them_and_our_open_takes_them() {
    for vector in published().vectors {
        let name = &vector.name;
        let reference = vector.key_reference.parse().expect("a key reference");
        let wrapping_key = secret(&vector.wrapping_key.0);
        let random = FixedRandom(vector.salt.0);
        let sealed =
            Envelope::seal(&reference, &wrapping_key, &vector.wrapped.0, &vector.plaintext.0, &random);
        assert_eq!(sealed.as_ref(), Ok(&vector.ciphertext.0), "{name}");

        let parsed = Envelope::parse(&vector.ciphertext.0).expect("parsed");
        assert_eq!(parsed.key_reference(), &reference, "{name}");
        assert_eq!(parsed.wrapped(), vector.wrapped.0, "{name}");
        assert_eq!(parsed.open(&wrapping_key).expect("opened").expose(), vector.plaintext.0, "{name}");
    }
}

#[test]
fn they_follow_from_the_standards_by_hand() {
    for vector in published().vectors {
        let derived = by_hand::hkdf(&vector.wrapping_key.0, &vector.salt.0, b"keystead envelope 1", 76);
        assert_eq!(derived[..32], vector.message_key.0, "{}", vector.name);
        assert_eq!(derived[32..44], vector.nonce.0, "{}", vector.name);
        assert_eq!(derived[44..], vector.commitment.0, "{}", vector.name);

        let mut ciphertext = vec![1, u8::try_from(vector.key_reference.len()).expect("under 64")];
        ciphertext.extend_from_slice(vector.key_reference.as_bytes());
        let sealed = by_hand::gcm(&derived[..32], &derived[32..44], &ciphertext, &vector.plaintext.0);
        let wrapped_len = u16::try_from(vector.wrapped.0.len()).expect("at most 512");
        ciphertext.extend_from_slice(&wrapped_len.to_be_bytes());
        for part in [&vector.wrapped.0, &vector.salt.0, &derived[44..].to_vec(), &sealed] {
            ciphertext.extend_from_slice(part);
        }
        assert_eq!(ciphertext, vector.ciphertext.0, "{}", vector.name);
    }
}

#[test]
fn what_they_refuse_is_refused_for_their_reason() {
    let refused = published().refused;
    let wrapping_key = secret(&refused.wrapping_key.0);
    for Refused { name, error, ciphertext } in refused.ciphertexts {
        let reason = match Envelope::parse(&ciphertext.0) {
            Ok(parsed) => reason_of_open(parsed.open(&wrapping_key).err()),
            Err(error) => reason_of_parse(&error),
        };
        assert_eq!(reason, error, "{name}");
    }
}

fn reason_of_parse(error: &EnvelopeError) -> &'static str {
    match error {
        EnvelopeError::CiphertextTooLong(_) => "ciphertext length",
        EnvelopeError::KeyReference(_) => "key reference",
        EnvelopeError::Truncated => "truncated",
        EnvelopeError::UnknownFormat(_) => "unknown format",
        EnvelopeError::WrappedTooLong(_) => "wrapped length",
        EnvelopeError::Crypto(_) | EnvelopeError::PlaintextTooLong(_) => "no error of parsing",
    }
}

fn reason_of_open(error: Option<OpenError>) -> &'static str {
    match error {
        None => "none: it opened",
        Some(OpenError::Truncated) => "truncated",
        Some(OpenError::OtherKey) => "other key",
        Some(OpenError::Altered) => "altered",
    }
}
