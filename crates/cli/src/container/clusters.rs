//! `keystead container clusters ...`

use keystead_model::cluster::{DETACH_LABEL, LOCAL_LABEL};
use keystead_runtime::Failure;
use serde_json::{Map, Value, json};

use super::hosts::{self, HostsCommand};
use super::kubeconfig;
use super::names::Place;
use super::operations::{finish, leave};
use crate::kms::checked;
use crate::labels::{self, LabelChanges};
use crate::output::{ListArgs, Shape, say};
use crate::session::Session;

const TABLE: &str = "table(name:sort=1, location, currentMasterVersion:label=MASTER_VERSION, endpoint:label=MASTER_IP, \
                     nodePools[0].config.machineType:label=MACHINE_TYPE, currentNodeVersion:label=NODE_VERSION, \
                     currentNodeCount:label=NUM_NODES, status)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClustersCommand {
    /// Make a cluster; it waits until its hosts have joined, or runs it, where the server runs clusters itself
    Create(CreateArgs),
    /// Make a cluster known whose hosts are your own, and say how they join it
    ///
    /// The same as `create --labels keystead-local=no`, which does not wait.
    Register(Cluster),
    /// Forget a cluster whose hosts are gone for good, although its Secrets are under a key
    ///
    /// That key is kept for it no longer. Without this, `delete` refuses it, and switching encryption off is the way.
    Detach(Cluster),
    /// Have kubectl go to a cluster that the server runs, with your token
    GetCredentials(Cluster),
    /// Print your token in the form in which kubectl asks for it; `get-credentials` has kubectl run this
    #[command(hide = true)]
    ExecCredential,
    /// Encrypt a cluster's Secrets with a key, or with another one, or not at all; change its labels
    Update(UpdateArgs),
    /// Forget clusters, which go on as they are; those that the server runs itself go with all that they hold
    Delete(DeleteArgs),
    /// One cluster, with what its Secrets are encrypted with
    Describe(Cluster),
    /// Which control-plane hosts belong to a cluster
    #[command(subcommand)]
    Hosts(HostsCommand),
    /// Clusters of the project
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        list: ListArgs,
    },
}

/// A cluster, named first.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Cluster {
    /// The cluster's name
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Encrypt its Secrets with this key: projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY
    #[arg(long, value_name = "KEY")]
    database_encryption_key: Option<String>,
    /// The version that is wanted. It is kept and shown: a cluster has the version that its hosts run
    #[arg(long, value_name = "VERSION")]
    cluster_version: Option<String>,
    /// Labels
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = labels::pair)]
    labels: Vec<(String, String)>,
    /// Do not wait until it is done
    #[arg(long)]
    r#async: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
    "database_encryption_key",
    "disable_database_encryption",
    "update_labels",
    "remove_labels",
    "clear_labels",
]))]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Encrypt its Secrets with this key. The key that it has: encrypt everything anew
    #[arg(long, value_name = "KEY", conflicts_with = "disable_database_encryption")]
    database_encryption_key: Option<String>,
    /// Store its Secrets in plain
    #[arg(long)]
    disable_database_encryption: bool,
    #[command(flatten)]
    labels: LabelChanges,
    /// Do not wait until it is done
    #[arg(long)]
    r#async: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// The clusters' names
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Do not wait until it is done
    #[arg(long)]
    r#async: bool,
}

pub(crate) fn run(session: &Session<'_>, command: &ClustersCommand) -> Result<(), Failure> {
    match command {
        ClustersCommand::Create(args) => create(session, args),
        ClustersCommand::Register(cluster) => register(session, cluster),
        ClustersCommand::Detach(cluster) => detach(session, cluster),
        ClustersCommand::GetCredentials(cluster) => kubeconfig::get_credentials(session, cluster),
        // It needs no server: see `container::run`.
        ClustersCommand::ExecCredential => Ok(()),
        ClustersCommand::Update(args) => update(session, args),
        ClustersCommand::Delete(args) => delete(session, args),
        ClustersCommand::Describe(cluster) => session.print(cluster.get(session)?),
        ClustersCommand::Hosts(command) => hosts::run(session, command),
        ClustersCommand::List { place, list } => {
            session.output().print_list(place.list(session, "clusters")?, list, TABLE)
        }
    }
}

impl Cluster {
    pub(super) fn path(&self, session: &Session<'_>) -> Result<String, Failure> {
        Ok(format!("{}/clusters/{}", self.place.name(session)?, checked(&self.name)?))
    }

    pub(super) fn get(&self, session: &Session<'_>) -> Result<Value, Failure> {
        session.server().get(&format!("/v1/{}", self.path(session)?), &[])
    }
}

