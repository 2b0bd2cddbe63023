//! What a host allows, whatever a server says.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Parser;
use keystead_model::CryptoKeyName;
use keystead_runtime::whole_file::{self, Readers};
use keystead_runtime::{Failure, parse_config};
use serde::Deserialize;

use crate::cluster::HostRollout;

/// `/etc/keystead/agent.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Configuration {
    /// Options of `keystead cluster` on this host, such as `--node=cp-1`.
    cluster_options: Vec<String>,
    /// Options of `keystead plugin install` on this host, such as `--as=systemd`; without any: a static pod from the image of this version.
    plugin_options: Vec<String>,
    /// The directory of its plugins' sockets, each in a directory of its own.
    pub(super) sockets: PathBuf,
    /// What this host may be encrypted with: names of keys, each part of which may be `*`, and `plain`. Without the list: anything; with an
    /// empty one nothing.
    #[serde(deserialize_with = "list")]
    allowed: Option<Vec<Allowed>>,
    /// Whether somebody on the host has to approve each operation, with `keystead agent approve`.
    pub(super) require_approval: bool,
    /// What the agent keeps: its key and certificate, and what it did last. For root alone.
    pub(super) state: PathBuf,
    /// Where its plugins read what they use keys with, in a directory that only they need. For root alone.
    pub(super) credentials: PathBuf,
}

/// One thing that a host may be encrypted with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Allowed {
    Plain,
    /// The parts of a key's name.
    Key(Vec<String>),
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            cluster_options: Vec::new(),
            plugin_options: Vec::new(),
            sockets: PathBuf::from("/run/keystead"),
            allowed: None,
            require_approval: false,
            state: PathBuf::from("/var/lib/keystead/agent"),
            credentials: PathBuf::from("/etc/keystead/agent/credentials.json"),
        }
    }
}

/// A list whose entries were all taken out allows nothing, and is no list that was never there.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Allowed>>, D::Error> {
    let empty =
        "`allowed` has no entries: take it out to allow anything, or write `allowed: []` to allow nothing";
    let list = Option::deserialize(deserializer)?;
    list.map(Some).ok_or_else(|| serde::de::Error::custom(empty))
}

/// Longest file, in bytes.
const LONGEST: usize = 64 << 10;

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "plain" {
            return Ok(Self::Plain);
        }
        let parts: Vec<String> = text.split('/').map(str::to_owned).collect();
        // Any name that it would match says whether the pattern is one.
        let example = |part: &String| if part == "*" { "example".to_owned() } else { part.clone() };
        let example = parts.iter().map(example).collect::<Vec<_>>().join("/");
        match CryptoKeyName::from_str(&example) {
            Ok(_) => Ok(Self::Key(parts)),
            Err(_) => Err(format!(
                "{text:?} is neither `plain` nor the name of a key: projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, where * stands for any whole part"
            )),
        }
    }
}

impl Allowed {
    fn is_for(&self, key: Option<&CryptoKeyName>) -> bool {
        match (self, key) {
            (Self::Plain, None) => true,
            (Self::Key(parts), Some(key)) => {
                let name = key.to_string();
                let given: Vec<&str> = name.split('/').collect();
                let fits = |(part, given): (&String, &&str)| part == "*" || part == given;
                parts.len() == given.len() && parts.iter().zip(&given).all(fits)
            }
            _ => false,
        }
    }
}

/// Options of a list, as a command has them.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Options<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

/// Reads fixed words and a host's own options as those of a command.
pub(super) fn parsed<A: clap::Args>(of: &str, words: Vec<String>) -> Result<A, Failure> {
    match Options::<A>::try_parse_from(words) {
        Ok(options) => Ok(options.args),
        Err(error) => {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(Failure::new(format!("{of} of the agent's configuration: {text}")).usage())
        }
    }
}

