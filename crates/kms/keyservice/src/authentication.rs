//! Who calls: a token, what a key has signed, or a certificate becomes a caller.
//!
//! Records are remembered by name until they are written again, so that a revocation counts from the next request on.

mod session;
mod signed;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use keystead_audit::RefusedCaller;
use keystead_model::{ErrorClass, Principal, to_microseconds};

use crate::identity::issued_tokens::ACCESS_PREFIX;
use crate::identity::refusal;
use crate::records::certificate::CertificateState;
use crate::records::opaque::Opaque;
use crate::records::record_name;
use crate::records::token::{self, StoredToken};
use crate::{
    Call, Caller, ClientIdentity, Credential, KeyService, KmsError, LastUse, Origin, ServiceAccount,
};

/// Longest bearer credential that is looked at, in bytes: a signed one with a key of 4,096 bits and long claims has 2 KiB.
const MAX_BEARER_LEN: usize = 8 * 1024;

/// What came with a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// What stood after `Authorization: Bearer `. It counts alone: a bad one is not made good by a certificate.
    pub bearer: Option<&'a str>,
    /// The cookie of a session. Only pages take it: a browser sends it whoever made it send the request.
    pub session: Option<&'a str>,
    /// The certificate of the connection, which an authority of ours signed.
    pub certificate: Option<&'a ClientIdentity>,
}

impl KeyService {
    /// Finds out who calls. `Unauthenticated`: nothing that counts was presented; the refusal is counted, not recorded.
    pub async fn authenticate(&self, presented: Presented<'_>, origin: Origin) -> Result<Call, KmsError> {
        let now = self.clock.now();
        let identified = match presented {
            Presented { bearer: Some(bearer), .. } => self.bearer(bearer, now).await,
            Presented { session: Some(session), .. } => self.session(session, &origin, now).await,
            Presented { certificate: Some(certificate), .. } => self.certificate(certificate, now).await,
            Presented { .. } => Err(refusal::missing()),
        };
        let (principal, credential) = match identified {
            Ok(identified) => identified,
            Err(error) => {
                if error.class() == ErrorClass::Unauthenticated {
                    self.count_refusal(origin.address, &error);
                }
                return Err(error);
            }
        };
        self.note_credential_use(
            &credential,
            LastUse { time: to_microseconds(now), address: origin.address },
        );
        let groups = self.identity.groups.of(&principal);
        self.call(Arc::new(Caller { principal, groups, credential }), origin)
    }

    /// Who has a bearer credential that somebody else was shown. `Unauthenticated`: it counts for nothing. It is no use of the credential.
    pub(crate) async fn bearer_shown(&self, bearer: &str, now: Timestamp) -> Result<Call, KmsError> {
        let (principal, credential) = self.bearer(bearer, now).await?;
        let groups = self.identity.groups.of(&principal);
        self.call(Arc::new(Caller { principal, groups, credential }), Origin::default())
    }

    async fn bearer(&self, bearer: &str, now: Timestamp) -> Result<(Principal, Credential), KmsError> {
        if bearer.len() > MAX_BEARER_LEN {
            return Err(refusal::invalid());
        }
        if let Some(token) = Opaque::parse(token::PREFIX, bearer) {
            return self.opaque_token(token, now).await;
        }
        if bearer.starts_with(ACCESS_PREFIX) {
            return self.access_token(bearer, now).await;
        }
        self.signed_bearer(bearer, now).await
    }

    async fn access_token(&self, text: &str, now: Timestamp) -> Result<(Principal, Credential), KmsError> {
        let claims = self.identity.access_tokens.check(text).ok_or_else(refusal::invalid)?;
        if claims.has_expired(now) {
            return Err(refusal::expired("the access token"));
        }
        self.check_key(&claims.email, &claims.key_id).await?;
        Ok((Principal::ServiceAccount(claims.email), Credential::ServiceAccountKey(claims.key_id)))
    }

    async fn signed_bearer(&self, text: &str, now: Timestamp) -> Result<(Principal, Credential), KmsError> {
        let good = self.bearer_token(text, now).await?;
        let principal = Principal::ServiceAccount(good.email.clone());
        Ok((principal, Credential::ServiceAccountKey(good.key_id.clone())))
    }

    async fn opaque_token(
        &self,
        presented: Opaque<'_>,
        now: Timestamp,
    ) -> Result<(Principal, Credential), KmsError> {
        let record = record_name::token(presented.id);
        let cache = &self.remembered.tokens;
        let stored = match cache.get(&record) {
            // First of all: who does not have the secret learns nothing about the token, not even that it is there.
            Some(stored) if stored.has_secret(&presented.secret) => stored,
            Some(_) => return Err(refusal::invalid()),
            None => {
                let read_after = cache.epoch();
                let stored = self.read::<StoredToken>(&record).await?.map(|stored| stored.value);
                let known = stored.filter(|stored| stored.has_secret(&presented.secret));
                let stored = Arc::new(known.ok_or_else(refusal::invalid)?);
                // Whoever guesses pushes nothing out.
                cache.keep(&record, &stored, read_after);
                stored
            }
        };
        self.require_current(&stored, now).await?;
        Ok((stored.token.principal.clone(), Credential::Token(stored.token.id.clone())))
    }

