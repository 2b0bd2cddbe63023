//! Which resources there are, and which of them are meant.

use std::collections::BTreeMap;
use std::time::Duration;

use keystead_model::ErrorClass;
use serde::{Deserialize, Serialize};

use super::request::Call;
use super::{ApiServer, CallError};

/// kube-apiserver answers from memory; an API server behind it may be slow.
const ASK: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";

/// A resource in one version of its API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Plural, such as `secrets`.
    pub name: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

/// What was meant, and what of it cannot be rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// To be rewritten, in the order in which they were named.
    pub chosen: Vec<Resource>,
    /// Not to be rewritten.
    pub left_out: Vec<LeftOut>,
}

/// A resource that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Such as `deployments.apps`.
    pub resource: String,
    /// Why.
    pub reason: String,
    /// Whether this API server may have objects of it all the same, because it did not let us look.
    pub unseen: bool,
}

/// Why it is not known what is meant.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// No such resource.
    #[error(
        "there is no resource `{0}` in this cluster: name one as an EncryptionConfiguration does, such as secrets, deployments.apps, *.apps, *. or *.*"
    )]
    Unknown(String),
    /// It exists, and it cannot be rewritten.
    #[error("`{resource}` cannot be rewritten: {reason}")]
    Impossible {
        /// Which.
        resource: String,
        /// Why not.
        reason: String,
    },
    /// The API server did not say.
    #[error("the API server does not say which resources it has")]
    Call(#[from] CallError),
}

impl Resource {
    /// Such as `secrets` or `deployments.apps`, as an EncryptionConfiguration has it.
    pub fn full_name(&self) -> String {
        full_name(&self.name, &self.group)
    }

    /// The path of all its objects, or of those of one namespace.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match namespace {
            Some(namespace) if !namespace.is_empty() => {
                format!("{root}/namespaces/{namespace}/{}", self.name)
            }
            _ => format!("{root}/{}", self.name),
        }
    }
}

/// Finds the resources that `names` mean, each once.
pub(crate) async fn discover(server: &ApiServer, names: &[String]) -> Result<Resources, DiscoveryError> {
    let mut found = Resources::default();
    let groups = groups(server).await?;
    let mut known = BTreeMap::new();
    for name in names {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        let every = resource == "*";
        let wanted = groups.iter().filter(|it| (every && group == "*") || it.name == group);
        let mut any = false;
        for group in wanted {
            if !known.contains_key(&group.name) {
                known.insert(group.name.clone(), members(server, group).await?);
            }
            let Some(members) = known.get(&group.name) else { continue };
            for member in members.iter().filter(|it| every || it.resource.name == resource) {
                any = true;
                match (&member.obstacle, every) {
                    (None, _) if found.chosen.contains(&member.resource) => {}
                    (None, _) => found.chosen.push(member.resource.clone()),
                    (Some(reason), true) => found.left_out.push(LeftOut {
                        resource: member.resource.full_name(),
                        reason: (*reason).to_owned(),
                        unseen: false,
                    }),
                    (Some(reason), false) => {
                        return Err(DiscoveryError::Impossible {
                            resource: name.clone(),
                            reason: (*reason).to_owned(),
                        });
                    }
                }
            }
        }
        if !any {
            return Err(DiscoveryError::Unknown(name.clone()));
        }
    }
    Ok(found)
}

struct Group {
    name: String,
    /// The preferred one first.
    versions: Vec<String>,
    /// Served by another API server, which has a store of its own.
    elsewhere: bool,
}

struct Member {
    resource: Resource,
    obstacle: Option<&'static str>,
}

async fn groups(server: &ApiServer) -> Result<Vec<Group>, DiscoveryError> {
    #[derive(Deserialize)]
    struct List {
        groups: Vec<Named>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        name: String,
        versions: Vec<Version>,
        preferred_version: Option<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    #[derive(Deserialize)]
    struct Services {
        items: Vec<Service>,
    }
    #[derive(Deserialize)]
    struct Service {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        group: String,
        service: Option<serde::de::IgnoredAny>,
    }
    let list: List = server.json(&Call::get("/apis", JSON, ASK)).await?;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let services: Services = match server.json(&Call::get(path, JSON, ASK)).await {
        // Who may not read these can still rewrite: groups of others then count as kube-apiserver's own. As where there are none.
        Err(error) if matches!(error.class(), ErrorClass::Denied | ErrorClass::NotFound) => {
            Services { items: Vec::new() }
        }
        services => services?,
    };
    let elsewhere =
        |name: &str| services.items.iter().any(|it| it.spec.group == name && it.spec.service.is_some());
    let core = Group { name: String::new(), versions: vec!["v1".to_owned()], elsewhere: false };
    let others = list.groups.into_iter().map(|group| {
        let preferred = group.preferred_version.map(|it| it.version);
        let rest =
            group.versions.into_iter().map(|it| it.version).filter(|it| Some(it) != preferred.as_ref());
        let versions = preferred.clone().into_iter().chain(rest).collect();
        Group { elsewhere: elsewhere(&group.name), name: group.name, versions }
    });
    Ok(std::iter::once(core).chain(others).collect())
}

/// The resources of a group, each in the first version that has it.
async fn members(server: &ApiServer, group: &Group) -> Result<Vec<Member>, DiscoveryError> {
    if group.elsewhere {
        let resource = Resource {
            group: group.name.clone(),
            version: String::new(),
            name: "*".to_owned(),
            namespaced: false,
        };
        let obstacle = Some("another API server behind kube-apiserver stores them, and not this one");
        return Ok(vec![Member { resource, obstacle }]);
    }
    let mut members: Vec<Member> = Vec::new();
    for version in &group.versions {
        let path = match group.name.as_str() {
            "" => format!("/api/{version}"),
            name => format!("/apis/{name}/{version}"),
        };
        // A slash: a part of an object, such as its status.
        for named in resources(server, &path).await?.into_iter().filter(|it| !it.name.contains('/')) {
            if members.iter().any(|it| it.resource.name == named.name) {
                continue;
            }
            let can = |verb: &str| named.verbs.iter().any(|it| it == verb);
            let twice = group.name == "events.k8s.io" && named.name == "events";
            let obstacle = match (can("list"), can("patch")) {
                _ if twice => Some("they are the objects of `events`"),
                (true, true) => None,
                (false, _) => Some("they cannot be listed, so nothing of them is stored"),
                (true, false) => Some("they cannot be patched"),
            };
            let resource = Resource {
                group: group.name.clone(),
                version: version.clone(),
                name: named.name,
                namespaced: named.namespaced,
            };
            members.push(Member { resource, obstacle });
        }
    }
    Ok(members)
}

/// What a version of a group has, as the API server lists it.
#[derive(Deserialize)]
pub(crate) struct Named {
    /// The plural; with a slash and more, a part of an object.
    pub(crate) name: String,
    namespaced: bool,
    verbs: Vec<String>,
}

/// What is listed at `path`, such as `/apis/apps/v1`.
pub(crate) async fn resources(server: &ApiServer, path: &str) -> Result<Vec<Named>, CallError> {
    #[derive(Deserialize)]
    struct List {
        resources: Vec<Named>,
    }
    let list: List = server.json(&Call::get(path, JSON, ASK)).await?;
    Ok(list.resources)
}

fn full_name(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
