//! Memory for secrets. None of these types can be printed, cloned or serialised; all wipe themselves.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{CryptoFailed, Random};

/// 32 bytes of key material, on the heap so that moving it leaves no copy behind.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret32(Box<[u8; 32]>);

impl Secret32 {
    /// Draws a new one.
    pub fn generate(random: &dyn Random) -> Result<Self, CryptoFailed> {
        Self::fill_with(|bytes| random.fill(bytes))
    }

    /// Lets `fill` write the bytes where they stay.
    pub fn fill_with<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; 32]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Copies from a slice of exactly 32 bytes; the caller wipes the source.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        Some(Self(Box::new(*bytes)))
    }

    /// The bytes, for a primitive or for the wire.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in constant time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

/// Secret bytes of any length. It never grows, because growing leaves copies.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// The bytes, for a primitive or for the wire.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Gives the buffer away, for a protobuf message that is written to the caller at once.
    pub fn into_exposed(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}
