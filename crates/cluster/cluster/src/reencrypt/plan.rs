//! What a run will do, computed before anything is done.

use std::fmt;
use std::time::Duration;

use keystead_model::ErrorClass;
use serde::{Deserialize, Serialize};

use crate::api::{ApiServer, Call, CallError, DiscoveryError, LeftOut, METADATA, Resource, discover};

use super::migration::{NotServed, served};
use super::objects::{self, Place};

const ASK: Duration = Duration::from_secs(15);

/// What is to be rewritten. Two runs with equal requests do the same work, so one can go on where the other was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// As in an EncryptionConfiguration: `secrets`, `deployments.apps`, `*.apps`, `*.` or `*.*`.
    pub resources: Vec<String>,
    /// These first, in this order.
    pub namespaces: Vec<String>,
    /// And no others.
    pub only_namespaces: bool,
    /// Sets the annotation `encryption-key-rotation-time` to this in each object, which makes it a real change: for KMS v1, and for
    /// whatever changed without a new key id. Without it, patches are empty and only stale objects are written.
    pub annotate: Option<String>,
    /// Who writes them. A state file of before there was a choice is of our own way.
    #[serde(default)]
    pub via: Via,
}

/// Who has the objects written anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// This program.
    #[default]
    Patches,
    /// kube-controller-manager. A pass of this program follows, which finds what that one skips.
    StorageVersionMigration,
}

/// The objects of one resource, of one namespace or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which resource.
    pub resource: Resource,
    /// None: all namespaces that had no step of their own, and objects that are in none.
    pub namespace: Option<String>,
    /// How many there are; none where that is counted with another step, or not known.
    pub objects: Option<u64>,
}

/// What will be done, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What was asked for.
    pub request: Request,
    /// Uid of the namespace kube-system.
    pub cluster: String,
    /// The API server.
    pub server: String,
    /// In order.
    pub steps: Vec<Step>,
    /// What was asked for in general and cannot be done, or not by who runs this.
    pub left_out: Vec<LeftOut>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Resources that nobody knows.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A namespace that is not there.
    #[error("there is no namespace `{0}` in this cluster")]
    NoNamespace(String),
    /// Only namespaces, and none named.
    #[error("no namespace is named: which ones only?")]
    OnlyWhich,
    /// The in-tree controller has no such choice.
    #[error("an in-tree migration goes over all objects of a resource, as it likes, and annotates none")]
    MigrationChoosesNothing,
    /// There is no in-tree migration.
    #[error(transparent)]
    NoMigration(#[from] NotServed),
    /// All that was asked for was left out.
    #[error("nothing of what was asked for can be rewritten")]
    Nothing(Vec<LeftOut>),
    /// The API server refuses or does not answer.
    #[error("cannot list {resource}")]
    Call {
        /// Which.
        resource: String,
        /// What it says.
        source: CallError,
    },
}

impl PlanError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Discovery(DiscoveryError::Call(source)) | Self::Call { source, .. } => source.class(),
            Self::Nothing(left_out) if left_out.iter().any(|it| it.unseen) => ErrorClass::Denied,
            Self::NoMigration(error) => error.class(),
            Self::Discovery(_)
            | Self::NoNamespace(_)
            | Self::OnlyWhich
            | Self::MigrationChoosesNothing
            | Self::Nothing(_) => ErrorClass::Invalid,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "re-encrypt on {} (kube-system has uid {}):", self.server, self.cluster)?;
        for step in &self.steps {
            let objects = step.objects.map(|it| format!(", {it} objects")).unwrap_or_default();
            let place = match (&step.namespace, step.resource.namespaced, self.request.namespaces.is_empty())
            {
                (Some(namespace), ..) => format!(" in namespace {namespace}"),
                (None, true, false) => " in all other namespaces (with those above)".to_owned(),
                (None, true, true) => " in all namespaces".to_owned(),
                (None, false, _) => String::new(),
            };
            writeln!(f, "  {}{place}{objects}", step.resource.full_name())?;
        }
        for LeftOut { resource, reason, .. } in &self.left_out {
            writeln!(f, "left out: {resource}: {reason}")?;
        }
        match &self.request.annotate {
            _ if self.request.via == Via::StorageVersionMigration => writeln!(
                f,
                "how: a StorageVersionMigration for each resource, which kube-controller-manager carries out at its own pace; then an empty \
                 patch to each object, because it does not say what was stale and skips what is written meanwhile"
            )?,
            None => writeln!(
                f,
                "how: an empty patch to each; the API server writes those that are not under its present key"
            )?,
            Some(time) => {
                writeln!(f, "how: each is written, with the annotation encryption-key-rotation-time={time}")?;
            }
        }
        write!(f, "then again, until a pass over all finds none to write")
    }
}

