//! What the lists of tokens and of certificates share: whose they are, and how a page is read.

use keystead_audit::SafeFields;
use keystead_model::Principal;
use keystead_model::listing::{issue_token, read_token};
use serde::de::DeserializeOwned;

use crate::records::decode;
use crate::{KeyService, KmsError, Resource};

/// Credentials on one page, and records that are read for it at once.
const MAX_PAGE: usize = 1000;

/// Which credentials a caller wants to see.
pub(super) struct CredentialList {
    pub(super) principal: Option<Principal>,
    /// What the permission is asked for.
    pub(super) owner: Resource,
    page_size: usize,
    page_token: String,
}

impl CredentialList {
    /// Those of one principal, or with none of everybody. `page_size` 0: as many as a page can have.
    pub(super) async fn new(
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

    pub(super) fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("principal", self.principal.as_ref().map(ToString::to_string))
    }

    /// A page of what `take` makes of the records under `prefix`, and where the next one begins; none: this is the last. `id` is by
    /// what a page token names the last one: the record's name behind the prefix.
    pub(super) async fn page<R: DeserializeOwned, T>(
        &self,
        service: &KeyService,
        kind: &str,
        prefix: &str,
        take: impl Fn(&str, R) -> Option<T>,
    ) -> Result<(Vec<T>, Option<String>), KmsError> {
        if let Some(principal) = &self.principal {
            service.require_principal(principal).await?;
        }
        let bound_to =
            [kind.to_owned(), self.principal.as_ref().map(ToString::to_string).unwrap_or_default()];
        let mut after = match self.page_token.as_str() {
            "" => String::new(),
            token => format!("{prefix}{}", read_token(token, &bound_to)?),
        };
        let (mut taken, mut last_id) = (Vec::new(), String::new());
        loop {
            let records = service.store.list(prefix, &after, MAX_PAGE).await?;
            for record in &records {
                let id = record.name.strip_prefix(prefix).unwrap_or(&record.name);
                let Some(item) = take(id, decode(&record.name, &record.value)?) else { continue };
                if taken.len() == self.page_size {
                    return Ok((taken, Some(issue_token(&last_id, &bound_to))));
                }
                taken.push(item);
                id.clone_into(&mut last_id);
            }
            match records.last() {
                Some(last) if records.len() == MAX_PAGE => after.clone_from(&last.name),
                _ => return Ok((taken, None)),
            }
        }
    }
}
