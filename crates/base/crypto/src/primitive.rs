//! The only calls into the cryptographic library. Wycheproof's vectors run through these functions.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroize;

/// Length of the tag that [`aes256gcm_seal`] appends, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// The library refused: wrong tag, or a failure inside. It says no more, so that nobody learns from it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cryptographic operation failed")]
pub struct CryptoFailed;

/// Encrypts `plaintext` and appends ciphertext and a 16-byte tag to `out`. A (key, nonce) pair must never be used twice.
pub fn aes256gcm_seal(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CryptoFailed> {
    // Reserved first: plaintext must not be left behind in a buffer that grows.
    out.reserve_exact(plaintext.len() + TAG_LEN);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let body = out.get_mut(start..).ok_or(CryptoFailed)?;
    let sealed = aead_key(key).and_then(|aead| {
        aead.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(associated_data),
            body,
        )
        .map_err(|_| CryptoFailed)
    });
    match sealed {
        Ok(tag) => out.extend_from_slice(tag.as_ref()),
        Err(failed) => {
            body.zeroize();
            return Err(failed);
        }
    }
    Ok(())
}

/// Decrypts `sealed` (ciphertext and tag). On any mismatch nothing of the plaintext is left in memory.
pub fn aes256gcm_open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, CryptoFailed> {
    let mut buffer = sealed.to_vec();
    let opened = aead_key(key)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(associated_data), &mut buffer)
        .map(|plaintext| plaintext.len());
    match opened {
        Ok(len) => {
            buffer.truncate(len);
            Ok(buffer)
        }
        Err(_) => {
            buffer.zeroize();
            Err(CryptoFailed)
        }
    }
}

/// HKDF with SHA-256 (RFC 5869, extract and expand). `out` is at most 8,160 bytes.
pub fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), CryptoFailed> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    Salt::new(HKDF_SHA256, salt)
        .extract(ikm)
        .expand(&[info], Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| CryptoFailed)
}

/// HMAC with SHA-256 (RFC 2104) of pieces in a row. The key may have any length.
pub fn hmac_sha256(key: &[u8], pieces: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    pieces.iter().for_each(|piece| context.update(piece));
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// SHA-256 of what comes in pieces.
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// SHA-256, for digests of public names and for fingerprints.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn aead_key(key: &[u8; 32]) -> Result<LessSafeKey, CryptoFailed> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| CryptoFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn a_message_in_pieces_has_the_published_code() {
        let code = hmac_sha256(b"Jefe", &[b"what do ya want ", b"", b"for nothing?"]);
        let published = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(code), published);
    }

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let mut digest = Sha256::default();
        digest.update(b"ab");
        digest.update(b"");
        digest.update(b"c");
        let published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(digest.finish()), published);
        assert_eq!(hex::encode(sha256(b"abc")), published);
    }
}
