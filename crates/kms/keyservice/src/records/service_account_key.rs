use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Keys of one account, as Google has it: enough to change one while another counts.
pub(crate) const MAX_KEYS: usize = 10;
/// Keys that are read at once: all of them, also where an older server let more in.
pub(crate) const MAX_LISTED: usize = 1000;
/// 20 bytes: ids look like Google's.
pub(crate) const KEY_ID_LEN: usize = 20;

/// The public half of a key of a service account. The private half is given to its owner once and never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccountKey {
    /// 40 hexadecimal digits: `kid` in what it signs.
    pub id: String,
    /// The account's address.
    pub email: String,
    /// The unique id of the account.
    pub account: String,
    /// RSA with 2,048 bits: SubjectPublicKeyInfo in DER, hexadecimal.
    public_key: String,
    /// When it was made. It counts until it is deleted.
    pub create_time: Timestamp,
}

impl ServiceAccountKey {
    pub(crate) fn new(
        id: String,
        email: String,
        account: String,
        public_key: &[u8],
        create_time: Timestamp,
    ) -> Self {
        Self { id, email, account, public_key: hex::encode(public_key), create_time }
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn public_key_der(&self) -> Vec<u8> {
        hex::decode(&self.public_key).unwrap_or_default()
    }
}

/// Whether a text is the id of a key, as it stands in a record's name.
pub(crate) fn is_key_id(text: &str) -> bool {
    text.len() == 2 * KEY_ID_LEN
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
