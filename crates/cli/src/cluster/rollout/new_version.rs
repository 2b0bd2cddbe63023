//! A new version of the key, made before a rotation.
//!
//! It is written into the record first which version was the highest, and only then one is made: whoever comes after a crash takes the one that
//! is there instead of making a second one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keystead_cluster::executor::{Executor, NewVersion, Preview};
use keystead_cluster::rollout::{Answer, Goal, Next, Observed, Provider, plan};
use keystead_crypto::SystemRandom;
use keystead_model::{KeyReference, KeyVersion};
use keystead_provider::Description;
use keystead_provider_local::{DiskError, KeyFile, VersionInfo, edit, load};
use keystead_runtime::Failure;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::looks::{BETWEEN_LOOKS, look};
use super::new_key::{new_key, writer};
use super::record::before;
use super::stop::{pause, stopped};
use super::told::tell;
use crate::cluster::reencrypt::exit;
use crate::kms::{InKey, id, set_primary};
use crate::output::ListArgs;
use crate::session::{Session, SessionArgs};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct NewVersionArgs {
    /// Make a new version of the key first, and the one that encrypts. With it --key-file, or --key with what `keystead kms` takes. Run again
    /// after it was cut, it makes no second one
    #[arg(long, conflicts_with = "to")]
    new_version: bool,
    /// The key file of the plugin, on a single control-plane host
    #[arg(long, value_name = "FILE", requires = "new_version", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    key: InKey,
    #[command(flatten)]
    session: SessionArgs,
}

/// Where the key is kept.
pub(super) enum KeyPlace {
    File(PathBuf),
    /// In a key service, which is asked with the operator's rights and not with those of the plugin.
    Service {
        session: Box<SessionArgs>,
        /// The full name, as the plugin has it in its settings.
        key: String,
    },
}

impl NewVersionArgs {
    /// None: no version is to be made.
    pub(super) fn place(self) -> Result<Option<KeyPlace>, Failure> {
        if !self.new_version {
            return match self.key.is_named() {
                false => Ok(None),
                true => {
                    Err(Failure::new("--key names the key of which --new-version makes a version").usage())
                }
            };
        }
        if let Some(path) = self.key_file {
            return Ok(Some(KeyPlace::File(path)));
        }
        if !self.key.is_named() {
            return Err(Failure::new("--new-version of which key? Name it with --key-file or with --key")
                .usage()
                .hint(
                    "in a KMS of another kind, make the new version there and run `keystead cluster rotate`"
                        .to_owned(),
                ));
        }
        let key = self.key.name(&Session::open(&self.session)?)?;
        Ok(Some(KeyPlace::Service { session: Box::new(self.session), key }))
    }
}

/// How a version is made.
pub(super) struct Making<'m> {
    /// No rollout was under way before.
    pub(super) begins: bool,
    /// Whether to do it.
    pub(super) yes: bool,
    /// How long a plugin may take to take it up.
    pub(super) patience: Duration,
    pub(super) stop: &'m CancellationToken,
}

/// Makes the version, and looks until a plugin reports it: what was seen then, and its key id. None: it was not told to do it.
pub(super) async fn make_new_version(
    executor: &mut Executor<'_>,
    place: &KeyPlace,
    seen: &Preview,
    making: Making<'_>,
) -> Result<Option<(Preview, String)>, Failure> {
    let Making { begins, yes, patience, stop } = making;
    let provider = writer(&seen.observed)?;
    if let KeyPlace::File(path) = place
        && seen.observed.servers.len() > 1
    {
        return Err(several_hosts(path));
    }
    let key = block_in_place(|| place.look())?;
    is_of_key(&seen.observed, &provider, &key.reference)?;
    let begun = executor.record().new_version.clone();
    let begun = match begun {
        Some(begun) if begun.key != place.name() => {
            return Err(Failure::new(format!(
                "a new version of {} is being made, which is not {}",
                begun.key,
                place.name()
            ))
            .usage()
            .hint("name that key, or run `keystead cluster rotate` without --new-version".to_owned()));
        }
        Some(begun) => begun,
        None => {
            // Afterwards nothing of the way may be missing that can be known now.
            let (provider, to) = new_key(&seen.observed, None)?;
            let goal = Goal::Rotate { provider, to };
            if let Next::Blocked(obstacles) = plan(&goal, &seen.observed).next {
                let failure = Failure::new("no new version was made: a rotation is not safe now");
                let failure =
                    obstacles.iter().fold(failure, |it, obstacle| it.caused_by(obstacle.to_string()));
                return Err(failure.hint("settle that, then run it again".to_owned()));
            }
            let next = format!(
                "next: make a new version of {} and have it encrypt; the newest one is {}",
                place.name(),
                key.newest
            );
            if !yes {
                tell(&next);
                return Ok(None);
            }
            let begun = NewVersion { key: place.name(), after: key.newest, key_id: None };
            let record = executor.record();
            let resources = record.resources.clone();
            // Whoever goes on without making the version stays with the present key.
            record.turn(goal, resources, Vec::new());
            // Whoever goes on after a crash begins nothing, and would not set it.
            if begins {
                record.before = before(&seen.observed.servers);
            }
            record.new_version = Some(begun.clone());
            executor.keep().await.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?;
            tell(&next);
            begun
        }
    };
    if !yes {
        tell(&format!("next: go on with the version of {} that is being made", place.name()));
        return Ok(None);
    }
    // Nobody else drives: certain at this moment, also where one goes on that was cut.
    executor.keep().await.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?;
    if stop.is_cancelled() {
        return Err(stopped());
    }
    let version = block_in_place(|| place.make(begun.after))?;
    tell(&format!("version {version} of {} is the one that encrypts", place.name()));
    let (seen, key_id) =
        await_version(executor, &provider, (&key.reference, version), patience, stop).await?;
    executor.record().new_version = Some(NewVersion { key_id: Some(key_id.clone()), ..begun });
    Ok(Some((seen, key_id)))
}

