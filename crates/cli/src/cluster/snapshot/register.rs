//! `keystead cluster snapshot register` and `unregister`: backups as inventories of the server.
//!
//! The server keeps inventories without an end, so the end stands in the name of the source, and these commands remove what has ended. The
//! server also keeps every version that was used after the oldest inventory was taken. A backup never changes, so what was counted in it is
//! true at any later time, and these commands say so anew: otherwise the oldest backup would hold versions that nothing needs.

use std::path::PathBuf;

use jiff::Timestamp;
use keystead_cluster::restore::{NeededVersions, needed_versions};
use keystead_etcd::{HashCheck, Snapshot};
use keystead_model::Exit;
use keystead_runtime::Failure;
use serde_json::{Value, json};

use super::{not_what_was_saved, unreadable};
use crate::cluster::counts_report::count;
use crate::duration;
use crate::kms::InKey;
use crate::output::{say, visible};
use crate::session::{Session, SessionArgs};

/// Make the key versions that a snapshot needs known to the key service, which then refuses to destroy them
///
/// Counts what the file holds under each version of one key of keystead-server, old revisions too, and registers that as an inventory with
/// the source `backup=NAME`. Run it once for each key that the backup is under: the result names values that are under others.
///
/// The server has no end for inventories. With --expire the end is part of the source's name, and `register` and `unregister` remove
/// what of this key has ended by then: until one of them runs, versions are kept longer, and never shorter. The same NAME again replaces it.
///
/// The key is named as in the plugin's settings, because its name is part of each key id. Needs cloudkms.cryptoKeys.update and .get.
#[derive(Debug, clap::Args)]
pub(crate) struct RegisterArgs {
    /// The snapshot, or a database of etcd that is stopped
    file: PathBuf,
    /// Name of the backup: 1 to 128 letters, digits, dots, dashes and underscores
    #[arg(long, value_name = "NAME", value_parser = backup_name)]
    name: String,
    /// When the backup will be gone, such as 2027-12-01 or +p90d. Without it: not before `unregister`
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expire: Option<Timestamp>,
    #[command(flatten)]
    key: InKey,
    #[command(flatten)]
    session: SessionArgs,
}

/// Tell the key service that a backup is gone, or remove what has expired
///
/// Names one backup, or with --expired none. Either way backups of this key whose time is over are removed, and the others are told to the
/// server as still there.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["name", "expired"]))]
pub(crate) struct UnregisterArgs {
    /// Name of the backup, as it was registered
    #[arg(long, value_name = "NAME", value_parser = backup_name)]
    name: Option<String>,
    /// Only what has expired
    #[arg(long)]
    expired: bool,
    #[command(flatten)]
    key: InKey,
    #[command(flatten)]
    session: SessionArgs,
}

pub(super) fn register(args: &RegisterArgs) -> Result<(), Failure> {
    let session = Session::open(&args.session)?;
    let key = args.key.name(&session)?;
    let now = Timestamp::now();
    if args.expire.is_some_and(|it| it <= now) {
        return Err(Failure::new("--expire is over already").usage());
    }
    let snapshot = Snapshot::open(&args.file).map_err(|error| unreadable(&args.file, &error))?;
    let failure = |error| unreadable(&args.file, &error);
    if snapshot.check_hash().map_err(failure)? == HashCheck::Differs {
        return Err(not_what_was_saved(&args.file));
    }
    let needed = needed_versions(&snapshot, &key).map_err(|error| unreadable(&args.file, &error))?;
    let NeededVersions { versions, elsewhere, elsewhere_left_out, unknown } = &needed;
    if versions.is_empty() {
        let failure = Failure::new(format!("nothing in {} is under {key}", args.file.display()));
        let failure = elsewhere
            .keys()
            .take(10)
            .fold(failure, |it, id| it.caused_by(format!("under the key id {}", visible(id))));
        return Err(failure.hint(
            "name the key as in the plugin's settings: id and number of a project are two names".to_owned(),
        ));
    }
    let source = Source { name: args.name.clone(), expire: args.expire };
    let counts = versions.iter().map(|(version, objects)| {
        json!({"cryptoKeyVersionId": version.to_string(), "objects": objects.to_string()})
    });
    let counts: Vec<Value> = counts.collect();
    let path = format!("/keystead/v1/{key}/inventories");
    let inventory = json!({"source": source.text(), "observeTime": now.to_string(), "counts": counts});
    let registered = session.server().post(&path, &[], &inventory)?;
    // The new one is there before the old one goes.
    tidy(&session, &key, now, |it| it.name == source.name && *it != source)?;
    for (version, objects) in versions {
        say(&format!("version {version}: {} values", count(*objects)));
    }
    if *unknown > 0 {
        say(&format!(
            "{} values of KMS v1 do not say which key they are under: they are not registered",
            count(*unknown)
        ));
    }
    let others: u64 = elsewhere.values().sum::<u64>() + elsewhere_left_out;
    if others > 0 {
        say(&format!("{} values are under other keys, and not registered:", count(others)));
        elsewhere
            .iter()
            .take(10)
            .for_each(|(id, values)| say(&format!("  {}: {}", visible(id), count(*values))));
    }
    say(&format!("Registered [{}] with key [{key}].", source.text()));
    session.print_if_asked(registered)?;
    if *unknown > 0 {
        return Err(Failure::new("not all that the backup needs is registered").exit(Exit::Partly));
    }
    Ok(())
}

