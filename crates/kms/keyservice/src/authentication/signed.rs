//! What keys of service accounts sign: JSON Web Tokens (RFC 7519), RS256 and nothing else.

use std::sync::Arc;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use keystead_crypto::sha256;

use crate::identity::refusal;
use crate::identity::signed::{Claims, GoodBearer, Signed, check_times};
use crate::records::account_email::AccountEmail;
use crate::records::record_name;
use crate::records::service_account_key::is_key_id;
use crate::{KeyService, KmsError};

/// For whom a bearer token may be signed: the APIs that this server serves under Google's names.
const AUDIENCES: [&str; 6] = [
    "https://cloudkms.googleapis.com/",
    "https://cloudresourcemanager.googleapis.com/",
    "https://container.googleapis.com/",
    "https://iam.googleapis.com/",
    "https://kmsinventory.googleapis.com/",
    "https://serviceusage.googleapis.com/",
];
/// For whom a token may be signed that is exchanged: gcloud names it whatever the key file says.
const GRANT_AUDIENCE: &str = "https://oauth2.googleapis.com/token";
impl KeyService {
    /// Checks a bearer token, or remembers that it was good: checking a signature costs 20 microseconds. Only what passed every
    /// check is remembered.
    pub(crate) async fn bearer_token(&self, text: &str, now: Timestamp) -> Result<Arc<GoodBearer>, KmsError> {
        let digest = hex::encode(sha256(text.as_bytes()));
        if let Some(good) = self.identity.bearers.get(&digest) {
            check_times(good.exp, good.iat, now)?;
            self.check_key(&good.email, &good.key_id).await?;
            return Ok(good);
        }
        let epoch = self.identity.bearers.epoch();
        let signed = self.signed(text).await?;
        self.check_signed(&signed, now).await?;
        self.check_bearer(&signed.claims)?;
        let Signed { claims: Claims { iss: email, exp, iat, .. }, key_id } = signed;
        let good = Arc::new(GoodBearer { email, key_id, exp, iat });
        self.identity.bearers.keep(&digest, &good, epoch);
        Ok(good)
    }

    /// Checks the signature.
    pub(crate) async fn signed(&self, text: &str) -> Result<Signed, KmsError> {
        let header = decode_header(text).map_err(|_| refusal::invalid())?;
        // A critical extension is one that must be understood, and none is.
        if header.alg != Algorithm::RS256 || header.crit.is_some() {
            return Err(refusal::invalid());
        }
        let key_id = header.kid.filter(|id| is_key_id(id)).ok_or_else(refusal::invalid)?;
        // Only to find the key; what counts is read again below, when the signature is right.
        let claimed: Claims =
            jsonwebtoken::dangerous::insecure_decode_claims(text).map_err(|_| refusal::invalid())?;
        if AccountEmail::parse(&claimed.iss).is_none() {
            return Err(refusal::invalid());
        }
        let record = record_name::service_account_key(&claimed.iss, &key_id);
        let key = self.cached(&self.remembered.account_keys, &record).await?.ok_or_else(refusal::invalid)?;
        let mut validation = Validation::new(Algorithm::RS256);
        // Times and audiences are checked each time, and by the clock that is an argument.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let decoded = decode::<Claims>(text, &DecodingKey::from_rsa_der(&key.public_key_der()), &validation);
        let claims = decoded.map_err(|_| refusal::invalid())?.claims;
        if claims.iss != key.email {
            return Err(refusal::invalid());
        }
        Ok(Signed { claims, key_id })
    }

    /// Fails if the token has expired or is not valid yet, or if its key or account was deleted or disabled.
    pub(crate) async fn check_signed(&self, signed: &Signed, now: Timestamp) -> Result<(), KmsError> {
        let Claims { iss, sub, exp, iat, .. } = &signed.claims;
        check_times(*exp, *iat, now)?;
        if sub.as_ref().is_some_and(|sub| sub != iss) {
            return Err(refusal::unfit("the signed token is for another subject than its issuer"));
        }
        self.check_key(iss, &signed.key_id).await
    }

    /// Refuses a key that was deleted, and an account that is disabled or gone.
    pub(crate) async fn check_key(&self, email: &str, key_id: &str) -> Result<(), KmsError> {
        let record = record_name::service_account_key(email, key_id);
        let key = self.cached(&self.remembered.account_keys, &record).await?;
        let key = key.ok_or_else(|| refusal::revoked(&format!("key {key_id} was deleted")))?;
        let account = self.enabled_account(email).await?;
        if account.unique_id != key.account {
            return Err(refusal::revoked(&format!("service account {email} was deleted")));
        }
        Ok(())
    }

    /// Refuses a bearer token that was signed for somebody else. Clients of Google name an API or, the newer ones, a scope.
    pub(crate) fn check_bearer(&self, claims: &Claims) -> Result<(), KmsError> {
        if claims.sub.is_none() {
            return Err(refusal::unfit("the signed token has no subject"));
        }
        let ours = |audience: &str| {
            AUDIENCES.contains(&audience) || self.settings.audiences.iter().any(|it| it == audience)
        };
        let by_scope = claims.aud.is_none() && claims.has_scope();
        if by_scope || claims.aud.fits(ours) {
            return Ok(());
        }
        Err(refusal::unfit("the signed token is for another audience than this server"))
    }

    /// Refuses a token to be exchanged that was signed for somebody else.
    pub(crate) fn check_grant(&self, claims: &Claims) -> Result<(), KmsError> {
        let token_uri = &self.settings.token_uri;
        if claims.aud.fits(|audience| audience == GRANT_AUDIENCE || audience == token_uri) {
            return Ok(());
        }
        Err(refusal::unfit("the signed token is for another audience than the token address"))
    }
}

#[cfg(test)]
mod tests;
