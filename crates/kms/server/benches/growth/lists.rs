//! Each kind of list, as calls over gRPC.

use anyhow::{Result, ensure};
use bytes::Bytes;
use keystead_proto::{cloud_kms as kms, iam_admin, keystead_v1, resource_manager_v1};
use prost::Message;

use crate::connection::{Call, Connection, Target};
use crate::stage::{PROJECT, RING, framed};

/// Items of a page that is measured.
pub(crate) const PAGE: usize = 100;
/// Of pages on the way to the middle.
const LARGE_PAGE: usize = 1000;
/// The key with many versions.
pub(crate) const FIRST_KEY: &str = "growth-0000000";
const KMS: &str = "google.cloud.kms.v1.KeyManagementService";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rings,
    Keys,
    Versions,
    Retired,
    Projects,
    Accounts,
    Tokens,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Rings,
        Self::Keys,
        Self::Versions,
        Self::Retired,
        Self::Projects,
        Self::Accounts,
        Self::Tokens,
    ];

    /// As a person would say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rings => "key rings",
            Self::Keys => "keys, with their primaries",
            Self::Versions => "versions of one key",
            Self::Retired => "retired resources",
            Self::Projects => "projects",
            Self::Accounts => "service accounts",
            Self::Tokens => "tokens",
        }
    }

    /// Asks for a page.
    pub(crate) fn call(self, page_size: usize, page_token: &str, filter: &str) -> Call {
        let page_size = i32::try_from(page_size).unwrap_or_default();
        let (page_token, filter) = (page_token.to_owned(), filter.to_owned());
        let location = RING.rsplit_once("/keyRings/").map_or("", |(location, _)| location).to_owned();
        let (path, body) = match self {
            Self::Rings => (
                format!("{KMS}/ListKeyRings"),
                kms::ListKeyRingsRequest {
                    parent: location,
                    page_size,
                    page_token,
                    filter,
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            Self::Keys => (
                format!("{KMS}/ListCryptoKeys"),
                kms::ListCryptoKeysRequest {
                    parent: RING.into(),
                    page_size,
                    page_token,
                    filter,
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            Self::Versions => (
                format!("{KMS}/ListCryptoKeyVersions"),
                kms::ListCryptoKeyVersionsRequest {
                    parent: format!("{RING}/cryptoKeys/{FIRST_KEY}"),
                    page_size,
                    page_token,
                    filter,
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            Self::Retired => (
                format!("{KMS}/ListRetiredResources"),
                kms::ListRetiredResourcesRequest { parent: location, page_size, page_token }.encode_to_vec(),
            ),
            Self::Projects => (
                "google.cloudresourcemanager.v1.Projects/ListProjects".to_owned(),
                resource_manager_v1::ListProjectsRequest { filter, page_size, page_token }.encode_to_vec(),
            ),
            Self::Accounts => (
                "google.iam.admin.v1.IAM/ListServiceAccounts".to_owned(),
                iam_admin::ListServiceAccountsRequest {
                    name: format!("projects/{PROJECT}"),
                    page_size,
                    page_token,
                }
                .encode_to_vec(),
            ),
            Self::Tokens => (
                "keystead.v1.Tokens/ListTokens".to_owned(),
                keystead_v1::ListTokensRequest { principal: String::new(), page_size, page_token }
                    .encode_to_vec(),
            ),
        };
        Call::Grpc { path: format!("/{path}"), body: framed(&body) }
    }

    /// How many items are on a page, and where the next one begins.
    fn read(self, answer: &Bytes) -> Result<(usize, String)> {
        ensure!(answer.len() >= 5, "an answer without a frame");
        let message = answer.slice(5..);
        Ok(match self {
            Self::Rings => {
                let page = kms::ListKeyRingsResponse::decode(message)?;
                (page.key_rings.len(), page.next_page_token)
            }
            Self::Keys => {
                let page = kms::ListCryptoKeysResponse::decode(message)?;
                (page.crypto_keys.len(), page.next_page_token)
            }
            Self::Versions => {
                let page = kms::ListCryptoKeyVersionsResponse::decode(message)?;
                (page.crypto_key_versions.len(), page.next_page_token)
            }
            Self::Retired => {
                let page = kms::ListRetiredResourcesResponse::decode(message)?;
                (page.retired_resources.len(), page.next_page_token)
            }
            Self::Projects => {
                let page = resource_manager_v1::ListProjectsResponse::decode(message)?;
                (page.projects.len(), page.next_page_token)
            }
            Self::Accounts => {
                let page = iam_admin::ListServiceAccountsResponse::decode(message)?;
                (page.accounts.len(), page.next_page_token)
            }
            Self::Tokens => {
                let page = keystead_v1::ListTokensResponse::decode(message)?;
                (page.tokens.len(), page.next_page_token)
            }
        })
    }

    /// How long the list is, and the token of a page in its middle.
    pub(crate) async fn middle(self, target: &Target) -> Result<(usize, String)> {
        let mut connection = Connection::open(target, &self.call(1, "", "")).await?;
        let (mut items, mut tokens) = (0, vec![String::new()]);
        loop {
            let token = tokens.last().map_or("", String::as_str);
            let answer = connection.call(&self.call(LARGE_PAGE, token, "")).await?;
            let (found, next) = self.read(&answer)?;
            items += found;
            if next.is_empty() {
                break;
            }
            tokens.push(next);
        }
        Ok((items, tokens.swap_remove(tokens.len() / 2)))
    }
}
