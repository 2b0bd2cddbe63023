use jiff::{SignedDuration, Timestamp};
use keystead_audit::SafeFields;
use keystead_crypto::SecretBytes;
use keystead_iam::Permission;
use keystead_model::{ErrorClass, Principal, to_microseconds};
use keystead_store::Batch;

use crate::records::token::{StoredToken, TokenFor, mint};
use crate::records::{encode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource, Token};

/// Longest description, in bytes.
const MAX_DESCRIPTION_LEN: usize = 256;
/// The shortest life of a token: less is a mistake in the unit.
const MIN_TTL: SignedDuration = SignedDuration::from_secs(60);
/// The longest life of a token that ends: ten years; one that shall outlive that does not end.
const MAX_TTL: SignedDuration = SignedDuration::from_hours(10 * 366 * 24);

/// Makes an opaque token. Any number of tokens of one principal count at a time, so that they can be changed without an
/// outage.
pub struct CreateToken {
    principal: Principal,
    owner: Resource,
    /// The unique id of the service account.
    account: Option<String>,
    description: String,
    ttl: Option<SignedDuration>,
}

/// A token that was made.
pub struct NewToken {
    /// What is known of it from now on.
    pub token: Token,
    /// The whole bearer token, as text. Nobody can ask for it again.
    pub secret: SecretBytes,
}

impl CreateToken {
    /// For `principal`. Without `ttl` the token never expires.
    pub async fn new(
        service: &KeyService,
        principal: Principal,
        description: String,
        ttl: Option<SignedDuration>,
    ) -> Result<Self, KmsError> {
        let (owner, account) = service.credential_owner(&principal).await?;
        let account = account.map(|account| account.unique_id.clone());
        Ok(Self { principal, owner, account, description, ttl })
    }
}

impl Operation for CreateToken {
    type Output = NewToken;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "CreateToken", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        // Who makes a credential of a person can be that person.
        Some(match self.principal {
            Principal::User(_) => Permission::UserCredentialsCreate,
            Principal::ServiceAccount(_) => Permission::TokensCreate,
        })
    }

    fn target(&self) -> Resource {
        self.owner.clone()
    }

    fn describe(&self) -> SafeFields {
        let fields = SafeFields::new().with("principal", self.principal.to_string());
        match self.ttl {
            Some(ttl) => fields.with("ttlSeconds", ttl.as_secs()),
            None => fields.with("neverExpires", true),
        }
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<NewToken, KmsError> {
        let (service, command) = (authorised.service(), authorised.command());
        service.require_principal(&command.principal).await?;
        if command.description.len() > MAX_DESCRIPTION_LEN {
            let text = format!(
                "The description has {} bytes; at most {MAX_DESCRIPTION_LEN} are allowed.",
                command.description.len()
            );
            return Err(KmsError::invalid(text));
        }
        let made_for = TokenFor {
            principal: command.principal.clone(),
            description: command.description.clone(),
            account: command.account.clone(),
            create_time: to_microseconds(authorised.now()),
            expire_time: command.ttl.map(|ttl| expire_time(authorised.now(), ttl)).transpose()?,
        };
        let (stored, secret) = draw_token(service, made_for)?;
        let record = record_name::token(&stored.token.id);
        let fields = SafeFields::new().with("id", stored.token.id.as_str());
        authorised.outcome().response = match stored.token.expire_time {
            Some(when) => fields.with("expireTime", when),
            None => fields.with("neverExpires", true),
        };
        authorised.commit(Batch::default().create(record, encode(&stored)?)).await?;
        Ok(NewToken { token: stored.token, secret })
    }
}

/// A token for its owner, and its record for the store.
pub(in crate::operations) fn draw_token(
    service: &KeyService,
    made_for: TokenFor,
) -> Result<(StoredToken, SecretBytes), KmsError> {
    mint(made_for, service.random.as_ref())
        .map_err(|_| KmsError::new(ErrorClass::Bug, "a token cannot be made"))
}

/// When a token of that life expires, which must be one that a token can have.
pub(in crate::operations) fn expire_time(now: Timestamp, ttl: SignedDuration) -> Result<Timestamp, KmsError> {
    if ttl < MIN_TTL || MAX_TTL < ttl {
        return Err(KmsError::invalid(format!(
            "A token lives {} seconds to {} days, not {} seconds. Leave ttl away for one that never expires.",
            MIN_TTL.as_secs(),
            MAX_TTL.as_hours() / 24,
            ttl.as_secs()
        )));
    }
    now.checked_add(ttl).map_err(|_| KmsError::invalid("The token would expire after the end of time."))
}