impl Plan {
    /// Asks the API server what there is and changes nothing.
    ///
    /// # Errors
    ///
    /// Where a resource or namespace does not exist, cannot be rewritten or may not be listed.
    pub async fn make(server: &ApiServer, request: Request) -> Result<Self, PlanError> {
        if request.only_namespaces && request.namespaces.is_empty() {
            return Err(PlanError::OnlyWhich);
        }
        if request.via == Via::StorageVersionMigration {
            if !request.namespaces.is_empty() || request.annotate.is_some() {
                return Err(PlanError::MigrationChoosesNothing);
            }
            served(server).await?;
        }
        check_namespaces(server, &request.namespaces).await?;
        let found = discover(server, &request.resources).await?;
        let (mut chosen, mut left_out) = (Vec::new(), found.left_out);
        for resource in found.chosen {
            if request.only_namespaces && !resource.namespaced {
                let reason = "they are in no namespace".to_owned();
                left_out.push(LeftOut { resource: resource.full_name(), reason, unseen: false });
                continue;
            }
            match count(server, Place { resource: &resource, namespace: None }).await {
                Ok(objects) => chosen.push((resource, objects)),
                // Who may list only the chosen namespaces needs no more than that.
                Err(error) if request.only_namespaces && error.class() == ErrorClass::Denied => {
                    chosen.push((resource, None));
                }
                Err(error) => left_out.push(request.leave_out(&resource, error)?),
            }
        }
        let mut steps = Vec::new();
        for namespace in &request.namespaces {
            for (resource, _) in chosen.iter().filter(|(resource, _)| resource.namespaced) {
                let place = Place { resource, namespace: Some(namespace) };
                let counted = match request.only_namespaces {
                    true => count(server, place).await,
                    false => Ok(None),
                };
                let objects = match counted {
                    Ok(objects) => objects,
                    Err(error) => {
                        left_out.push(request.leave_out(resource, error)?);
                        continue;
                    }
                };
                steps.push(Step { resource: resource.clone(), namespace: Some(namespace.clone()), objects });
            }
        }
        if !request.only_namespaces {
            let rest = chosen.into_iter();
            steps.extend(rest.map(|(resource, objects)| Step { resource, namespace: None, objects }));
        }
        if steps.is_empty() {
            return Err(PlanError::Nothing(left_out));
        }
        let (cluster, url) = (server.cluster().to_owned(), server.url().to_owned());
        Ok(Self { request, cluster, server: url, steps, left_out })
    }

    /// How many objects there are, as far as that is known.
    pub fn objects(&self) -> u64 {
        self.steps.iter().filter_map(|step| step.objects).sum()
    }
}

impl Request {
    /// What cannot be counted is left out where it was not named itself, and only if that is for want of permission or because it is not
    /// there. Anything else passes, and whoever asked for all wants that too.
    fn leave_out(&self, resource: &Resource, error: CallError) -> Result<LeftOut, PlanError> {
        let name = resource.full_name();
        // `secrets.` is `secrets` of the core group.
        let named = self.resources.iter().any(|it| it.strip_suffix('.').unwrap_or(it) == name);
        match error.class() {
            ErrorClass::Denied | ErrorClass::NotFound if !named => {
                Ok(LeftOut { resource: name, reason: error.to_string(), unseen: true })
            }
            _ => Err(PlanError::Call { resource: name, source: error }),
        }
    }
}

async fn check_namespaces(server: &ApiServer, namespaces: &[String]) -> Result<(), PlanError> {
    for namespace in namespaces {
        // A name that could be a path.
        let name = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        if namespace.is_empty() || !namespace.chars().all(name) {
            return Err(PlanError::NoNamespace(namespace.clone()));
        }
        let path = format!("/api/v1/namespaces/{namespace}");
        let asked: Result<serde::de::IgnoredAny, _> = server.json(&Call::get(&path, METADATA, ASK)).await;
        match asked {
            Err(error) if error.refusal().is_some_and(|it| it.is_missing("namespaces", namespace)) => {
                return Err(PlanError::NoNamespace(namespace.clone()));
            }
            // Who may not read namespaces may still rewrite what is in them.
            Err(error) if error.class() == ErrorClass::Denied => {}
            Err(source) => return Err(PlanError::Call { resource: "namespaces".to_owned(), source }),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// How many objects there are. None where the API server cannot say: the first of them may be one that it cannot read.
async fn count(server: &ApiServer, place: Place<'_>) -> Result<Option<u64>, CallError> {
    match objects::list(server, place, 1, "").await {
        Ok(page) => {
            let here = page.items.map_or(0, |it| it.len() as u64);
            Ok(Some(here + page.metadata.remaining_item_count.unwrap_or(0)))
        }
        Err(CallError::Refused(refusal)) if refusal.status >= 500 => Ok(None),
        Err(error) => Err(error),
    }
}
