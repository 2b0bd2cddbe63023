//! AES-CBC with padding as kube-apiserver uses it: `iv(16) blocks`. Nothing shows whether the bytes were changed.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, AES_CBC_IV_LEN, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::OpenError;

/// Opens `iv blocks`.
pub(super) fn open(key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        other => return Err(OpenError::KeySize(other)),
    };
    let (iv, blocks) = sealed.split_at_checked(AES_CBC_IV_LEN).ok_or(OpenError::ShortPayload)?;
    let iv = FixedLength::try_from(iv).map_err(|_| OpenError::ShortPayload)?;
    let key = UnboundCipherKey::new(algorithm, key)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .map_err(|_| OpenError::KeySize(key.len()))?;
    let mut buffer = Zeroizing::new(blocks.to_vec());
    let length =
        key.decrypt(&mut buffer, DecryptionContext::Iv128(iv)).map_err(|_| OpenError::Padding)?.len();
    buffer.truncate(length);
    Ok(buffer)
}
