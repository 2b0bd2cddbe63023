use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;
use keystead_keyservice::KmsError;
use keystead_keyservice::operations::{
    ClusterView, CreateCluster, GetCluster, GetClusterOperation, ListClusters, ListHosts, ListLocations,
    UpdateClusterEncryption,
};
use keystead_model::cluster::{LOCAL_LABEL, Target};
use keystead_model::{Cluster, ClusterName, ClusterOperationName, CryptoKeyName, LocationName, ProjectName};

use super::{Crumb, Failed, Frame, KeyChoice, Part, project_id};
use crate::answer::Answer;
use crate::form::Form;
use crate::moment::Moment;
use crate::texts::Texts;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "clusters.html")]
struct ListPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    project: String,
    clusters: Vec<Row>,
}

struct Row {
    path: String,
    name: String,
    location: String,
    encryption: Encryption,
    created: Moment,
}

/// How the encryption of a cluster stands.
struct Encryption {
    word: &'static str,
    class: &'static str,
    /// The key that is wanted; empty: none.
    key: String,
}

#[derive(Template)]
#[template(path = "cluster_new.html")]
struct NewPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    project: String,
    name: String,
    location: String,
    locations: Vec<String>,
    /// Whether this server runs clusters itself.
    local: bool,
    api_servers: String,
    /// Whether the box is ticked.
    encrypts: bool,
    choice: KeyChoice,
    failed: Option<Failed>,
}

#[derive(Template)]
#[template(path = "encryption.html")]
struct EncryptionPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    path: String,
    cluster: String,
    location: String,
    project: String,
    /// Whether the box is ticked.
    encrypts: bool,
    choice: KeyChoice,
    failed: Option<Failed>,
}

#[derive(Template)]
#[template(path = "cluster.html")]
struct OnePage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    path: String,
    cluster: String,
    location: String,
    project: String,
    created: Moment,
    encryption: Encryption,
    /// Keys that are still needed to read what is stored.
    also_needed: Vec<String>,
    /// Values under older versions of the key, and when they were counted.
    outdated: Option<(u64, Moment)>,
    running: Option<RunningOperation>,
    failures: Vec<(String, Moment)>,
    /// How many API servers this server runs for it; none: it is on its own hosts.
    local_api_servers: Option<String>,
    hosts: Vec<HostRow>,
}

struct RunningOperation {
    id: String,
    detail: String,
    started: Moment,
}

struct HostRow {
    node: String,
    joined: bool,
    api_server: String,
    agent: String,
    reported: Option<Moment>,
    detail: String,
    key_ids: String,
}

impl Encryption {
    fn of(cluster: &Cluster, texts: &Texts) -> Self {
        let settled = Target { key: cluster.encryption.key.clone() };
        let target = cluster.heading_for().unwrap_or(&settled);
        let changing = cluster.running.as_ref().is_some_and(|running| running.task.target().is_some());
        let failed = !cluster.encryption.failures.is_empty();
        let (word, class) = match (changing, failed, &target.key) {
            (true, _, Some(_)) => (texts.being_enabled, "busy"),
            (true, _, None) => (texts.being_disabled, "busy"),
            (false, true, _) => (texts.encryption_failed, "bad"),
            (false, false, Some(_)) => (texts.encryption_enabled, "good"),
            (false, false, None) => (texts.encryption_disabled, "off"),
        };
        let key = target.key.as_ref().map(ToString::to_string).unwrap_or_default();
        Self { word, class, key }
    }
}

/// The key that a form wants; none: plain.
fn wanted(form: &Form, texts: &Texts) -> Result<Option<CryptoKeyName>, Failed> {
    if !form.ticked("encrypt") {
        return Ok(None);
    }
    KeyChoice::chosen(form, texts).map(Some)
}