pub(super) fn unregister(args: &UnregisterArgs) -> Result<(), Failure> {
    let session = Session::open(&args.session)?;
    let key = args.key.name(&session)?;
    let wanted = |it: &Source| args.name.as_ref().is_some_and(|name| it.name == *name);
    let removed = tidy(&session, &key, Timestamp::now(), wanted)?;
    if let Some(name) = &args.name
        && !removed.iter().any(|it| it.name == *name)
    {
        return Err(Failure::new(format!("no backup {name:?} is registered with {key}")));
    }
    if removed.is_empty() {
        say("Nothing has expired.");
    }
    Ok(())
}

/// Removes what has ended or is to go, and says of the other backups that they are still there.
fn tidy(
    session: &Session<'_>,
    key: &str,
    now: Timestamp,
    goes: impl Fn(&Source) -> bool,
) -> Result<Vec<Source>, Failure> {
    let path = format!("/keystead/v1/{key}/inventories");
    let mut removed = Vec::new();
    let mut answer = session.server().get(&path, &[])?;
    let Some(Value::Array(inventories)) = answer.get_mut("inventories").map(Value::take) else {
        return Ok(removed);
    };
    for mut inventory in inventories {
        // What clusters report is theirs.
        let text = inventory.get("source").and_then(Value::as_str).unwrap_or_default();
        let Some(source) = Source::parse(text) else { continue };
        if goes(&source) || source.expire.is_some_and(|it| it <= now) {
            session.server().delete(&format!("{path}/{}", source.text()))?;
            say(&format!("Removed [{}].", source.text()));
            removed.push(source);
        } else if let Value::Object(fields) = &mut inventory {
            fields.insert("observeTime".to_owned(), now.to_string().into());
            session.server().post(&path, &[], &inventory)?;
        }
    }
    Ok(removed)
}

/// A source of the server that is a backup: `backup=NAME` or `backup=NAME,until=20271201T000000Z`. Without `:`, which begins a verb in a path.
#[derive(Debug, PartialEq)]
struct Source {
    name: String,
    expire: Option<Timestamp>,
}

const TIME: &str = "%Y%m%dT%H%M%SZ";

impl Source {
    fn text(&self) -> String {
        let until = self.expire.map(|it| format!(",until={}", it.strftime(TIME)));
        format!("backup={}{}", self.name, until.unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("backup=")?;
        let (name, expire) = match rest.split_once(",until=") {
            Some((name, until)) => (name, Some(until.parse().ok()?)),
            None => (rest, None),
        };
        let source = Self { name: backup_name(name).ok()?, expire };
        // Nothing that was not written here is removed.
        (source.text() == text).then_some(source)
    }
}

fn backup_name(text: &str) -> Result<String, String> {
    let legal = |it: char| it.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&it);
    if (1..=128).contains(&text.len()) && text.chars().all(legal) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 128 letters, digits, dots, dashes and underscores".to_owned())
}

/// In whole seconds.
fn expiry(text: &str) -> Result<Timestamp, String> {
    let time: Timestamp = duration::time(text)?.parse().map_err(|error: jiff::Error| error.to_string())?;
    Timestamp::from_second(time.as_second()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Source, backup_name, expiry};

    #[test]
    fn a_source_says_when_it_ends() {
        let expire = expiry("2027-12-01").ok();
        assert!(expire.is_some());
        for (expire, text) in [(None, "backup=weekly-7"), (expire, "backup=weekly-7,until=20271201T000000Z")]
        {
            let source = Source { name: "weekly-7".to_owned(), expire };
            assert_eq!(source.text(), text);
            assert_eq!(Source::parse(text), Some(source));
        }
        for other in [
            "cluster-1",
            "backup=",
            "backup=a,until=soon",
            "backup=a,until=2027-12-01T00:00:00Z",
            "backup=a b",
        ] {
            assert_eq!(Source::parse(other), None, "{other}");
        }
        for wrong in ["", "a/b", "a:b", "a,until=x", "a b"] {
            assert!(backup_name(wrong).is_err(), "{wrong}");
        }
    }
}
