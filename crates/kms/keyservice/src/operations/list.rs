//! How lists are read: page by page as they are stored, or whole where they are filtered or ordered.

use keystead_model::ErrorClass;
use keystead_model::listing::{Fields, ListRequest, Listing, Page, issue_token, read_token};
use serde::de::DeserializeOwned;

use crate::records::decode;
use crate::{KeyService, KmsError};

/// The largest page of what a project has, in whatever location.
const MAX_PROJECT_PAGE: usize = 1_000;

/// How a caller wants a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// 0: 100.
    pub page_size: i32,
    /// From the answer before.
    pub page_token: String,
    /// In the language of Cloud KMS.
    pub filter: String,
    /// Such as `name desc`.
    pub order_by: String,
}

/// Nobody closes it while the service is there.
pub(super) fn closed() -> KmsError {
    KmsError::new(ErrorClass::Bug, "lists are not read any more")
}

impl ListOptions {
    pub(super) fn parse<T: Fields>(&self, parent: &str) -> Result<Listing<T>, KmsError> {
        Ok(Listing::parse(&ListRequest {
            parent,
            page_size: self.page_size,
            page_token: &self.page_token,
            filter: &self.filter,
            order_by: &self.order_by,
        })?)
    }
}

impl KeyService {
    /// A page of the records under a prefix, which are listed as they are.
    pub(super) async fn list<T: Fields + DeserializeOwned>(
        &self,
        listing: &Listing<T>,
        prefix: &str,
    ) -> Result<Page<T>, KmsError> {
        if listing.is_plain() {
            let items = self.read_page(listing, prefix).await?;
            return Ok(listing.plain_page(items, self.total(prefix).await?));
        }
        let _place = self.scans.acquire().await.map_err(|_| closed())?;
        let (mut sieve, mut after) = (listing.sieve(), String::new());
        loop {
            let (items, last) = self.read_some(prefix, &after).await?;
            items.into_iter().for_each(|item| sieve.add(item));
            match last {
                Some(last) => after = last,
                None => return Ok(sieve.page()),
            }
        }
    }

    /// The records of a page of a plain list, and one more. Names of records end as the names of what they hold.
    pub(super) async fn read_page<T: Fields, R: DeserializeOwned>(
        &self,
        listing: &Listing<T>,
        prefix: &str,
    ) -> Result<Vec<R>, KmsError> {
        let after = listing.begins_after().map(|last| format!("{prefix}{last}")).unwrap_or_default();
        let entries = self.store.list(prefix, &after, listing.wanted()).await?;
        entries.iter().map(|entry| decode(&entry.name, &entry.value)).collect()
    }

    /// A page of the records under the prefix of a project, and where the next one begins; empty: this is the last. `page_size` 0: as
    /// many as a page can have.
    pub(super) async fn project_page<R: DeserializeOwned>(
        &self,
        prefix: &str,
        page_size: usize,
        page_token: &str,
    ) -> Result<(Vec<R>, String), KmsError> {
        let page_size = if page_size == 0 { MAX_PROJECT_PAGE } else { page_size.min(MAX_PROJECT_PAGE) };
        let bound_to = [prefix.to_owned()];
        let after = match page_token {
            "" => String::new(),
            token => format!("{prefix}{}", read_token(token, &bound_to)?),
        };
        let mut entries = self.store.list(prefix, &after, page_size + 1).await?;
        let more = entries.len() > page_size;
        entries.truncate(page_size);
        let last = entries.last().and_then(|last| last.name.strip_prefix(prefix)).filter(|_| more);
        let next_page_token = last.map(|last| issue_token(last, &bound_to)).unwrap_or_default();
        let items =
            entries.iter().map(|entry| decode(&entry.name, &entry.value)).collect::<Result<_, _>>()?;
        Ok((items, next_page_token))
    }

    pub(super) async fn total(&self, prefix: &str) -> Result<usize, KmsError> {
        Ok(usize::try_from(self.store.count(prefix).await?).unwrap_or(usize::MAX))
    }
}
