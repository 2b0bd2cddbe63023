//! Service accounts with a key file: a JWT that the account signs itself is the bearer token, as Google's clients do it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

use crate::credentials_file::ServiceAccountFile;

/// What Google's clients put there, whatever address they call.
const AUDIENCE: &str = "https://cloudkms.googleapis.com/";
/// Google accepts no longer life.
const LIFE: Duration = Duration::from_secs(60 * 60);
/// A new one is made so long before the old one ends, for clocks that differ.
const MARGIN: Duration = Duration::from_secs(5 * 60);

pub(crate) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: EncodingKey,
    signed: Mutex<Option<Signed>>,
}

struct Signed {
    header: HeaderValue,
    renew: SystemTime,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'static str,
    iat: u64,
    exp: u64,
}

impl ServiceAccount {
    pub(crate) fn new(file: &ServiceAccountFile) -> Result<Self, InvalidServiceAccount> {
        let key = EncodingKey::from_rsa_pem(file.private_key.expose().as_bytes())
            .map_err(|_| InvalidServiceAccount)?;
        let account = Self {
            email: file.client_email.clone(),
            key_id: file.private_key_id.clone(),
            key,
            signed: Mutex::new(None),
        };
        // Shows now whether the key signs.
        account.bearer(SystemTime::now())?;
        Ok(account)
    }

    pub(crate) fn email(&self) -> &str {
        &self.email
    }

    /// `Bearer ` and a JWT that is good for five minutes or more.
    pub(crate) fn bearer(&self, now: SystemTime) -> Result<HeaderValue, InvalidServiceAccount> {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back would leave a token from the future.
        let current = signed.as_ref().filter(|signed| now < signed.renew && signed.renew <= now + LIFE);
        if let Some(current) = current {
            return Ok(current.header.clone());
        }
        let header = self.sign(now)?;
        *signed = Some(Signed { header: header.clone(), renew: now + LIFE - MARGIN });
        Ok(header)
    }

    fn sign(&self, now: SystemTime) -> Result<HeaderValue, InvalidServiceAccount> {
        let iat = now.duration_since(UNIX_EPOCH).map_err(|_| InvalidServiceAccount)?.as_secs();
        let claims =
            Claims { iss: &self.email, sub: &self.email, aud: AUDIENCE, iat, exp: iat + LIFE.as_secs() };
        let header = Header { kid: self.key_id.clone(), ..Header::new(Algorithm::RS256) };
        let token = encode(&header, &claims, &self.key).map_err(|_| InvalidServiceAccount)?;
        let mut value =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| InvalidServiceAccount)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({})", self.email)
    }
}

/// Its private key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private key of the service account is not an RSA key in PEM that signs RS256")]
pub struct InvalidServiceAccount;

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_RSA_SHA256};

    use super::*;

    #[test]
    fn a_token_is_used_until_five_minutes_before_its_end() {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key").serialize_pem();
        let file = serde_json::json!({ "client_email": "a@b.example", "private_key": key });
        let file = ServiceAccountFile::parse(file.to_string().as_bytes()).expect("a key file");
        let account = ServiceAccount::new(&file).expect("a good key");
        let start = SystemTime::now() + Duration::from_secs(10 * 60 * 60);
        let after = |minutes: u64| start + Duration::from_secs(minutes * 60);
        let bearer = |now| account.bearer(now).expect("signed");
        let first = bearer(start);
        assert_eq!(bearer(after(54)), first);
        let second = bearer(after(56));
        assert_ne!(second, first);
        assert_eq!(bearer(after(57)), second);
        // A clock that was far ahead and is set right.
        assert_ne!(bearer(start - Duration::from_secs(60 * 60)), second);
        assert!(!format!("{account:?} {first:?}").contains("ey"), "{first:?}");
    }
}
