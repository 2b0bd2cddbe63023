use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;
use keystead_keyservice::operations::{
    CreateProject, GetProject, ListProjects, ListServices, SwitchServices,
};
use keystead_keyservice::{KmsError, ServiceApi};

use super::{Crumb, Failed, Frame, project_id};
use crate::answer::Answer;
use crate::form::Form;
use crate::moment::Moment;
use crate::visit::Visit;

/// Projects on one page.
const PAGE: usize = 100;

#[derive(Template)]
#[template(path = "projects.html")]
struct ListPage {
    frame: Frame,
    projects: Vec<Row>,
    next: String,
}

struct Row {
    id: String,
    name: String,
    number: u64,
    created: Moment,
}

#[derive(Template)]
#[template(path = "project_new.html")]
struct NewPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    id: String,
    name: String,
    failed: Option<Failed>,
}

#[derive(Template)]
#[template(path = "project.html")]
struct OnePage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    id: String,
    name: String,
    number: u64,
    created: Moment,
    /// The account by which clusters of the project use keys.
    cluster_account: String,
    services: Option<Vec<Service>>,
}

struct Service {
    name: &'static str,
    title: &'static str,
    enabled: bool,
    can_be_off: bool,
}

/// The projects that whoever looks may see.
pub(super) async fn list(visit: &Visit<'_>) -> Result<Answer, KmsError> {
    let page_token = visit.address.query.text("page").to_owned();
    let page = visit.run(ListProjects { page_size: PAGE, page_token }).await?;
    let row = |project: keystead_keyservice::Project| Row {
        created: visit.moment(project.create_time),
        id: project.id.to_string(),
        name: project.display_name,
        number: project.number,
    };
    let projects = page.projects.into_iter().map(row).collect();
    let next = page.next_page_token.unwrap_or_default();
    Ok(Answer::page(StatusCode::OK, &ListPage { frame: Frame::new(visit, ""), projects, next }))
}

/// The form of a new project.
pub(super) fn new(visit: &Visit<'_>, failed: Option<(Failed, &Form)>) -> Answer {
    let typed = |name| failed.as_ref().map(|(_, form)| form.text(name).to_owned()).unwrap_or_default();
    let page = NewPage {
        frame: Frame::new(visit, ""),
        crumbs: Crumb::of_projects(visit),
        id: typed("id"),
        name: typed("name"),
        failed: failed.map(|(failed, _)| failed),
    };
    Answer::form(page.failed.is_some(), &page)
}

/// Makes a project.
pub(super) async fn create(visit: &Visit<'_>, form: &Form) -> Result<Answer, KmsError> {
    let Ok(id) = form.text("id").parse() else {
        return Ok(new(visit, Some((Failed::field("id", visit.texts().bad_project_id), form))));
    };
    let display_name = form.text("name").to_owned();
    match visit.run(CreateProject { id, display_name, labels: BTreeMap::new() }).await {
        Ok(project) => Ok(Answer::see_other(format!("/console/projects/{}", project.id))),
        Err(error) => Ok(new(visit, Some((Failed::refused(visit, "id", &error), form)))),
    }
}

/// A project: what it is called, and which APIs are on.
pub(super) async fn one(visit: &Visit<'_>, project: &str) -> Result<Answer, KmsError> {
    let id = project_id(project)?;
    let project = visit.run(GetProject { id: id.clone() }).await?;
    let services = visit.may_see(ListServices { project: id.clone(), enabled: None }).await?;
    let service = |view: keystead_keyservice::operations::ServiceView| Service {
        name: view.api.name(),
        title: view.api.title(),
        enabled: view.enabled,
        can_be_off: view.api.can_be_off(),
    };
    let page = OnePage {
        frame: Frame::new(visit, &id),
        crumbs: Crumb::of_projects(visit),
        cluster_account: project.cluster_account(),
        created: visit.moment(project.create_time),
        id: id.to_string(),
        name: project.display_name,
        number: project.number,
        services: services.map(|all| all.into_iter().map(service).filter(|it| it.can_be_off).collect()),
    };
    Ok(Answer::page(StatusCode::OK, &page))
}

/// Enables or disables an API.
pub(super) async fn switch_service(
    visit: &Visit<'_>,
    project: &str,
    form: &Form,
) -> Result<Answer, KmsError> {
    let project = project_id(project)?;
    let api: ServiceApi = form.text("api").parse()?;
    let enable = form.ticked("enable");
    visit.run(SwitchServices { project: project.clone(), apis: vec![api], enable }).await?;
    Ok(Answer::see_other(format!("/console/projects/{project}")))
}
