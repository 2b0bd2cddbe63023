use std::collections::BTreeMap;

use askama::Template;
use jiff::{SignedDuration, Timestamp};
use keystead_keyservice::operations::{
    CreateCryptoKey, CreateCryptoKeyVersion, DestroyCryptoKeyVersion, GetCryptoKey, GetVersionUsage,
    KeyAndPrimary, ListCryptoKeyVersions, ListOptions, RestoreCryptoKeyVersion,
    UpdateCryptoKeyPrimaryVersion, UpdateCryptoKeyVersion,
};
use keystead_keyservice::{KmsError, Origin, Presented, Resource};
use keystead_model::{
    CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, KeyRingName, VersionNumber, VersionState,
};

use super::grants::{KEY_ROLES, MemberRow, grant, member, members, revoke};
use super::{Crumb, Failed, Frame, Part};
use crate::answer::Answer;
use crate::form::Form;
use crate::moment::{Moment, length};
use crate::texts::Texts;
use crate::visit::Visit;

/// Versions on one page.
const PAGE: i32 = 100;
const DAY_S: i64 = 86_400;
/// As Google's console proposes it.
const ROTATION_DAYS: i64 = 90;

/// A key in a list.
pub(super) struct KeyRow {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) state: Option<State>,
    pub(super) primary: String,
    pub(super) rotation: String,
    pub(super) next_rotation: Option<Moment>,
}

/// The state of a version, in a word and as a class of the stylesheet.
pub(super) struct State {
    pub(super) word: &'static str,
    pub(super) class: &'static str,
}

#[derive(Template)]
#[template(path = "key_new.html")]
struct NewPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    path: String,
    ring: String,
    location: String,
    project: String,
    name: String,
    rotates: bool,
    days: String,
    start: String,
    labels: String,
    failed: Option<Failed>,
}

#[derive(Template)]
#[template(path = "key.html")]
struct OnePage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    path: String,
    name: String,
    key: String,
    primary: Option<State>,
    rotation: String,
    next_rotation: Option<Moment>,
    created: Moment,
    labels: Vec<(String, String)>,
    versions: Option<Vec<VersionRow>>,
    /// That there are more than are shown; empty: there are not.
    older_versions: String,
    /// Clusters that need the primary; none: whoever looks may not know.
    clusters: Option<Vec<(String, String)>>,
    members: Vec<MemberRow>,
    roles: [(&'static str, &'static str); 4],
    failed: Option<Failed>,
    member: String,
}

struct VersionRow {
    number: u32,
    state: State,
    primary: bool,
    created: Moment,
    destroyed: Option<Moment>,
    can: VersionState,
}

#[derive(Template)]
#[template(path = "destroy.html")]
struct DestroyPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    path: String,
    key: String,
    number: u32,
    clusters: Vec<(String, String)>,
    inventories: Vec<String>,
    encrypts: u64,
    decrypts: u64,
    /// When it would be destroyed.
    after: String,
    failed: Option<Failed>,
}

impl State {
    pub(super) fn of(state: VersionState, texts: &Texts) -> Self {
        let (word, class) = match state {
            VersionState::Enabled => (texts.enabled, "good"),
            VersionState::Disabled => (texts.disabled, "off"),
            VersionState::DestroyScheduled => (texts.destroy_scheduled, "bad"),
            VersionState::Destroyed => (texts.destroyed, "off"),
        };
        Self { word, class }
    }
}

impl KeyRow {
    pub(super) fn new(visit: &Visit<'_>, listed: KeyAndPrimary) -> Self {
        let KeyAndPrimary { key, primary } = listed;
        Self {
            path: format!("/console/{}", key.name),
            name: key.name.key.to_string(),
            state: primary.as_ref().map(|primary| State::of(primary.state, visit.texts())),
            primary: key.primary.map(|number| number.get().to_string()).unwrap_or_default(),
            rotation: rotation(key.rotation_period_s, visit.texts()),
            next_rotation: key.next_rotation_time.map(|time| visit.moment(time)),
        }
    }
}

