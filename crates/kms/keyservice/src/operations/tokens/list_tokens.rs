use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::Principal;
use keystead_model::listing::{issue_token, read_token};

use crate::records::token::StoredToken;
use crate::records::{decode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource, Token};

/// Tokens on one page, and records that are read for it at once.
const MAX_PAGE: usize = 1000;

/// Lists tokens that were not revoked, in the order of their ids; never a secret.
pub struct ListTokens {
    principal: Option<Principal>,
    owner: Resource,
    page_size: usize,
    page_token: String,
}

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
        let owner = match &principal {
            Some(principal) => service.credential_owner(principal).await?.0,
            None => Resource::Server,
        };
        let page_size = if page_size == 0 { MAX_PAGE } else { page_size.min(MAX_PAGE) };
        Ok(Self { principal, owner, page_size, page_token })
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
        self.owner.clone()
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("principal", self.principal.as_ref().map(ToString::to_string))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<TokenPage, KmsError> {
        let command = authorised.command();
        if let Some(principal) = &command.principal {
            authorised.service().require_principal(principal).await?;
        }
        let principal = command.principal.as_ref().map(ToString::to_string).unwrap_or_default();
        let bound_to = ["tokens".to_owned(), principal];
        let mut after = match command.page_token.as_str() {
            "" => String::new(),
            token => record_name::token(&read_token(token, &bound_to)?),
        };
        let mut tokens: Vec<Token> = Vec::new();
        loop {
            let records = authorised.service().store.list(record_name::TOKENS, &after, MAX_PAGE).await?;
            for record in &records {
                let stored: StoredToken = decode(&record.name, &record.value)?;
                let wanted = command.principal.as_ref().is_none_or(|it| *it == stored.token.principal);
                if !wanted || stored.revoke_time.is_some() {
                    continue;
                }
                if tokens.len() == command.page_size {
                    let next_page_token = tokens.last().map(|token| issue_token(&token.id, &bound_to));
                    return Ok(TokenPage { tokens, next_page_token });
                }
                tokens.push(stored.token);
            }
            match records.last() {
                Some(last) if records.len() == MAX_PAGE => after = last.name.clone(),
                _ => return Ok(TokenPage { tokens, next_page_token: None }),
            }
        }
    }
}