fn create(session: &Session<'_>, args: &CreateArgs) -> Result<(), Failure> {
    let parent = args.cluster.place.name(session)?;
    let mut cluster = Map::new();
    cluster.insert("name".to_owned(), checked(&args.cluster.name)?.into());
    if let Some(version) = &args.cluster_version {
        cluster.insert("initialClusterVersion".to_owned(), version.as_str().into());
    }
    if let Some(key) = &args.database_encryption_key {
        cluster.insert("databaseEncryption".to_owned(), with_key(key));
    }
    if !args.labels.is_empty() {
        cluster.insert("resourceLabels".to_owned(), Value::Object(labels::map(&args.labels)));
    }
    let body = json!({ "parent": parent, "cluster": cluster });
    let begun = session.server().post(&format!("/v1/{parent}/clusters"), &[], &body)?;
    if args.r#async {
        leave(session, &parent, begun)?;
    } else {
        finish(session, &parent, begun)?;
        say(&format!("Created [{}].", args.cluster.path(session)?));
    }
    session.output().print(vec![args.cluster.get(session)?], TABLE, Shape::Many)
}

fn register(session: &Session<'_>, cluster: &Cluster) -> Result<(), Failure> {
    let parent = cluster.place.name(session)?;
    let name = checked(&cluster.name)?;
    let body =
        json!({ "parent": parent, "cluster": { "name": name, "resourceLabels": { LOCAL_LABEL: "no" } } });
    session.server().post(&format!("/v1/{parent}/clusters"), &[], &body)?;
    let (_, location) = parent.rsplit_once('/').unwrap_or_default();
    let project = session.project()?;
    say(&format!(
        "Registered [{}]. It is there when its control-plane hosts have joined it. For each, by the name of its Node:\n  \
         keystead container clusters hosts invite NODE --cluster {name} --location {location} --project {project} --output-file join-token\n\
         and on that host, with that file:\n  \
         keystead agent join --server URL --token-file join-token --ca-file FILE\n\
         Until then, `keystead container operations cancel` of its operation forgets it again.",
        cluster.path(session)?
    ));
    session.print_if_asked(cluster.get(session)?)
}

fn detach(session: &Session<'_>, cluster: &Cluster) -> Result<(), Failure> {
    let name = cluster.path(session)?;
    let now = cluster.get(session)?;
    session.confirm_for_ever(&format!(
        "{name} will be forgotten, and the keys that its Secrets are under are kept for it no longer. Whoever destroys one makes them unreadable."
    ))?;
    let mut labels = now.get("resourceLabels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(DETACH_LABEL.to_owned(), cluster.name.as_str().into());
    let body =
        json!({ "name": name, "resourceLabels": labels, "labelFingerprint": now.get("labelFingerprint") });
    session.server().post(&format!("/v1/{name}:setResourceLabels"), &[], &body)?;
    session.server().delete(&format!("/v1/{name}"))?;
    say(&format!("Detached [{name}]."));
    Ok(())
}

fn update(session: &Session<'_>, args: &UpdateArgs) -> Result<(), Failure> {
    let name = args.cluster.path(session)?;
    let encryption = match &args.database_encryption_key {
        Some(key) => Some(with_key(key)),
        None => args.disable_database_encryption.then(|| json!({ "state": "DECRYPTED" })),
    };
    let begun = match encryption {
        Some(_) if args.labels.any() => {
            let text = "encryption and labels are changed by two commands, one after the other";
            return Err(Failure::new(text).usage());
        }
        Some(encryption) => {
            let body = json!({ "name": name, "update": { "desiredDatabaseEncryption": encryption } });
            session.server().put(&format!("/v1/{name}"), &body)?
        }
        None => {
            let now = args.cluster.get(session)?;
            let labels = args.labels.apply(now.get("resourceLabels").unwrap_or(&Value::Null));
            let body = json!({
                "name": name,
                "resourceLabels": labels,
                "labelFingerprint": now.get("labelFingerprint"),
            });
            session.server().post(&format!("/v1/{name}:setResourceLabels"), &[], &body)?
        }
    };
    let parent = args.cluster.place.name(session)?;
    if args.r#async {
        leave(session, &parent, begun)?;
    } else {
        finish(session, &parent, begun)?;
        say(&format!("Updated [{name}]."));
    }
    session.print_if_asked(args.cluster.get(session)?)
}

fn delete(session: &Session<'_>, args: &DeleteArgs) -> Result<(), Failure> {
    let parent = args.place.name(session)?;
    let names: Vec<String> = args
        .names
        .iter()
        .map(|name| Ok(format!("{parent}/clusters/{}", checked(name)?)))
        .collect::<Result<_, Failure>>()?;
    session.confirm(&format!("The following clusters will be forgotten, and those that the server runs itself removed with all that they hold:\n - {}", names.join("\n - ")))?;
    let (several, mut first) = (names.len() > 1, Ok(()));
    for name in names {
        match delete_one(session, &parent, &name, args.r#async) {
            Ok(()) => {}
            // The others are asked for all the same.
            Err(failure) if several => {
                say(&format!("Not deleted [{name}]: {failure}"));
                first = first.and(Err(failure));
            }
            Err(failure) => return Err(failure),
        }
    }
    first
}

fn delete_one(session: &Session<'_>, parent: &str, name: &str, leaves: bool) -> Result<(), Failure> {
    let begun = session.server().delete(&format!("/v1/{name}"))?;
    if leaves {
        return leave(session, parent, begun);
    }
    finish(session, parent, begun)?;
    say(&format!("Deleted [{name}]."));
    Ok(())
}

fn with_key(key: &str) -> Value {
    json!({ "keyName": key, "state": "ENCRYPTED" })
}