fn rotation(period_s: Option<i64>, texts: &Texts) -> String {
    period_s.map_or(texts.never.to_owned(), |period| (texts.every)(&length(period, texts)))
}

/// The form of a new key.
pub(super) fn new(visit: &Visit<'_>, ring: &KeyRingName, failed: Option<(Failed, &Form)>) -> Answer {
    let first = visit.now().checked_add(SignedDuration::from_hours(24 * ROTATION_DAYS));
    let proposed = first.map(|time| time.to_string().chars().take(10).collect()).unwrap_or_default();
    let typed = |name: &str, proposed: String| {
        failed.as_ref().map_or(proposed, |(_, form)| form.text(name).to_owned())
    };
    let project = ring.location.project.to_string();
    let page = NewPage {
        frame: Frame::new(visit, &project),
        crumbs: crumbs_of_ring(visit, ring),
        path: format!("/console/{ring}"),
        ring: ring.ring.to_string(),
        location: ring.location.location.to_string(),
        project,
        name: typed("name", String::new()),
        rotates: failed.as_ref().is_none_or(|(_, form)| form.ticked("rotates")),
        days: typed("days", ROTATION_DAYS.to_string()),
        start: typed("start", proposed),
        labels: typed("labels", String::new()),
        failed: failed.map(|(failed, _)| failed),
    };
    Answer::form(page.failed.is_some(), &page)
}

/// Makes a key.
pub(super) async fn create(visit: &Visit<'_>, ring: &KeyRingName, form: &Form) -> Result<Answer, KmsError> {
    let command = match new_key(visit, ring, form) {
        Ok(command) => command,
        Err(failed) => return Ok(new(visit, ring, Some((failed, form)))),
    };
    match visit.run(command).await {
        Ok(made) => Ok(Answer::see_other(format!("/console/{}", made.key.name))),
        Err(error) => Ok(new(visit, ring, Some((Failed::refused(visit, "name", &error), form)))),
    }
}

fn new_key(visit: &Visit<'_>, ring: &KeyRingName, form: &Form) -> Result<CreateCryptoKey, Failed> {
    let texts = visit.texts();
    let key = form.text("name").parse().map_err(|_| Failed::field("name", texts.bad_name))?;
    let mut command = CreateCryptoKey {
        name: CryptoKeyName { ring: ring.clone(), key },
        labels: labels(form.text("labels")).ok_or_else(|| Failed::field("labels", texts.bad_labels))?,
        rotation_period_s: None,
        next_rotation_time: None,
        destroy_scheduled_duration_s: None,
        skip_initial_version: false,
    };
    if form.ticked("rotates") {
        let days: Option<i64> = form.text("days").parse().ok().filter(|days| (1..=36_500).contains(days));
        let days = days.ok_or_else(|| Failed::field("days", texts.bad_days))?;
        // A day begins at midnight in UTC, for whoever chooses one.
        let start: Result<Timestamp, _> = format!("{}T00:00:00Z", form.text("start")).parse();
        let start = start.map_err(|_| Failed::field("start", texts.bad_date))?;
        command.rotation_period_s = Some(days * DAY_S);
        command.next_rotation_time = Some(start);
    }
    Ok(command)
}

/// One `name=value` on each line.
fn labels(typed: &str) -> Option<BTreeMap<String, String>> {
    let lines = typed.lines().map(str::trim).filter(|line| !line.is_empty());
    let pair = |line: &str| {
        line.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
    };
    lines.map(pair).collect()
}

