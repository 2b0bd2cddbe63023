//! Ids and error classes that every other crate speaks in. Pure: no I/O, no clock, no randomness, no serialisation
//! format, and never a secret. Read [`KeyReference`] first: it is what a key id says.

mod error_class;
mod key_reference;

pub use error_class::ErrorClass;
pub use key_reference::{InvalidKeyReference, InvalidKeyVersion, KeyReference, KeyVersion};
