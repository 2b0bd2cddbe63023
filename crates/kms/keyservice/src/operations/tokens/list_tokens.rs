use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::Principal;

use crate::operations::credential_list::CredentialList;
use crate::records::record_name;
use crate::records::token::StoredToken;
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource, Token};

/// Lists tokens that were not revoked, in the order of their ids; never a secret.
pub struct ListTokens(CredentialList);

/// A page of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPage {
    /// In the order of their ids.
    pub tokens: Vec<Token>,
    /// Where the next page begins; none: this is the last.
    pub next_page_token: Option<String>,
}

impl ListTokens {
    /// Tokens of one principal, or with none of everybody. `page_size` 0: as many as a page can have.
    pub async fn new(
        service: &KeyService,
        principal: Option<Principal>,
        page_size: usize,
        page_token: String,
    ) -> Result<Self, KmsError> {
        Ok(Self(CredentialList::new(service, principal, page_size, page_token).await?))
    }
}

impl Operation for ListTokens {
    type Output = TokenPage;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "ListTokens", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::TokensList)
    }

    fn target(&self) -> Resource {
        self.0.owner.clone()
    }

    fn describe(&self) -> SafeFields {
        self.0.describe()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<TokenPage, KmsError> {
        let (service, list) = (authorised.service(), &authorised.command().0);
        let take = |_: &str, stored: StoredToken| {
            let wanted = list.principal.as_ref().is_none_or(|it| *it == stored.token.principal);
            (wanted && stored.revoke_time.is_none()).then_some(stored.token)
        };
        let (tokens, next_page_token) = list.page(service, "tokens", record_name::TOKENS, take).await?;
        Ok(TokenPage { tokens, next_page_token })
    }
}