/// A key: its versions, its schedule, who may use it and by what.
pub(super) async fn one(
    visit: &Visit<'_>,
    name: &CryptoKeyName,
    failed: Option<(Failed, &Form)>,
) -> Result<Answer, KmsError> {
    let texts = visit.texts();
    let KeyAndPrimary { key, primary } = visit.run(GetCryptoKey { name: name.clone() }).await?;
    let options = ListOptions { page_size: PAGE, order_by: "name desc".to_owned(), ..ListOptions::default() };
    let versions = visit.may_see(ListCryptoKeyVersions { parent: name.clone(), options }).await?;
    let clusters = match key.primary {
        Some(version) => {
            let version = CryptoKeyVersionName { key: name.clone(), version };
            let usage = visit.may_see(GetVersionUsage { name: version }).await?;
            usage.map(|usage| usage.clusters.into_iter().map(cluster_user).collect())
        }
        None => Some(Vec::new()),
    };
    let row = |version: CryptoKeyVersion| VersionRow {
        number: version.name.version.get(),
        state: State::of(version.state, texts),
        primary: key.primary == Some(version.name.version),
        created: visit.moment(version.create_time),
        destroyed: version.destroy_time.or(version.destroy_event_time).map(|time| visit.moment(time)),
        can: version.state,
    };
    let older = versions.as_ref().map_or(0, |page| page.total_size.saturating_sub(page.items.len()));
    let page = OnePage {
        frame: Frame::new(visit, &name.ring.location.project),
        crumbs: crumbs_of_ring(visit, &name.ring),
        older_versions: if older > 0 { (texts.older_versions)(older) } else { String::new() },
        path: format!("/console/{name}"),
        name: name.to_string(),
        key: name.key.to_string(),
        primary: primary.map(|primary| State::of(primary.state, texts)),
        rotation: rotation(key.rotation_period_s, texts),
        next_rotation: key.next_rotation_time.map(|time| visit.moment(time)),
        created: visit.moment(key.create_time),
        versions: versions.map(|page| page.items.into_iter().map(row).collect()),
        clusters,
        members: members(visit, name).await?,
        labels: key.labels.into_iter().collect(),
        roles: KEY_ROLES,
        member: failed.as_ref().map(|(_, form)| form.text("member").to_owned()).unwrap_or_default(),
        failed: failed.map(|(failed, _)| failed),
    };
    Ok(Answer::form(page.failed.is_some(), &page))
}

fn cluster_user(user: keystead_model::destruction::ClusterUser) -> (String, String) {
    (user.cluster.to_string(), user.reason)
}

fn crumbs_of_ring(visit: &Visit<'_>, ring: &KeyRingName) -> Vec<Crumb> {
    let mut crumbs = Crumb::of_part(visit, &ring.location.project, Part::KeyRings);
    crumbs.push(Crumb::new(&ring.ring, format!("/console/{ring}")));
    crumbs
}

/// What is done to a key: a new primary version, a member more or less.
pub(super) async fn act(
    visit: &Visit<'_>,
    name: &CryptoKeyName,
    act: &str,
    form: &Form,
) -> Result<Answer, KmsError> {
    let done = match act {
        "rotate" => rotate(visit, name).await,
        "members" => {
            let Some(member) = member(form.text("member")) else {
                let failed = Failed::field("member", visit.texts().bad_member);
                return one(visit, name, Some((failed, form))).await;
            };
            grant(visit, Resource::CryptoKey(name.clone()), &member, form.text("role")).await
        }
        "remove-member" => {
            let (member, role) = (form.text("member"), form.text("role"));
            revoke(visit, Resource::CryptoKey(name.clone()), member, role).await
        }
        _ => return Ok(super::error::not_found(visit)),
    };
    match done {
        Ok(()) => Ok(Answer::see_other(format!("/console/{name}"))),
        Err(error) => one(visit, name, Some((Failed::refused(visit, "", &error), form))).await,
    }
}

async fn rotate(visit: &Visit<'_>, name: &CryptoKeyName) -> Result<(), KmsError> {
    let made = visit.run(CreateCryptoKeyVersion { key: name.clone() }).await?;
    let version = made.name.version;
    visit.run(UpdateCryptoKeyPrimaryVersion { key: name.clone(), version }).await.map(drop)
}

