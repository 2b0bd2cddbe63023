//! Keys, references and randomness that are the same in every run.

use keystead_crypto::{CryptoFailed, Envelope, Random, Secret32};
use keystead_model::KeyReference;

/// Gives the same bytes again and again.
pub(crate) struct FixedRandom(pub(crate) Vec<u8>);

impl Random for FixedRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CryptoFailed> {
        bytes.copy_from_slice(self.0.get(..bytes.len()).ok_or(CryptoFailed)?);
        Ok(())
    }
}

pub(crate) fn key(byte: u8) -> Secret32 {
    Secret32::from_slice(&[byte; 32]).expect("32 bytes")
}

pub(crate) fn reference() -> KeyReference {
    "local-v3-a5-0123456789abcdef".parse().expect("a key reference")
}

/// 32 bytes of plaintext under `key(1)`, with 96 bytes of wrapped key.
pub(crate) fn sealed() -> Vec<u8> {
    Envelope::seal(&reference(), &key(1), &WRAPPED, &PLAINTEXT, &FixedRandom(vec![7; 16])).expect("sealed")
}

pub(crate) const WRAPPED: [u8; 96] = [0x57; 96];
pub(crate) const PLAINTEXT: [u8; 32] = [0x50; 32];
