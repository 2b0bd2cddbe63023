//! CRC32C as Cloud KMS uses it: a caller sends it to be sure that we got what was sent.

use keystead_keyservice::{Detail, KmsError};

/// Whether a checksum was sent; an error if it is another one. The text is what gcloud looks for.
pub(super) fn verify(field: &str, data: &[u8], sent: Option<i64>) -> Result<bool, KmsError> {
    let Some(sent) = sent else { return Ok(false) };
    if sent == of(data) {
        return Ok(true);
    }
    let text = format!("The checksum in field {field}_crc32c did not match the data in field {field}.");
    let detail = Detail::BadRequest { field: format!("{field}_crc32c"), description: text.clone() };
    Err(KmsError::invalid(text).with(detail))
}

/// The checksum of what we answer.
pub(super) fn of(data: &[u8]) -> i64 {
    i64::from(crc32c::crc32c(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4, and the empty string.
    #[test]
    fn is_castagnoli() {
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
        assert_eq!(of(b"123456789"), 0xe306_9283);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn what_was_not_sent_is_not_verified() {
        assert_eq!(verify("plaintext", b"x", None), Ok(false));
        assert_eq!(verify("additional_authenticated_data", b"", Some(0)), Ok(true));
        for wrong in [1, -1, i64::MAX, of(b"x") | 1 << 32, of(b"x") - (1 << 32)] {
            let error = verify("plaintext", b"x", Some(wrong)).expect_err("wrong");
            let text = "The checksum in field plaintext_crc32c did not match the data in field plaintext.";
            assert_eq!(error.message(), text);
        }
    }
}
