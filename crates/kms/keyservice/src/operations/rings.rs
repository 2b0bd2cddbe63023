//! Key rings.

mod create_key_ring;
mod get_key_ring;

pub use create_key_ring::CreateKeyRing;
pub use get_key_ring::GetKeyRing;
