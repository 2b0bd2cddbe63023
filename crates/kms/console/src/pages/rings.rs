use askama::Template;
use http::StatusCode;
use keystead_keyservice::operations::{
    CreateKeyRing, ListCryptoKeys, ListLocations, ListOptions, ListProjectKeyRings, ListProjects,
};
use keystead_keyservice::{KmsError, Resource};
use keystead_model::{CryptoKeyName, KeyRingName, LocationName, ProjectName};

use super::grants::{self, KEY_ROLES};
use super::keys::KeyRow;
use super::{Crumb, Failed, Frame, Part, project_id};
use crate::answer::Answer;
use crate::form::Form;
use crate::moment::Moment;
use crate::visit::Visit;

/// Rings, or keys, on one page.
const PAGE: usize = 100;

#[derive(Template)]
#[template(path = "rings.html")]
struct ListPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    project: String,
    rings: Vec<Row>,
    next: String,
}

struct Row {
    path: String,
    name: String,
    location: String,
    created: Moment,
}

#[derive(Template)]
#[template(path = "ring_new.html")]
struct NewPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    project: String,
    locations: Vec<String>,
    name: String,
    location: String,
    failed: Option<Failed>,
}

#[derive(Template)]
#[template(path = "ring.html")]
struct OnePage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    path: String,
    ring: String,
    location: String,
    keys: Vec<KeyRow>,
    next: String,
    /// What the panel of permissions offers.
    roles: [(&'static str, &'static str); 4],
    /// Accounts by which clusters use keys, to choose from.
    cluster_accounts: Vec<String>,
    /// What was ticked and typed into the panel.
    ticked: Vec<String>,
    member: String,
    role: String,
    failed: Option<Failed>,
    /// The last form was done.
    saved: bool,
}

/// The key rings of a project.
pub(super) async fn list(visit: &Visit<'_>, project: &str) -> Result<Answer, KmsError> {
    let project = project_id(project)?;
    let page_token = visit.address.query.text("page").to_owned();
    let command = ListProjectKeyRings { project: project.clone(), page_size: PAGE, page_token };
    let page = visit.run(command).await?;
    let row = |ring: keystead_model::KeyRing| Row {
        path: format!("/console/{}", ring.name),
        name: ring.name.ring.to_string(),
        location: ring.name.location.location.to_string(),
        created: visit.moment(ring.create_time),
    };
    let page = ListPage {
        frame: Frame::new(visit, &project),
        crumbs: Crumb::of_project(visit, &project),
        project: project.to_string(),
        rings: page.rings.into_iter().map(row).collect(),
        next: page.next_page_token,
    };
    Ok(Answer::page(StatusCode::OK, &page))
}

/// The form of a new ring.
pub(super) async fn new(
    visit: &Visit<'_>,
    project: &str,
    failed: Option<(Failed, &Form)>,
) -> Result<Answer, KmsError> {
    let project = project_id(project)?;
    let name = ProjectName { project: project.clone() };
    let locations = visit.run(ListLocations { project: name }).await?;
    let typed = |name| failed.as_ref().map(|(_, form)| form.text(name).to_owned()).unwrap_or_default();
    let page = NewPage {
        frame: Frame::new(visit, &project),
        crumbs: Crumb::of_part(visit, &project, Part::KeyRings),
        project: project.to_string(),
        locations: locations.into_iter().map(|location| location.id.to_string()).collect(),
        name: typed("name"),
        location: typed("location"),
        failed: failed.map(|(failed, _)| failed),
    };
    Ok(Answer::form(page.failed.is_some(), &page))
}

/// Makes a ring.
pub(super) async fn create(visit: &Visit<'_>, project: &str, form: &Form) -> Result<Answer, KmsError> {
    let texts = visit.texts();
    let failed = |field, text| Some((Failed::field(field, text), form));
    let Ok(ring) = form.text("name").parse() else {
        return new(visit, project, failed("name", texts.bad_name)).await;
    };
    let Ok(location) = form.text("location").parse() else {
        return new(visit, project, failed("location", texts.bad_location)).await;
    };
    let location = LocationName { project: project_id(project)?, location };
    match visit.run(CreateKeyRing { name: KeyRingName { location, ring } }).await {
        Ok(ring) => Ok(Answer::see_other(format!("/console/{}", ring.name))),
        Err(error) => new(visit, project, Some((Failed::refused(visit, "name", &error), form))).await,
    }
}

/// A ring: its keys, and the panel by which members get a role on those that are ticked.
pub(super) async fn one(
    visit: &Visit<'_>,
    ring: &KeyRingName,
    failed: Option<(Failed, &Form)>,
) -> Result<Answer, KmsError> {
    let options = ListOptions {
        page_size: PAGE as i32,
        page_token: visit.address.query.text("page").to_owned(),
        ..ListOptions::default()
    };
    let page = visit.run(ListCryptoKeys { parent: ring.clone(), options }).await?;
    // Whoever sees a project sees by which account its clusters come.
    let projects = visit.run(ListProjects { page_size: PAGE, page_token: String::new() }).await?;
    let form = failed.as_ref().map(|(_, form)| *form);
    let typed = |name| form.map(|form| form.text(name).to_owned()).unwrap_or_default();
    let project = &ring.location.project;
    let page = OnePage {
        frame: Frame::new(visit, project),
        crumbs: Crumb::of_part(visit, project, Part::KeyRings),
        path: format!("/console/{ring}"),
        ring: ring.ring.to_string(),
        location: ring.location.location.to_string(),
        keys: page.items.into_iter().map(|key| KeyRow::new(visit, key)).collect(),
        next: page.next_page_token,
        roles: KEY_ROLES,
        cluster_accounts: projects.projects.iter().map(|project| project.cluster_account()).collect(),
        ticked: form.map(|form| form.all("key").map(str::to_owned).collect()).unwrap_or_default(),
        member: typed("member"),
        role: typed("role"),
        saved: visit.address.query.ticked("saved"),
        failed: failed.map(|(failed, _)| failed),
    };
    Ok(Answer::form(page.failed.is_some(), &page))
}

/// Gives a member a role on every key that is ticked, one after the other: what was given stays if a later one is refused.
pub(super) async fn add_member(
    visit: &Visit<'_>,
    ring: &KeyRingName,
    form: &Form,
) -> Result<Answer, KmsError> {
    let texts = visit.texts();
    let mut chosen = Vec::new();
    for key in form.all("key") {
        chosen.push(CryptoKeyName { ring: ring.clone(), key: key.parse()? });
    }
    if chosen.is_empty() {
        return one(visit, ring, Some((Failed::field("key", texts.tick_a_key), form))).await;
    }
    let Some(member) = grants::member(form.text("member")) else {
        return one(visit, ring, Some((Failed::field("member", texts.bad_member), form))).await;
    };
    let Some((role, _)) = KEY_ROLES.into_iter().find(|(role, _)| *role == form.text("role")) else {
        return one(visit, ring, Some((Failed::field("role", texts.bad_role), form))).await;
    };
    for key in chosen {
        if let Err(error) = grants::grant(visit, Resource::CryptoKey(key), &member, role).await {
            return one(visit, ring, Some((Failed::refused(visit, "member", &error), form))).await;
        }
    }
    Ok(Answer::see_other(format!("/console/{ring}?saved=yes")))
}
