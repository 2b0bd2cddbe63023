//! The trusted core: secret memory, the two cryptographic primitives that every seal calls, sealing under a key derived
//! for one message, the envelope in which the plugin's ciphertexts travel, and signatures of what others check offline.
//!
//! It must never do I/O, read a clock, make a key on its own (randomness is an argument), print a secret, or try one
//! key after another. Read [`Envelope`] first, then [`seal`].

mod envelope;
mod kms_ciphertext;
mod message;
mod pem;
mod primitive;
mod random;
mod secret;
mod signature;

pub use envelope::{Envelope, EnvelopeError, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN, MAX_WRAPPED_LEN};
pub use kms_ciphertext::{KMS_OVERHEAD, KmsBinding, KmsCiphertext};
pub use message::{MESSAGE_OVERHEAD, OpenError, Purpose, open, seal};
pub use pem::pem;
pub use primitive::{CryptoFailed, Sha256, aes256gcm_open, aes256gcm_seal, hkdf_sha256, hmac_sha256, sha256};
pub use random::{Random, SystemRandom};
pub use secret::{Secret32, SecretBytes};
pub use signature::{PublicKey, SignatureKeyError, SigningKey};
