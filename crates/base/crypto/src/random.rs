//! Randomness as an argument.

use crate::CryptoFailed;

/// A source of bytes that nobody can predict. Tests pass their own.
pub trait Random: Send + Sync {
    /// Fills the whole slice.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CryptoFailed>;
}

/// AWS-LC's generator, seeded by the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CryptoFailed> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| CryptoFailed)
    }
}