/// The clusters of a project.
pub(super) async fn list(visit: &Visit<'_>, project: &str) -> Result<Answer, KmsError> {
    let project = project_id(project)?;
    let clusters = visit.run(ListClusters { project: project.clone(), location: None }).await?;
    let row = |ClusterView { cluster, .. }: ClusterView| Row {
        path: format!("/console/{}", cluster.name),
        name: cluster.name.cluster.to_string(),
        location: cluster.name.location.location.to_string(),
        encryption: Encryption::of(&cluster, visit.texts()),
        created: visit.moment(cluster.create_time),
    };
    let page = ListPage {
        frame: Frame::new(visit, &project),
        crumbs: Crumb::of_project(visit, &project),
        project: project.to_string(),
        clusters: clusters.into_iter().map(row).collect(),
    };
    Ok(Answer::page(StatusCode::OK, &page))
}

/// The form of a new cluster.
pub(super) async fn new(
    visit: &Visit<'_>,
    project: &str,
    failed: Option<(Failed, &Form)>,
) -> Result<Answer, KmsError> {
    let project = project_id(project)?;
    let name = ProjectName { project: project.clone() };
    let locations = visit.run(ListLocations { project: name }).await?;
    let locations = locations.into_iter().map(|it| it.id.to_string()).filter(|it| it != "global");
    let form = failed.as_ref().map(|(_, form)| *form);
    let typed = |name| form.map(|form| form.text(name).to_owned()).unwrap_or_default();
    let page = NewPage {
        frame: Frame::new(visit, &project),
        crumbs: Crumb::of_part(visit, &project, Part::Clusters),
        project: project.to_string(),
        name: typed("name"),
        location: typed("location"),
        locations: locations.collect(),
        local: visit.keyservice().runs_local_clusters(),
        api_servers: typed("api-servers"),
        encrypts: form.is_some_and(|form| form.ticked("encrypt")),
        choice: KeyChoice::new(visit, form, None).await?,
        failed: failed.map(|(failed, _)| failed),
    };
    Ok(Answer::form(page.failed.is_some(), &page))
}

/// Makes a cluster.
pub(super) async fn create(visit: &Visit<'_>, project: &str, form: &Form) -> Result<Answer, KmsError> {
    let command = match new_cluster(visit, project, form) {
        Ok(command) => command,
        Err(failed) => return new(visit, project, Some((failed, form))).await,
    };
    let name = command.name.clone();
    match visit.run(command).await {
        Ok(_) => Ok(Answer::see_other(format!("/console/{name}"))),
        Err(error) => new(visit, project, Some((Failed::refused(visit, "name", &error), form))).await,
    }
}

fn new_cluster(visit: &Visit<'_>, project: &str, form: &Form) -> Result<CreateCluster, Failed> {
    let texts = visit.texts();
    let project = project.parse().map_err(|_| Failed::field("", texts.bad_project_id))?;
    let location =
        form.text("location").parse().map_err(|_| Failed::field("location", texts.bad_location))?;
    let cluster = form.text("name").parse().map_err(|_| Failed::field("name", texts.bad_cluster_name))?;
    let key = wanted(form, texts)?;
    let api_servers = form.text("api-servers");
    let labels = match api_servers {
        "" => BTreeMap::new(),
        chosen => BTreeMap::from([(LOCAL_LABEL.to_owned(), chosen.to_owned())]),
    };
    Ok(CreateCluster {
        name: ClusterName { location: LocationName { project, location }, cluster },
        key,
        labels,
        settings: String::new(),
        initial_version: String::new(),
    })
}