/// What is done to a version.
pub(super) async fn act_on_version(
    visit: &Visit<'_>,
    key: &CryptoKeyName,
    number: &str,
    act: &str,
    form: &Form,
) -> Result<Answer, KmsError> {
    let version: VersionNumber = number.parse()?;
    let name = CryptoKeyVersionName { key: key.clone(), version };
    let done = match act {
        "enable" => visit.run(UpdateCryptoKeyVersion { name, enabled: true }).await.map(drop),
        "disable" => visit.run(UpdateCryptoKeyVersion { name, enabled: false }).await.map(drop),
        "restore" => visit.run(RestoreCryptoKeyVersion { name }).await.map(drop),
        "primary" => {
            let command = UpdateCryptoKeyPrimaryVersion { key: key.clone(), version };
            visit.run(command).await.map(drop)
        }
        "destroy" => return destroy(visit, name, form).await,
        _ => return Ok(super::error::not_found(visit)),
    };
    match done {
        Ok(()) => Ok(Answer::see_other(format!("/console/{key}"))),
        Err(error) => one(visit, key, Some((Failed::refused(visit, "", &error), form))).await,
    }
}

/// Asks once more before a version is destroyed, with all that is known to use it.
pub(super) async fn confirm_destruction(
    visit: &Visit<'_>,
    key: &CryptoKeyName,
    number: &str,
    failed: Option<Failed>,
) -> Result<Answer, KmsError> {
    let version: VersionNumber = number.parse()?;
    let name = CryptoKeyVersionName { key: key.clone(), version };
    let stored = visit.run(GetCryptoKey { name: key.clone() }).await?.key;
    let usage = visit.run(GetVersionUsage { name }).await?;
    let mut crumbs = crumbs_of_ring(visit, &key.ring);
    crumbs.push(Crumb::new(&key.key, format!("/console/{key}")));
    let page = DestroyPage {
        frame: Frame::new(visit, &key.ring.location.project),
        crumbs,
        path: format!("/console/{key}"),
        key: key.key.to_string(),
        number: version.get(),
        clusters: usage.clusters.into_iter().map(cluster_user).collect(),
        inventories: usage.inventories.into_iter().map(|inventory| inventory.source).collect(),
        encrypts: usage.encrypts.count,
        decrypts: usage.decrypts.count,
        after: (visit.texts().destroyed_after)(&length(stored.destroy_scheduled_duration_s, visit.texts())),
        failed,
    };
    Ok(Answer::form(page.failed.is_some(), &page))
}

/// Schedules a destruction, for whoever has typed the name of the key and has shown a token of theirs again.
async fn destroy(visit: &Visit<'_>, name: CryptoKeyVersionName, form: &Form) -> Result<Answer, KmsError> {
    let (texts, key) = (visit.texts(), name.key.clone());
    let number = name.version.get().to_string();
    let again = |failed| confirm_destruction(visit, &key, &number, Some(failed));
    if form.text("name") != key.key.as_str() {
        return again(Failed::field("name", texts.name_differs)).await;
    }
    let presented = Presented { bearer: Some(form.text("token")), ..Presented::default() };
    let shown = visit.keyservice().authenticate(presented, Origin::default()).await;
    if !shown.is_ok_and(|shown| shown.caller().principal == visit.call.caller().principal) {
        return again(Failed::field("token", texts.token_refused)).await;
    }
    match visit.run(DestroyCryptoKeyVersion { name }).await {
        Ok(_) => Ok(Answer::see_other(format!("/console/{key}"))),
        Err(error) => again(Failed::refused(visit, "", &error)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u3_labels_are_lines() {
        let read = labels("team = security\n\n env=prod \n").expect("two labels");
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("env".to_owned(), "prod".to_owned()), ("team".to_owned(), "security".to_owned())]
        );
        assert_eq!(labels("team"), None);
    }
}
