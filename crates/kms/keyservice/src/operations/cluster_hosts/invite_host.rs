use jiff::SignedDuration;
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::cluster_host::{MOST_HOSTS, is_node_name};
use keystead_model::{
    Cluster, ClusterHost, ClusterHostName, ClusterName, ErrorClass, HostId, Principal, to_microseconds,
};
use keystead_store::Batch;

use super::{hosts_are_the_servers, method};
use crate::operations::NewToken;
use crate::operations::tokens::{draw_token, expire_time};
use crate::records::token::TokenFor;
use crate::records::{Stored, account_email, encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// How long somebody has to run the command on the host.
const DEFAULT_TTL: SignedDuration = SignedDuration::from_hours(1);
/// The shortest, as of any token.
const MIN_TTL: SignedDuration = SignedDuration::from_secs(60);
/// The longest: a token that lies around for days is found by others.
const MAX_TTL: SignedDuration = SignedDuration::from_hours(24);

/// Lets one host join a cluster. Doing it again for one that has not joined gives it another token, and the first counts no more.
pub struct InviteHost {
    /// The cluster.
    pub cluster: ClusterName,
    /// The name of the host's Node.
    pub node: String,
    /// How long its token counts, a day at most; none: an hour.
    pub ttl: Option<SignedDuration>,
}

/// A host that may join.
pub struct Invitation {
    /// The host.
    pub host: ClusterHost,
    /// What it joins with, once.
    pub token: NewToken,
}

impl Operation for InviteHost {
    type Output = Invitation;

    fn method(&self) -> Method {
        method("InviteHost", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersUpdate)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.cluster.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("node", Some(self.node.as_str()).filter(|it| is_node_name(it)))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Invitation, KmsError> {
        let Self { cluster, node, ttl } = authorised.command();
        let (cluster, node, ttl) = (cluster.clone(), node.clone(), ttl.unwrap_or(DEFAULT_TTL));
        let stored = authorised.service().read_cluster(&cluster).await?;
        if stored.value.local_api_servers.is_some() {
            return Err(hosts_are_the_servers(&cluster));
        }
        if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            let [given, least, most] = [ttl, MIN_TTL, MAX_TTL].map(|it| it.as_secs());
            return Err(KmsError::invalid(format!(
                "A join token lives {least} to {most} seconds, an hour where nobody says, and not {given}: whoever has it can become the host."
            )));
        }
        if !is_node_name(&node) {
            let shown: String = node.escape_default().to_string().chars().take(100).collect();
            return Err(KmsError::invalid(format!(
                "{shown:?} is not the name of a Node of Kubernetes: lower-case letters, digits, hyphens and dots, at most 253."
            )));
        }
        invite(authorised, stored, &node, ttl).await
    }
}

/// Has the server itself invite a host of a local cluster, which it runs.
pub(crate) struct InviteLocalHost {
    pub(crate) cluster: ClusterName,
    /// The name of the host's Node.
    pub(crate) node: String,
}

impl Operation for InviteLocalHost {
    type Output = Invitation;

    fn method(&self) -> Method {
        method("InviteHost", MethodKind::System)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.cluster.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with("node", self.node.as_str())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Invitation, KmsError> {
        let Self { cluster, node } = authorised.command();
        let (cluster, node) = (cluster.clone(), node.clone());
        let stored = authorised.service().read_cluster(&cluster).await?;
        invite(authorised, stored, &node, DEFAULT_TTL).await
    }
}

async fn invite<O: Operation>(
    authorised: &mut Authorised<'_, O>,
    stored: Stored<Cluster>,
    node: &str,
    ttl: SignedDuration,
) -> Result<Invitation, KmsError> {
    let (service, now) = (authorised.service(), to_microseconds(authorised.now()));
    let cluster = &stored.value.name;
    let hosts = service.hosts_of(cluster).await?;
    // As it will be replaced: it may join meanwhile, or go.
    let known = match hosts.iter().find(|host| host.node == node) {
        Some(host) => service.read::<ClusterHost>(&record_name::cluster_host(&host.name)).await?,
        None => None,
    };
    if known.as_ref().is_some_and(|host| host.value.joined.is_some()) {
        return Err(KmsError::new(
            ErrorClass::FailedPrecondition,
            format!(
                "Host {node} has joined cluster {cluster} already. If it was made anew, remove it first: keystead container clusters \
                 hosts remove {node} --cluster {} --location {} --project {}.",
                cluster.cluster, cluster.location.location, cluster.location.project
            ),
        ));
    }
    if known.is_none() && hosts.len() >= MOST_HOSTS {
        let text = format!("Cluster {cluster} has {MOST_HOSTS} hosts, which is the most.");
        return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
    }
    let name = match &known {
        Some(host) => host.value.name.clone(),
        None => {
            let id = format!("host-{}", hex::encode(service.random_bytes::<8>()?));
            ClusterHostName { cluster: cluster.clone(), host: id.parse::<HostId>()? }
        }
    };
    let (token, secret) = draw_token(
        service,
        TokenFor {
            principal: Principal::ServiceAccount(account_email::host(&name)),
            description: format!("join token of host {node}").chars().take(MAX_DESCRIPTION).collect(),
            account: Some(name.host.as_str().to_owned()),
            create_time: now,
            expire_time: Some(expire_time(now, ttl)?),
        },
    )?;
    let host = ClusterHost {
        name,
        node: node.to_owned(),
        create_time: now,
        join_token: Some(token.token.id.clone()),
        joined: None,
        plugin_tokens: Vec::new(),
        reported: None,
        certificate_time: None,
        plugin_token_time: None,
    };
    let host_record = record_name::cluster_host(&host.name);
    // With the cluster's record, so that of two that count at the same time the second counts again.
    let batch = Batch::default()
        .replace(record_name::cluster(cluster), stored.revision, encode(&stored.value)?)
        .create(record_name::token(&token.token.id), encode(&token)?);
    let batch = match known {
        Some(known) => {
            let batch = batch.replace(host_record, known.revision, encode(&host)?);
            service.revoking(batch, known.value.join_token.iter(), now).await?
        }
        None => batch.create(host_record, encode(&host)?),
    };
    authorised.outcome().response = SafeFields::new()
        .with("host", host.name.host.as_str())
        .with("tokenId", token.token.id.as_str())
        .with_some("expireTime", token.token.expire_time);
    authorised.commit(batch).await?;
    Ok(Invitation { host, token: NewToken { token: token.token, secret } })
}

/// Longest description of a token, in bytes.
const MAX_DESCRIPTION: usize = 256;