/// A key, as it is now.
struct Key {
    /// Of any of its versions.
    reference: KeyReference,
    /// The highest version number.
    newest: u64,
}

impl KeyPlace {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Service { key, .. } => key.clone(),
        }
    }

    fn look(&self) -> Result<Key, Failure> {
        let (kind, key_name, newest) = match self {
            Self::File(path) => {
                let file = load(path).map_err(disk)?;
                (keystead_provider_local::KIND, file.id(), newest(&file))
            }
            Self::Service { session, key } => {
                (CLOUD_KMS, key.clone(), versions(&Session::open(session)?, key)?.newest)
            }
        };
        let description = Description { kind, key_name };
        let reference = description.reference(KeyVersion::from(1), None, None);
        let reference = reference.map_err(|error| Failure::from_error(&error))?;
        Ok(Key { reference, newest })
    }

    /// Makes a version above `after` if there is none, and has it encrypt if it does not; its number.
    fn make(&self, after: u64) -> Result<u64, Failure> {
        match self {
            Self::File(path) => edit(path, |file| {
                let number = match file.versions().iter().map(|it| it.version).max() {
                    Some(newest) if u64::from(newest) > after => newest,
                    _ => file.add(&now(), &SystemRandom)?,
                };
                if file.primary() != number {
                    file.promote(number)?;
                }
                Ok(u64::from(number))
            })
            .map_err(disk),
            Self::Service { session, key } => {
                let session = Session::open(session)?;
                let Versions { primary, enabled, .. } = versions(&session, key)?;
                let version = match enabled.filter(|it| *it > after) {
                    Some(version) => version,
                    None => {
                        let made = session.server().post(
                            &format!("/v1/{key}/cryptoKeyVersions"),
                            &[],
                            &json!({}),
                        )?;
                        number(&made).ok_or_else(no_number)?
                    }
                };
                if primary != Some(version) {
                    set_primary(&session, key, &version.to_string())?;
                }
                Ok(version)
            }
        }
    }
}

/// Numbers of versions in a key service.
#[derive(Debug, PartialEq, Eq)]
struct Versions {
    /// The one that encrypts.
    primary: Option<u64>,
    /// The highest, in whatever state: a number is never used again.
    newest: u64,
    /// The highest that can encrypt. One that somebody disabled or destroyed since it was made is as good as none.
    enabled: Option<u64>,
}

impl Versions {
    fn of(key: &Value, versions: &[Value]) -> Option<Self> {
        let is_enabled = |it: &&Value| it.get("state").and_then(Value::as_str) == Some("ENABLED");
        Some(Self {
            primary: key.get("primary").and_then(number),
            newest: versions.iter().filter_map(number).max()?,
            enabled: versions.iter().filter(is_enabled).filter_map(number).max(),
        })
    }
}

fn versions(session: &Session<'_>, key: &str) -> Result<Versions, Failure> {
    let resource = session.server().get(&format!("/v1/{key}"), &[])?;
    let all = session.list(
        &format!("/v1/{key}/cryptoKeyVersions"),
        "cryptoKeyVersions",
        &[],
        &ListArgs::default(),
        None,
    )?;
    Versions::of(&resource, &all).ok_or_else(no_number)
}

fn number(version: &Value) -> Option<u64> {
    id(version.get("name").and_then(Value::as_str)?).parse().ok()
}

fn no_number() -> Failure {
    Failure::new("the key service names no version of the key by a number")
}

fn newest(file: &KeyFile) -> u64 {
    file.versions().iter().map(|VersionInfo { version, .. }| u64::from(*version)).max().unwrap_or_default()
}