impl Configuration {
    /// A file that only its owner may change.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let read = whole_file::read(path, Readers::Everybody, LONGEST);
        let (bytes, _) = read.map_err(|error| Failure::from_error(&error).usage())?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Failure::new(format!("{} is not text", path.display())).usage())?;
        Self::parse(path, text)
    }

    /// The text of one.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let configuration: Self =
            parse_config(path, text).map_err(|error| Failure::from_error(&error).usage())?;
        configuration.host()?;
        Ok(configuration)
    }

    /// This host, as rollouts see it.
    pub(super) fn host(&self) -> Result<HostRollout, Failure> {
        let mut words = self.cluster_options.clone();
        // Others may be away for long: who waits too long is told so by the server, and can cancel.
        words.extend(["--over=cluster", "--yes", "--patience=1h"].map(str::to_owned));
        parsed("clusterOptions", words)
    }

    /// What `keystead plugin install` is told on this host.
    pub(super) fn plugin_words(&self) -> Vec<String> {
        match self.plugin_options.is_empty() {
            true => vec!["--as=static-pod".to_owned()],
            false => self.plugin_options.clone(),
        }
    }

    /// Why a host is not brought there, whoever says so.
    pub(super) fn refusal(&self, key: Option<&CryptoKeyName>) -> Option<String> {
        let allowed = self.allowed.as_ref()?;
        if allowed.iter().any(|it| it.is_for(key)) {
            return None;
        }
        let what =
            key.map_or_else(|| "that values are stored plainly".to_owned(), |key| format!("key {key}"));
        Some(format!("this host's own configuration does not allow {what}: see `allowed` in its agent.yaml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Configuration, Failure> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.yaml");
        std::fs::write(&path, text).expect("written");
        Configuration::read(&path)
    }

    #[test]
    fn a_host_says_what_it_may_be_encrypted_with() {
        let key = |text: &str| text.parse::<CryptoKeyName>().expect("a key");
        let ours = key("projects/prod-keys/locations/us/keyRings/r/cryptoKeys/k");
        let other = key("projects/prod-keys/locations/us/keyRings/r/cryptoKeys/other");
        let pinned = read(
            "allowed: ['projects/prod-keys/locations/us/keyRings/r/cryptoKeys/k']\nrequireApproval: true\n",
        )
        .expect("good");
        assert_eq!(pinned.refusal(Some(&ours)), None);
        assert!(pinned.refusal(Some(&other)).is_some_and(|it| it.contains("cryptoKeys/other")));
        assert!(pinned.refusal(None).is_some(), "plain is not named");
        let any = read("allowed: ['projects/prod-keys/locations/*/keyRings/*/cryptoKeys/*', plain]\n")
            .expect("good");
        assert_eq!((any.refusal(Some(&other)), any.refusal(None)), (None, None));
        assert!(any.refusal(Some(&key("projects/dev-keys/locations/us/keyRings/r/cryptoKeys/k"))).is_some());
        assert_eq!(Configuration::default().refusal(None), None);
        assert!(read("allowed: []\n").expect("good").refusal(None).is_some());
        let gone = Configuration::read(Path::new("/nowhere/agent.yaml")).expect_err("it is not there");
        assert_eq!(gone.code(), 2, "{gone}");
    }

    /// Whoever adds a setting says there what it is for.
    #[test]
    fn the_references_sample_is_accepted_and_has_every_setting() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/agent.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let sample = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let sample = sample.expect("a sample");
        // Without `..`: another setting does not compile before it is named here, too.
        let Configuration {
            cluster_options: _,
            plugin_options: _,
            sockets: _,
            allowed,
            require_approval,
            state: _,
            credentials: _,
        } = read(sample).expect("good");
        assert!(allowed.is_some() && require_approval);
        for name in [
            "clusterOptions",
            "pluginOptions",
            "sockets",
            "allowed",
            "requireApproval",
            "state",
            "credentials",
        ] {
            assert!(sample.contains(&format!("\n{name}:")), "{name} is not in the sample");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_by_name() {
        for (text, named) in [
            ("allowed: [k]\n", "is neither `plain` nor the name of a key"),
            ("allowedKeys: []\n", "allowedKeys"),
            ("allowed:\n", "`allowed` has no entries"),
            ("allowed: ['projects/prod-*/locations/us/keyRings/r/cryptoKeys/k']\n", "any whole part"),
            ("clusterOptions: [--nope]\n", "clusterOptions"),
            ("clusterOptions: [--dry-run]\n", "clusterOptions"),
            ("clusterOptions: [--over=ssh]\n", "clusterOptions"),
        ] {
            let refused = read(text).expect_err(text);
            assert_eq!(refused.code(), 2, "{refused}");
            assert!(refused.to_string().contains(named), "{refused}");
        }
        read("clusterOptions: [--node=cp-1, --state=/tmp/x]\npluginOptions: [--as=systemd]\n").expect("good");
    }
}