    /// A token by its id, for who has proved to have what was made of it.
    async fn known_token(&self, id: &str) -> Result<Option<Arc<StoredToken>>, KmsError> {
        let record = record_name::token(id);
        let cache = &self.remembered.tokens;
        if let Some(stored) = cache.get(&record) {
            return Ok(Some(stored));
        }
        let read_after = cache.epoch();
        let stored = self.read::<StoredToken>(&record).await?.map(|stored| Arc::new(stored.value));
        stored.iter().for_each(|stored| cache.keep(&record, stored, read_after));
        Ok(stored)
    }

    /// Refuses a token that was revoked or has expired, or whose service account is not the one that it was made for.
    async fn require_current(&self, stored: &StoredToken, now: Timestamp) -> Result<(), KmsError> {
        let token = &stored.token;
        if let Some(when) = stored.revoke_time {
            return Err(refusal::revoked(&format!("token {} was revoked at {when}", token.id)));
        }
        if token.expire_time.is_some_and(|expires| expires <= now) {
            return Err(refusal::expired(&format!("token {}", token.id)));
        }
        if let Principal::ServiceAccount(email) = &token.principal {
            let account = self.enabled_account(email).await?;
            if stored.account.as_ref() != Some(&account.unique_id) {
                return Err(refusal::revoked(&format!("service account {email} was deleted")));
            }
        }
        Ok(())
    }

    async fn certificate(
        &self,
        certificate: &ClientIdentity,
        now: Timestamp,
    ) -> Result<(Principal, Credential), KmsError> {
        let serial = &certificate.serial;
        if now < certificate.not_before || certificate.not_after <= now {
            return Err(refusal::expired(&format!("certificate {serial}")));
        }
        if let Some(when) = self.certificate_state(serial).await?.revoke_time {
            return Err(refusal::revoked(&format!("certificate {serial} was revoked at {when}")));
        }
        if let Principal::ServiceAccount(email) = &certificate.principal {
            let account = self.enabled_account(email).await?;
            // A certificate does not hold the unique id: one from before the account was made is another account's. It
            // holds whole seconds only, and one that was issued at once must count.
            if certificate.not_before.as_second() < account.create_time.as_second() {
                return Err(refusal::revoked(&format!(
                    "certificate {serial} is older than service account {email}"
                )));
            }
        }
        Ok((certificate.principal.clone(), Credential::Certificate(serial.clone())))
    }

    /// What became of a certificate after it was signed. Also that nothing is known of it is remembered, until it is written.
    async fn certificate_state(&self, serial: &str) -> Result<Arc<CertificateState>, KmsError> {
        let record = record_name::certificate(serial);
        let cache = &self.remembered.certificates;
        if let Some(known) = cache.get(&record) {
            return Ok(known);
        }
        let read_after = cache.epoch();
        let state = self.read(&record).await?.map(|stored| stored.value).unwrap_or_default();
        let state = Arc::new(state);
        cache.keep(&record, &state, read_after);
        Ok(state)
    }

    /// Notes when and from where a credential was used. Keys of service accounts have no list that shows it, as with Google.
    fn note_credential_use(&self, credential: &Credential, now: LastUse) {
        let record = match credential {
            Credential::Token(id) => record_name::token(id),
            Credential::Certificate(serial) => record_name::certificate(serial),
            Credential::ServiceAccountKey(_) | Credential::Session(_) | Credential::Schedule => return,
        };
        self.remembered.credential_uses.note(record, now);
    }

    /// Counts a refusal of somebody unknown: such calls have no record each, or anybody could fill the log.
    pub(crate) fn count_refusal(&self, address: Option<IpAddr>, error: &KmsError) {
        if let Some(address) = address {
            self.audit.count_refusal(RefusedCaller::Address(address), self.clock.now(), refusal::kind(error));
        }
    }

    /// The account that a credential is of, unless nobody may be it. Only for who has proved to have the credential.
    pub(crate) async fn enabled_account(&self, email: &str) -> Result<Arc<ServiceAccount>, KmsError> {
        let Some(account) = self.find_account(email).await? else {
            return Err(refusal::revoked(&format!("service account {email} was deleted")));
        };
        if account.disabled {
            return Err(refusal::revoked(&format!("service account {email} is disabled")));
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests;