/// A cluster: how its encryption stands, and what is being done to it.
pub(super) async fn one(visit: &Visit<'_>, name: &ClusterName) -> Result<Answer, KmsError> {
    let ClusterView { cluster, outdated } = visit.run(GetCluster { name: name.clone() }).await?;
    let hosts = visit.run(ListHosts { cluster: name.clone() }).await?;
    let running = match &cluster.running {
        Some(running) => {
            let operation = running.operation.clone();
            let name = ClusterOperationName { location: name.location.clone(), operation };
            let operation = visit.may_see(GetClusterOperation { name }).await?;
            operation.map(|operation| RunningOperation {
                id: operation.name.operation.to_string(),
                detail: operation.detail,
                started: visit.moment(operation.start_time),
            })
        }
        None => None,
    };
    let encryption = Encryption::of(&cluster, visit.texts());
    let needed = cluster.needed_to_read().into_iter().map(|key| key.to_string());
    let row = |host: keystead_model::ClusterHost| {
        let report = host.reported.as_ref().map(|reported| &reported.report);
        HostRow {
            joined: host.joined.is_some(),
            api_server: report.map(|it| it.api_server_version.clone()).unwrap_or_default(),
            agent: report.map(|it| it.agent_version.clone()).unwrap_or_default(),
            detail: report.and_then(|it| it.work.as_ref()).map(|it| it.detail.clone()).unwrap_or_default(),
            key_ids: report.map(|it| it.key_ids.join(", ")).unwrap_or_default(),
            reported: host.reported.as_ref().map(|reported| visit.moment(reported.time)),
            node: host.node,
        }
    };
    let failures = cluster.encryption.failures.iter().rev();
    let page = OnePage {
        frame: Frame::new(visit, &name.location.project),
        crumbs: Crumb::of_part(visit, &name.location.project, Part::Clusters),
        path: format!("/console/{name}"),
        cluster: name.cluster.to_string(),
        location: name.location.location.to_string(),
        project: name.location.project.to_string(),
        created: visit.moment(cluster.create_time),
        also_needed: needed.filter(|key| *key != encryption.key).collect(),
        outdated: outdated.map(|it| (it.objects, visit.moment(it.observe_time))),
        encryption,
        running,
        failures: failures.map(|it| (it.message.clone(), visit.moment(it.time))).collect(),
        local_api_servers: cluster.local_api_servers.map(visit.texts().api_servers_count),
        hosts: hosts.into_iter().map(row).collect(),
    };
    Ok(Answer::page(StatusCode::OK, &page))
}

/// The form that changes the encryption of a cluster.
pub(super) async fn encryption(
    visit: &Visit<'_>,
    name: &ClusterName,
    failed: Option<(Failed, &Form)>,
) -> Result<Answer, KmsError> {
    let cluster = visit.run(GetCluster { name: name.clone() }).await?.cluster;
    let settled = Target { key: cluster.encryption.key.clone() };
    let target = cluster.heading_for().unwrap_or(&settled);
    let form = failed.as_ref().map(|(_, form)| *form);
    let page = EncryptionPage {
        frame: Frame::new(visit, &name.location.project),
        crumbs: crumbs_of_cluster(visit, name),
        path: format!("/console/{name}"),
        cluster: name.cluster.to_string(),
        location: name.location.location.to_string(),
        project: name.location.project.to_string(),
        encrypts: form.map_or(target.key.is_some(), |form| form.ticked("encrypt")),
        choice: KeyChoice::new(visit, form, target.key.as_ref()).await?,
        failed: failed.map(|(failed, _)| failed),
    };
    Ok(Answer::form(page.failed.is_some(), &page))
}

/// Changes it.
pub(super) async fn change_encryption(
    visit: &Visit<'_>,
    name: &ClusterName,
    form: &Form,
) -> Result<Answer, KmsError> {
    let key = match wanted(form, visit.texts()) {
        Ok(key) => key,
        Err(failed) => return encryption(visit, name, Some((failed, form))).await,
    };
    match visit.run(UpdateClusterEncryption { name: name.clone(), key }).await {
        Ok(_) => Ok(Answer::see_other(format!("/console/{name}"))),
        Err(error) => encryption(visit, name, Some((Failed::refused(visit, "", &error), form))).await,
    }
}

/// Above the form of a cluster.
fn crumbs_of_cluster(visit: &Visit<'_>, name: &ClusterName) -> Vec<Crumb> {
    let mut crumbs = Crumb::of_part(visit, &name.location.project, Part::Clusters);
    crumbs.push(Crumb::new(&name.cluster, format!("/console/{name}")));
    crumbs
}
