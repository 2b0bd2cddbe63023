use jiff::SignedDuration;
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::{Cluster, ClusterHost, ErrorClass, Principal, to_microseconds};
use keystead_store::Batch;

use super::report_host::{require_joined, too_often};
use super::{calling_host, method};
use crate::operations::NewToken;
use crate::operations::tokens::draw_token;
use crate::records::token::TokenFor;
use crate::records::{account_email, encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Tokens that one host has at a time: the one in use, and one that takes its place.
const MOST_TOKENS: usize = 2;
/// A host gets one token in this time: each is a record that stays.
const TOKEN_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Gives the plugins of a host a token of the account that the project's clusters use keys as. The oldest of three is revoked.
pub struct IssuePluginToken;

impl Operation for IssuePluginToken {
    type Output = NewToken;

    fn method(&self) -> Method {
        method("IssuePluginToken", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<NewToken, KmsError> {
        let name = calling_host(authorised)?;
        let (service, now) = (authorised.service(), to_microseconds(authorised.now()));
        let stored = service.read_host(&name).await?;
        require_joined(authorised, &stored.value)?;
        let last = stored.value.plugin_token_time;
        if last.is_some_and(|last| now.duration_since(last).abs() < TOKEN_AFTER) {
            return Err(too_often(TOKEN_AFTER));
        }
        let cluster = service.read::<Cluster>(&record_name::cluster(&name.cluster)).await?;
        let cluster = cluster.ok_or_else(|| KmsError::not_found("Cluster", &name.cluster))?.value;
        if cluster.needed_to_read().is_empty() {
            let text = format!("Cluster {} is encrypted with no key of this server.", name.cluster);
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let project = &name.cluster.location.project;
        let project =
            service.find_project(project).await?.ok_or_else(|| KmsError::not_found("Project", project))?;
        let email = account_email::cluster(project.number);
        let account = service.enabled_account(&email).await?;
        let (token, secret) = draw_token(
            service,
            TokenFor {
                principal: Principal::ServiceAccount(email),
                description: format!("plugins of {name}"),
                account: Some(account.unique_id.clone()),
                create_time: now,
                expire_time: None,
            },
        )?;
        let mut kept = stored.value.plugin_tokens.clone();
        kept.push(token.token.id.clone());
        let gone: Vec<String> = kept.drain(..kept.len().saturating_sub(MOST_TOKENS)).collect();
        let host = ClusterHost { plugin_tokens: kept, plugin_token_time: Some(now), ..stored.value };
        let batch = Batch::default().create(record_name::token(&token.token.id), encode(&token)?).replace(
            record_name::cluster_host(&name),
            stored.revision,
            encode(&host)?,
        );
        let batch = service.revoking(batch, gone.iter(), now).await?;
        authorised.outcome().response = SafeFields::new().with("tokenId", token.token.id.as_str());
        authorised.commit(batch).await?;
        Ok(NewToken { token: token.token, secret })
    }
}
