//! What each address shows and does. A page asks the key service, and shows what it answers; a form is one command of it.

mod clusters;
pub(crate) mod error;
mod grants;
mod key_choice;
mod keys;
pub(crate) mod login;
mod plugins;
mod projects;
mod rings;
mod sessions;

use keystead_keyservice::{KmsError, Operation};
use keystead_model::ErrorClass;

use crate::answer::{ASSETS, Answer};
use crate::form::Form;
use crate::language::Language;
use crate::texts::Texts;
use crate::visit::{Address, Visit, way_back};
use key_choice::KeyChoice;

/// What stands around each page.
pub(crate) struct Frame {
    texts: &'static Texts,
    language: Language,
    /// Who is logged in; empty: nobody.
    principal: String,
    form_token: String,
    /// The project whose parts are offered; empty: none.
    project: String,
    /// To come back to in another language.
    again: String,
}

/// What a project is made of, for a person who looks for it.
#[derive(Clone, Copy)]
enum Part {
    /// The page of the project itself.
    Apis,
    KeyRings,
    Clusters,
    Plugins,
}

/// A link above the title: where the page belongs.
struct Crumb {
    text: String,
    path: String,
}

/// Why a form was not done.
struct Failed {
    /// The field that it is about; empty: the whole.
    field: &'static str,
    text: String,
    /// As the key service says it, in English; empty: that says no more.
    said: String,
}

impl Frame {
    fn new(visit: &Visit<'_>, project: impl ToString) -> Self {
        Self {
            texts: visit.texts(),
            language: visit.language,
            principal: visit.call.caller().principal.email().to_owned(),
            form_token: visit.form_token.clone(),
            project: project.to_string(),
            again: visit.address.again(),
        }
    }

    /// For a page that anybody may see.
    fn of_stranger(language: Language, again: String) -> Self {
        let (principal, form_token, project) = Default::default();
        Self { texts: language.texts(), language, principal, form_token, project, again }
    }

    fn style(&self) -> &str {
        &ASSETS.style
    }

    fn script(&self) -> &str {
        &ASSETS.script
    }

    fn icon(&self) -> &str {
        &ASSETS.icon
    }

    /// The parts of the project: text, path, and whether this page is it.
    fn parts(&self) -> [(&'static str, String, bool); 4] {
        Part::ALL.map(|part| {
            let path = part.path(&self.project);
            (part.text(self.texts), path.clone(), self.again == path)
        })
    }

    /// The languages to switch to, and how.
    fn languages(&self) -> Vec<(Language, String)> {
        let back: String = form_urlencoded::byte_serialize(self.again.as_bytes()).collect();
        let others = Language::ALL.into_iter().filter(|it| *it != self.language);
        others.map(|it| (it, format!("/console/language/{}?back={back}", it.code()))).collect()
    }
}

impl Part {
    const ALL: [Self; 4] = [Self::Apis, Self::KeyRings, Self::Clusters, Self::Plugins];

    fn text(self, texts: &Texts) -> &'static str {
        match self {
            Self::Apis => texts.apis,
            Self::KeyRings => texts.key_rings,
            Self::Clusters => texts.clusters,
            Self::Plugins => texts.plugin_access,
        }
    }

    fn path(self, project: &str) -> String {
        let part = match self {
            Self::Apis => "",
            Self::KeyRings => "/keyRings",
            Self::Clusters => "/clusters",
            Self::Plugins => "/plugins",
        };
        format!("/console/projects/{project}{part}")
    }
}

impl Crumb {
    fn new(text: impl ToString, path: impl Into<String>) -> Self {
        Self { text: text.to_string(), path: path.into() }
    }

    /// Above the page of a project, and of its parts.
    fn of_projects(visit: &Visit<'_>) -> Vec<Self> {
        vec![Self::new(visit.texts().projects, "/console")]
    }

    /// Above a list of what a project has.
    fn of_project(visit: &Visit<'_>, project: impl ToString) -> Vec<Self> {
        let project = project.to_string();
        let mut crumbs = Self::of_projects(visit);
        crumbs.push(Self::new(&project, Part::Apis.path(&project)));
        crumbs
    }

    /// Above what is in such a list.
    fn of_part(visit: &Visit<'_>, project: impl ToString, part: Part) -> Vec<Self> {
        let project = project.to_string();
        let mut crumbs = Self::of_project(visit, &project);
        crumbs.push(Self::new(part.text(visit.texts()), part.path(&project)));
        crumbs
    }
}

impl Failed {
    /// What was typed into a field is not what belongs there.
    fn field(field: &'static str, text: &'static str) -> Self {
        Self { field, text: text.to_owned(), said: String::new() }
    }

    /// What the key service refuses; that a name is taken belongs to its field.
    fn refused(visit: &Visit<'_>, name_field: &'static str, error: &KmsError) -> Self {
        let field = if error.class() == ErrorClass::AlreadyExists { name_field } else { "" };
        let text = visit.texts().refused(error.class());
        Self { field, text: text.to_owned(), said: error.message().to_owned() }
    }

    /// The text beside a field, if it is about that.
    fn beside(failed: &Option<Self>, field: &str) -> Option<String> {
        failed.as_ref().filter(|failed| failed.field == field).map(|failed| failed.text.clone())
    }
}

