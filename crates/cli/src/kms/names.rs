//! Names of resources from the words of a command line: a full name, or its last part with flags for the others.

use keystead_runtime::Failure;
use serde_json::Value;

use crate::output::ListArgs;
use crate::session::Session;

/// Any location, for a list.
const ALL: &str = "-";

/// `--location`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Location {
    /// Location, such as europe-west1; `keyrings list` and `retired-resources list` take - for all
    #[arg(long)]
    location: Option<String>,
}

/// A key ring, named first.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ring {
    /// Key ring: its id, or its full name
    keyring: String,
    #[command(flatten)]
    location: Location,
}

/// A key ring by flags.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InRing {
    /// Key ring: its id, or its full name
    #[arg(long)]
    keyring: Option<String>,
    #[command(flatten)]
    location: Location,
}

/// A key, named first.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Key {
    /// Key: its id, or its full name
    key: String,
    #[command(flatten)]
    ring: InRing,
}

/// A key by flags.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InKey {
    /// Key: its id, or its full name
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    ring: InRing,
}

/// A key version, named first.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Version {
    /// Version: its number, or its full name
    version: String,
    #[command(flatten)]
    key: InKey,
}

impl Location {
    pub(crate) fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        let name = self.name_or_all(session)?;
        if id(&name) == ALL {
            let text = "`-` stands for all locations, and this command is for one";
            let hint = "`keystead kms keyrings list --location -` shows what is where";
            return Err(Failure::new(text).usage().hint(hint.to_owned()));
        }
        Ok(name)
    }

    /// For a list: the location, or for `-` each location that the server has. The API has no such wildcard.
    pub(crate) fn names(&self, session: &Session<'_>) -> Result<Vec<String>, Failure> {
        let name = self.name_or_all(session)?;
        let Some(collection) = name.strip_suffix("/-") else { return Ok(vec![name]) };
        let locations =
            session.list(&format!("/v1/{collection}"), "locations", &[], &ListArgs::default(), None)?;
        let name = |location: &Value| location.get("name").and_then(Value::as_str).map(str::to_owned);
        Ok(locations.iter().filter_map(name).collect())
    }

    /// Everything of one kind in these locations.
    pub(crate) fn list(
        &self,
        session: &Session<'_>,
        collection: &str,
        list: &ListArgs,
    ) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        for name in self.names(session)? {
            all.extend(session.list(&format!("/v1/{name}/{collection}"), collection, &[], list, None)?);
        }
        Ok(all)
    }

    fn name_or_all(&self, session: &Session<'_>) -> Result<String, Failure> {
        let project = || Ok(format!("projects/{}", checked(&session.project()?)?));
        child(project, "locations", "--location", self.location.as_deref())
    }
}

impl Ring {
    pub(crate) fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        child(|| self.location.name(session), "keyRings", "KEYRING", Some(&self.keyring))
    }
}

impl InRing {
    pub(crate) fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        child(|| self.location.name(session), "keyRings", "--keyring", self.keyring.as_deref())
    }

    /// A key of it, which `word` gives.
    pub(crate) fn key(
        &self,
        session: &Session<'_>,
        word: &str,
        key: Option<&str>,
    ) -> Result<String, Failure> {
        child(|| self.name(session), "cryptoKeys", word, key)
    }
}

impl Key {
    pub(crate) fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        self.ring.key(session, "KEY", Some(&self.key))
    }
}

impl InKey {
    /// Whether any key is named.
    pub(crate) fn is_named(&self) -> bool {
        self.key.is_some()
    }

    pub(crate) fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        self.ring.key(session, "--key", self.key.as_deref())
    }

    /// A version of it.
    pub(crate) fn version(&self, session: &Session<'_>, version: &str) -> Result<String, Failure> {
        child(|| self.name(session), "cryptoKeyVersions", "VERSION", Some(version))
    }
}

impl Version {
    pub(crate) fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        self.key.version(session, &self.version)
    }
}

/// The last part of a name.
pub(crate) fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What is before the last collection: the parent.
pub(crate) fn parent(name: &str) -> &str {
    let last = name.rsplit_once('/').map_or(name, |(rest, _)| rest);
    last.rsplit_once('/').map_or(last, |(parent, _)| parent)
}

const COLLECTIONS: [&str; 5] = ["projects", "locations", "keyRings", "cryptoKeys", "cryptoKeyVersions"];

fn child(
    parent: impl FnOnce() -> Result<String, Failure>,
    collection: &str,
    word: &str,
    id: Option<&str>,
) -> Result<String, Failure> {
    let Some(id) = id else {
        let hint = format!("{word} gives it, or the full name of the resource: {}", example(collection));
        return Err(Failure::new(format!("{word} is missing")).usage().hint(hint));
    };
    if id.starts_with("projects/") {
        return full(id, collection, word);
    }
    // The server knows what an id may be; here only what would end up in another place of the path is refused.
    Ok(format!("{}/{collection}/{}", parent()?, checked(id)?))
}

fn full(name: &str, collection: &str, word: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = name.split('/').collect();
    let depth = COLLECTIONS.iter().position(|it| *it == collection).map_or(0, |it| it + 1);
    let fits = parts.len() == 2 * depth
        && parts.chunks(2).zip(COLLECTIONS).all(|(pair, wanted)| pair.first() == Some(&wanted));
    if !fits {
        let text = format!("{word} {name:?} is not a full name of this kind");
        return Err(Failure::new(text).usage().hint(format!("such as {}", example(collection))));
    }
    for id in parts.iter().skip(1).step_by(2) {
        checked(id)?;
    }
    Ok(name.to_owned())
}

/// An id that stays one part of a path.
pub(crate) fn checked(id: &str) -> Result<&str, Failure> {
    if id.is_empty() || id == "." || id == ".." || id.contains(['/', '\\']) || id.contains(char::is_control) {
        return Err(Failure::new(format!("{id:?} cannot be the id of a resource")).usage());
    }
    Ok(id)
}

fn example(collection: &str) -> String {
    const IDS: [&str; 5] = ["PROJECT", "LOCATION", "KEYRING", "KEY", "VERSION"];
    let depth = COLLECTIONS.iter().position(|it| *it == collection).map_or(0, |it| it + 1);
    let pairs = COLLECTIONS.iter().zip(IDS).take(depth).map(|(collection, id)| format!("{collection}/{id}"));
    pairs.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::{child, id, parent};

    const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

    fn named(id: Option<&str>) -> Result<String, String> {
        let parent = || Ok("projects/p/locations/l/keyRings/r".to_owned());
        child(parent, "cryptoKeys", "--key", id).map_err(|failure| failure.to_string())
    }

    #[test]
    fn full_names_and_parts_come_to_the_same() {
        assert_eq!(named(Some("k")).as_deref(), Ok(KEY));
        assert_eq!(named(Some(KEY)).as_deref(), Ok(KEY));
        assert_eq!((id(KEY), parent(KEY)), ("k", "projects/p/locations/l/keyRings/r"));
    }

    #[test]
    fn nothing_reaches_another_place_of_the_path() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\nb",
            "projects/p",
            "projects/p/locations/l/keyRings/r",
            "projects/../locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/rings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
        ] {
            assert!(named(Some(bad)).is_err(), "{bad:?}");
        }
        let missing = named(None).expect_err("missing");
        assert!(
            missing.contains("projects/PROJECT/locations/LOCATION/keyRings/KEYRING/cryptoKeys/KEY"),
            "{missing}"
        );
    }
}