/// Every plugin must say that it uses this key: a version of another one would change nothing.
fn is_of_key(observed: &Observed, provider: &Provider, key: &KeyReference) -> Result<(), Failure> {
    for server in &observed.servers {
        if let Answer::Silent { reason } = &server.answer {
            return Err(Failure::new(format!(
                "whether the plugin of {provider} on {} uses this key is not known: {reason}",
                server.name
            ))
            .hint("every host must say so before a version is made".to_owned()));
        }
        let plugin = server.plugins.iter().find(|it| it.provider == *provider);
        let reported = plugin.and_then(|it| it.reports.as_deref()).unwrap_or("none");
        if !reported.parse().is_ok_and(|it: KeyReference| it.is_same_key(key)) {
            return Err(Failure::new(format!(
                "the plugin of {provider} on {} does not use this key: its key id is {reported}",
                server.name
            ))
            .hint(
                "name the key as the plugin's settings have it; for another plugin than Keystead's, make the new version in its KMS and run `keystead cluster rotate`"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

/// Looks until a plugin reports a version of a key. The others are waited for later, before anything is written anew.
async fn await_version(
    executor: &mut Executor<'_>,
    provider: &Provider,
    (key, version): (&KeyReference, u64),
    patience: Duration,
    stop: &CancellationToken,
) -> Result<(Preview, String), Failure> {
    let began = Instant::now();
    let is_it = |key_id: &&String| {
        let found: Option<KeyReference> = key_id.parse().ok();
        found.is_some_and(|it| it.is_same_key(key) && it.version().as_str() == version.to_string())
    };
    loop {
        let seen = look(executor).await?;
        let plugins = seen.observed.servers.iter().flat_map(|it| &it.plugins);
        let mut reported = plugins.filter(|it| it.provider == *provider).filter_map(|it| it.reports.as_ref());
        if let Some(key_id) = reported.find(is_it).cloned() {
            return Ok((seen, key_id));
        }
        if began.elapsed() > patience {
            return Err(Failure::new(format!(
                "no plugin of {provider} has taken up version {version} after {} s",
                patience.as_secs()
            ))
            .hint(
                "look at its log, then run the same command again: it makes no second version".to_owned(),
            ));
        }
        pause(stop, BETWEEN_LOOKS).await?;
    }
}

fn several_hosts(path: &std::path::Path) -> Failure {
    let file = path.display();
    Failure::new("the key file of several hosts is not changed from one of them: each has a copy of its own, and this program sends no keys")
        .hint(format!(
            "`keystead-plugin key add --key-file {file}` on one host; `key import --new-identity`, `key export` and `key import` for each other \
             one; then `keystead-plugin key promote VERSION --key-file {file}` on each host, and `keystead cluster rotate` without --new-version"
        ))
}

fn disk(error: DiskError) -> Failure {
    Failure::from_error(&error).hint(error.hint())
}

/// Whole seconds in UTC.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The kind of the provider in key ids, for keystead-server and Google's service alike.
const CLOUD_KMS: &str = "cloudkms";

#[cfg(test)]
mod tests {
    use keystead_cluster::rollout::{Answer, Loaded, Observed, Provider, Server};
    use keystead_model::{KeyReference, KeyVersion};
    use keystead_provider::Description;
    use serde_json::{Value, json};

    use super::{CLOUD_KMS, Versions, is_of_key};

    fn version(number: u64, state: &str) -> Value {
        json!({ "name": format!("projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/{number}"), "state": state })
    }

    #[test]
    fn a_version_that_cannot_encrypt_is_not_the_new_one() {
        let key = json!({ "primary": version(1, "ENABLED") });
        let all = [version(1, "ENABLED"), version(3, "DESTROY_SCHEDULED"), version(2, "DISABLED")];
        let found = Versions { primary: Some(1), newest: 3, enabled: Some(1) };
        assert_eq!(Versions::of(&key, &all), Some(found));
        assert_eq!(Versions::of(&key, &[]), None);
    }

    #[test]
    fn a_host_that_says_nothing_is_not_taken_for_one_that_agrees() {
        let description = Description { kind: CLOUD_KMS, key_name: "k".to_owned() };
        let key: KeyReference = description.reference(KeyVersion::from(1), None, None).expect("a reference");
        let reason = "other hosts are asked only with --yes";
        let silent = Server {
            name: "cp-2".to_owned(),
            address: String::new(),
            answer: Answer::Silent { reason: reason.to_owned() },
            minor: None,
            on_disk: None,
            loaded: Loaded::Unknown,
            automatic_reload: false,
            epoch: None,
            plugins: Vec::new(),
        };
        let observed = Observed { servers: vec![silent], ..Observed::default() };
        let provider = Provider::KmsV2 { name: "a".to_owned() };
        let refused = is_of_key(&observed, &provider, &key).expect_err("it is not known");
        assert!(refused.to_string().contains(reason), "{refused}");
    }
}