impl Visit<'_> {
    /// What a page shows besides, unless who looks at it may not see that.
    async fn may_see<O: Operation>(&self, command: O) -> Result<Option<O::Output>, KmsError> {
        match self.run(command).await {
            Ok(seen) => Ok(Some(seen)),
            Err(error) if error.class() == ErrorClass::Denied => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Answers somebody who is logged in.
pub(crate) async fn answer(visit: &Visit<'_>, form: Option<Form>) -> Answer {
    let done = match form {
        None => show(visit).await,
        Some(form) => act(visit, &form).await,
    };
    done.unwrap_or_else(|error| error::refused(visit, &error))
}

async fn show(visit: &Visit<'_>) -> Result<Answer, KmsError> {
    match visit.address.segments()[..] {
        [] => projects::list(visit).await,
        ["login"] => Ok(Answer::see_other(way_back(visit.address.query.text("back")))),
        ["language", code] => Ok(language(&visit.address, code)),
        ["sessions"] => sessions::list(visit).await,
        ["projects", "new"] => Ok(projects::new(visit, None)),
        ["projects", project] => projects::one(visit, project).await,
        ["projects", project, "keyRings"] => rings::list(visit, project).await,
        ["projects", project, "keyRings", "new"] => rings::new(visit, project, None).await,
        ["projects", project, "plugins"] => plugins::list(visit, project, None).await,
        ["projects", project, "clusters"] => clusters::list(visit, project).await,
        ["projects", project, "clusters", "new"] => clusters::new(visit, project, None).await,
        ["projects", project, "locations", location, "keyRings", ring] => {
            rings::one(visit, &ring_name(project, location, ring)?, None).await
        }
        ["projects", project, "locations", location, "keyRings", ring, "new"] => {
            Ok(keys::new(visit, &ring_name(project, location, ring)?, None))
        }
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key] => {
            keys::one(visit, &key_name(project, location, ring, key)?, None).await
        }
        [
            "projects",
            project,
            "locations",
            location,
            "keyRings",
            ring,
            "cryptoKeys",
            key,
            number,
            "destroy",
        ] => keys::confirm_destruction(visit, &key_name(project, location, ring, key)?, number, None).await,
        ["projects", project, "locations", location, "clusters", cluster] => {
            clusters::one(visit, &cluster_name(project, location, cluster)?).await
        }
        ["projects", project, "locations", location, "clusters", cluster, "encryption"] => {
            clusters::encryption(visit, &cluster_name(project, location, cluster)?, None).await
        }
        _ => Ok(error::not_found(visit)),
    }
}

async fn act(visit: &Visit<'_>, form: &Form) -> Result<Answer, KmsError> {
    match visit.address.segments()[..] {
        ["logout"] => sessions::log_out(visit).await,
        ["sessions", id, "end"] => sessions::end(visit, id).await,
        ["projects"] => projects::create(visit, form).await,
        ["projects", project, "services"] => projects::switch_service(visit, project, form).await,
        ["projects", project, "keyRings"] => rings::create(visit, project, form).await,
        ["projects", project, "plugins"] => plugins::issue(visit, project, form).await,
        ["projects", project, "plugins", id, "revoke"] => plugins::revoke(visit, project, id).await,
        ["projects", project, "clusters"] => clusters::create(visit, project, form).await,
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys"] => {
            keys::create(visit, &ring_name(project, location, ring)?, form).await
        }
        ["projects", project, "locations", location, "keyRings", ring, "members"] => {
            rings::add_member(visit, &ring_name(project, location, ring)?, form).await
        }
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key, act] => {
            keys::act(visit, &key_name(project, location, ring, key)?, act, form).await
        }
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key, number, act] => {
            keys::act_on_version(visit, &key_name(project, location, ring, key)?, number, act, form).await
        }
        ["projects", project, "locations", location, "clusters", cluster, "encryption"] => {
            clusters::change_encryption(visit, &cluster_name(project, location, cluster)?, form).await
        }
        _ => Ok(error::not_found(visit)),
    }
}

/// Has the browser speak another language, and come back.
fn language(address: &Address, code: &str) -> Answer {
    let back = Answer::see_other(way_back(address.query.text("back")));
    match Language::of_code(code) {
        Some(language) => back.with_language(language),
        None => back,
    }
}

fn ring_name(project: &str, location: &str, ring: &str) -> Result<keystead_model::KeyRingName, KmsError> {
    Ok(format!("projects/{project}/locations/{location}/keyRings/{ring}").parse()?)
}

fn key_name(
    project: &str,
    location: &str,
    ring: &str,
    key: &str,
) -> Result<keystead_model::CryptoKeyName, KmsError> {
    Ok(format!("projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}").parse()?)
}

fn cluster_name(
    project: &str,
    location: &str,
    cluster: &str,
) -> Result<keystead_model::ClusterName, KmsError> {
    Ok(format!("projects/{project}/locations/{location}/clusters/{cluster}").parse()?)
}

fn project_id(project: &str) -> Result<keystead_model::ProjectId, KmsError> {
    Ok(project.parse()?)
}
