//! A new version of the key, made before a rotation.
//!
//! It is written into the record first which version was the highest, and only then one is made: whoever comes after a crash takes the one that
//! is there instead of making a second one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keystead_cluster::executor::{Executor, NewVersion, Preview};
use keystead_cluster::rollout::{Goal, Next, Observed, Provider, plan};
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
    let Making { yes, patience, stop } = making;
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
                (CLOUD_KMS, key.clone(), versions(&Session::open(session)?, key)?.1)
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
                let (mut primary, mut newest) = versions(&session, key)?;
                if newest <= after {
                    let made =
                        session.server().post(&format!("/v1/{key}/cryptoKeyVersions"), &[], &json!({}))?;
                    newest = number(&made).ok_or_else(no_number)?;
                    primary = None;
                }
                if primary != Some(newest) {
                    set_primary(&session, key, &newest.to_string())?;
                }
                Ok(newest)
            }
        }
    }
}

/// The version that encrypts and the highest one.
fn versions(session: &Session<'_>, key: &str) -> Result<(Option<u64>, u64), Failure> {
    let resource = session.server().get(&format!("/v1/{key}"), &[])?;
    let all = session.list(
        &format!("/v1/{key}/cryptoKeyVersions"),
        "cryptoKeyVersions",
        &[],
        &ListArgs::default(),
        None,
    )?;
    let newest = all.iter().filter_map(number).max().ok_or_else(no_number)?;
    Ok((resource.get("primary").and_then(number), newest))
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
