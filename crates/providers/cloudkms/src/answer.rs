//! Answers are hostile until checked: for the key that was asked, undamaged, and of the size that they must have.

use keystead_crypto::{KmsCiphertext, Secret32};
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, ErrorClass, KeyVersion};
use keystead_proto::cloud_kms::{DecryptResponse, EncryptResponse};
use keystead_provider::{ProviderError, Wrapped};
use tonic::Response;
use zeroize::Zeroizing;

/// Longest wrapped form that the plugin can store, in bytes; Google's has 113 and ours less than 200.
const MAX_WRAPPED_LEN: usize = 512;

/// Our server's count of primaries so far, in the answer's metadata.
const ACTIVATION: &str = "keystead-activation";

pub(crate) fn wrapped(
    answer: Response<EncryptResponse>,
    asked: &CryptoKeyName,
) -> Result<Wrapped, ProviderError> {
    let activation = match answer.metadata().get(ACTIVATION) {
        None => None,
        Some(count) => {
            Some(number(count.as_bytes()).ok_or_else(|| refused("counts activations in a strange way"))?)
        }
    };
    let answer = answer.into_inner();
    let version: CryptoKeyVersionName =
        answer.name.parse().map_err(|_| refused("does not name the key version that encrypted"))?;
    if version.key != *asked {
        return Err(refused("is of another key than was asked"));
    }
    if !(1..=MAX_WRAPPED_LEN).contains(&answer.ciphertext.len()) {
        return Err(refused("has a ciphertext of a length that it cannot have"));
    }
    if version_of(&answer.ciphertext).is_some_and(|number| number != version.version.get()) {
        return Err(refused("names another key version than its ciphertext"));
    }
    if !answer.verified_plaintext_crc32c {
        return Err(refused("does not say that the key arrived undamaged"));
    }
    if answer.ciphertext_crc32c != Some(checksum(&answer.ciphertext)) {
        return Err(refused("was damaged on its way: its checksum is wrong or missing"));
    }
    let (version, bytes) = (KeyVersion::from(version.version.get()), answer.ciphertext);
    // Material never leaves the service, and the API says nothing about it.
    Ok(Wrapped { version, activation, material: None, bytes })
}

pub(crate) fn unwrapped(answer: Response<DecryptResponse>) -> Result<Secret32, ProviderError> {
    let answer = answer.into_inner();
    let plaintext = Zeroizing::new(answer.plaintext);
    if answer.plaintext_crc32c != Some(checksum(&plaintext)) {
        return Err(refused("was damaged on its way: its checksum is wrong or missing"));
    }
    Secret32::from_slice(&plaintext).ok_or_else(|| refused("is not a key of 32 bytes"))
}

/// The version that a ciphertext says it needs; none for Google's, which nobody else can read.
pub(crate) fn version_of(ciphertext: &[u8]) -> Option<u32> {
    KmsCiphertext::parse(ciphertext).map(|ours| ours.version)
}

/// CRC32C as the API has it: an unsigned number of 32 bits in a signed field of 64.
pub(crate) fn checksum(bytes: &[u8]) -> i64 {
    i64::from(crc32c::crc32c(bytes))
}

/// As it is printed: no sign, no zero in front.
fn number(digits: &[u8]) -> Option<u32> {
    let number: u32 = str::from_utf8(digits).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == digits).then_some(number)
}

fn refused(problem: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Corrupt, format!("the answer of the key service {problem}"))
}
