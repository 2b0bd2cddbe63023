use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::Principal;
use keystead_store::Batch;

use crate::records::opaque::is_id;
use crate::records::token::StoredToken;
use crate::records::{encode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Revokes a token: from the next request on it does not count. Revoking it again changes nothing.
pub struct RevokeToken {
    id: String,
    owner: Resource,
}

impl RevokeToken {
    /// The token of that id. One that does not exist belongs to the server, so that only who may revoke any token learns of
    /// it.
    pub async fn new(service: &KeyService, id: &str) -> Result<Self, KmsError> {
        let stored =
            if is_id(id) { service.read::<StoredToken>(&record_name::token(id)).await? } else { None };
        let owner = match stored {
            Some(stored) => service.credential_owner(&stored.value.token.principal).await?.0,
            None => Resource::Server,
        };
        Ok(Self { id: id.to_owned(), owner })
    }

    /// The token as a refusal names it: whose it is would say that it is there. Empty for what is no id, because that may be a
    /// whole token in the wrong place.
    pub fn name(&self) -> String {
        if is_id(&self.id) { format!("tokens/{}", self.id) } else { String::new() }
    }
}

impl Operation for RevokeToken {
    type Output = ();

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "RevokeToken", kind: MethodKind::AdminWrite }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::TokensRevoke)
    }

    fn target(&self) -> Resource {
        self.owner.clone()
    }

    fn describe(&self) -> SafeFields {
        // Whatever was sent may be a whole token, in the wrong place.
        SafeFields::new().with_some("id", Some(self.id.as_str()).filter(|it| is_id(it)))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let id = authorised.command().id.clone();
        if !is_id(&id) {
            return Err(KmsError::invalid(
                "A token's id has 16 hexadecimal digits. Name the id, not the token.",
            ));
        }
        let record = record_name::token(&id);
        let stored = authorised.service().read::<StoredToken>(&record).await?;
        let stored = stored.ok_or_else(|| KmsError::not_found("Token", &id))?;
        // Asked last, because the question says that the token is there and a person's.
        if matches!(stored.value.token.principal, Principal::User(_)) {
            let permission = Permission::UserCredentialsRevoke;
            authorised.service().require(authorised.call(), permission, &Resource::Server).await?;
        }
        if stored.value.revoke_time.is_some() {
            return Ok(());
        }
        let mut revoked = stored.value;
        revoked.revoke_time = Some(authorised.now());
        authorised.commit(Batch::default().replace(record, stored.revision, encode(&revoked)?)).await?;
        Ok(())
    }
}
