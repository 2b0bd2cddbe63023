//! Resource names of Cloud KMS and Kubernetes Engine, parsed strictly: what is not exactly a name is refused, never repaired.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest id of a key ring or a key, and longest location id, in bytes: `[a-zA-Z0-9_-]{1,63}`.
pub const MAX_ID_LEN: usize = 63;

/// A name that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {wanted}{}", because.as_ref().map(|it| format!(", because {it}")).unwrap_or_default())]
pub struct InvalidName {
    given: String,
    wanted: &'static str,
    /// Which part is at fault, where the form of the whole is right so far.
    because: Option<Box<InvalidName>>,
}

impl InvalidName {
    /// Longest part of hostile input that an error repeats, in characters.
    const SHOWN: usize = 200;

    fn new(given: &str, wanted: &'static str) -> Self {
        Self { given: given.chars().take(Self::SHOWN).collect(), wanted, because: None }
    }

    /// The same of a whole name. That the id of its project is none, because it is too short or a number, is not to be seen from the form.
    fn of_whole(given: &str, wanted: &'static str) -> Self {
        let mut parts = given.split('/');
        let project = parts.next().filter(|it| *it == "projects").and_then(|_| parts.next());
        let because = project.and_then(|it| it.parse::<ProjectId>().err()).map(Box::new);
        Self { because, ..Self::new(given, wanted) }
    }
}

/// Shared, because each call copies its key's name several times.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(InvalidName::new(text, $wanted)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A project: `[a-z][a-z0-9-]{4,28}[a-z0-9]`, as Resource Manager has it.
    ProjectId,
    is_project_id,
    "a project id: 6 to 30 lower-case letters, digits and hyphens, a letter first, no hyphen last"
);
id!(
    /// A location such as `global`, `us-central1` or a name of one's own: `[a-z][a-z0-9-]{0,62}`.
    LocationId,
    is_location_id,
    "a location: lower-case letters, digits and hyphens, a letter first, at most 63"
);
id!(
    /// The id of a key ring or a key: `[a-zA-Z0-9_-]{1,63}`.
    ResourceId,
    is_resource_id,
    "an id: 1 to 63 letters, digits, hyphens and underscores"
);
id!(
    /// The id of a cluster: `[a-z]([a-z0-9-]{0,38}[a-z0-9])?`, as Kubernetes Engine has it.
    ClusterId,
    is_cluster_id,
    "the id of a cluster: 1 to 40 lower-case letters, digits and hyphens, a letter first, no hyphen last"
);
id!(
    /// The id of what is done to a cluster: `operation-` and letters, digits and hyphens, at most 63.
    ClusterOperationId,
    is_cluster_operation_id,
    "the id of a cluster's operation: operation-ID"
);

id!(
    /// The id of a control-plane host of a cluster: `host-` and 16 hexadecimal digits. A host that joins again gets another.
    HostId,
    is_host_id,
    "the id of a host: host- and 16 hexadecimal digits"
);

impl ProjectId {
    /// Stands for a project that cannot exist: that of a number which no project has, or with none the one of `-`. It is no
    /// id, because ids begin with a letter, so whatever is asked of it is answered as of any project that is not there.
    pub fn of_nobody(number: Option<u64>) -> Self {
        Self(number.map_or_else(|| "-".into(), |number| number.to_string().into()))
    }
}

fn is_project_id(text: &str) -> bool {
    (6..=30).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
}

fn is_location_id(text: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.starts_with(|first: char| first.is_ascii_lowercase())
}

fn is_resource_id(text: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn is_cluster_id(text: &str) -> bool {
    is_location_id(text) && text.len() <= 40 && !text.ends_with('-')
}

fn is_cluster_operation_id(text: &str) -> bool {
    is_location_id(text) && text.strip_prefix("operation-").is_some_and(|id| !id.is_empty())
}

fn is_host_id(text: &str) -> bool {
    let of_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("host-").is_some_and(|id| id.len() == 16 && id.bytes().all(of_hex))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ }, $wanted:literal, $parse:expr, $write:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            $(
                #[expect(missing_docs, reason = "the type says it")]
                pub $field: $type,
            )+
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text).ok_or_else(|| InvalidName::of_whole(text, $wanted))
            }
        }

        impl $name {
            /// The whole name, made with one allocation: each call of a server makes a dozen of names.
            pub fn text(&self) -> String {
                let mut text = String::with_capacity(USUAL_LEN);
                self.write_to(&mut text);
                text
            }

            fn write_to(&self, out: &mut String) {
                let write: fn(&Self, &mut String) = $write;
                write(self, out);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text())
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.text()
            }
        }
    };
}

/// Room for most names, in bytes; the longest have 291.
const USUAL_LEN: usize = 160;

name!(
    /// `projects/P`.
    ProjectName { project: ProjectId },
    "the name of a project: projects/PROJECT",
    |text| Some(ProjectName { project: text.strip_prefix("projects/")?.parse().ok()? }),
    |name, out| extend(out, &["projects/", name.project.as_str()])
);
name!(
    /// `projects/P/locations/L`.
    LocationName { project: ProjectId, location: LocationId },
    "the name of a location: projects/PROJECT/locations/LOCATION",
    |text| {
        let (parent, id) = text.rsplit_once("/locations/")?;
        Some(LocationName { project: parent.strip_prefix("projects/")?.parse().ok()?, location: id.parse().ok()? })
    },
    |name, out| extend(out, &["projects/", name.project.as_str(), "/locations/", name.location.as_str()])
);
name!(
    /// `projects/P/locations/L/keyRings/R`.
    KeyRingName { location: LocationName, ring: ResourceId },
    "the name of a key ring: projects/PROJECT/locations/LOCATION/keyRings/RING",
    |text| {
        let (parent, id) = text.rsplit_once("/keyRings/")?;
        Some(KeyRingName { location: parent.parse().ok()?, ring: id.parse().ok()? })
    },
    |name, out| {
        name.location.write_to(out);
        extend(out, &["/keyRings/", name.ring.as_str()]);
    }
);
name!(
    /// `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
    CryptoKeyName { ring: KeyRingName, key: ResourceId },
    "the name of a key: projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
    |text| {
        let (parent, id) = text.rsplit_once("/cryptoKeys/")?;
        Some(CryptoKeyName { ring: parent.parse().ok()?, key: id.parse().ok()? })
    },
    |name, out| {
        name.ring.write_to(out);
        extend(out, &["/cryptoKeys/", name.key.as_str()]);
    }
);
name!(
    /// `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N`.
    CryptoKeyVersionName { key: CryptoKeyName, version: VersionNumber },
    "the name of a key version: projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY/cryptoKeyVersions/NUMBER",
    |text| {
        let (parent, id) = text.rsplit_once("/cryptoKeyVersions/")?;
        Some(CryptoKeyVersionName { key: parent.parse().ok()?, version: id.parse().ok()? })
    },
    |name, out| {
        name.key.write_to(out);
        extend(out, &["/cryptoKeyVersions/", &name.version.to_string()]);
    }
);
name!(
    /// `projects/P/locations/L/clusters/C`.
    ClusterName { location: LocationName, cluster: ClusterId },
    "the name of a cluster: projects/PROJECT/locations/LOCATION/clusters/CLUSTER",
    |text| {
        let (parent, id) = text.rsplit_once("/clusters/")?;
        Some(ClusterName { location: parent.parse().ok()?, cluster: id.parse().ok()? })
    },
    |name, out| {
        name.location.write_to(out);
        extend(out, &["/clusters/", name.cluster.as_str()]);
    }
);
name!(
    /// `projects/P/locations/L/clusters/C/hosts/host-ID`.
    ClusterHostName { cluster: ClusterName, host: HostId },
    "the name of a cluster's host: projects/PROJECT/locations/LOCATION/clusters/CLUSTER/hosts/HOST",
    |text| {
        let (parent, id) = text.rsplit_once("/hosts/")?;
        Some(ClusterHostName { cluster: parent.parse().ok()?, host: id.parse().ok()? })
    },
    |name, out| {
        name.cluster.write_to(out);
        extend(out, &["/hosts/", name.host.as_str()]);
    }
);
name!(
    /// `projects/P/locations/L/operations/operation-ID`.
    ClusterOperationName { location: LocationName, operation: ClusterOperationId },
    "the name of a cluster's operation: projects/PROJECT/locations/LOCATION/operations/operation-ID",
    |text| {
        let (parent, id) = text.rsplit_once("/operations/")?;
        Some(ClusterOperationName { location: parent.parse().ok()?, operation: id.parse().ok()? })
    },
    |name, out| {
        name.location.write_to(out);
        extend(out, &["/operations/", name.operation.as_str()]);
    }
);

fn extend(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// The number of a key version: from 1, assigned by the server, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionNumber(pub std::num::NonZeroU32);

impl VersionNumber {
    /// The first version of a key.
    pub const FIRST: Self = Self(std::num::NonZeroU32::MIN);

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The next one; none after 4,294,967,295.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl FromStr for VersionNumber {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        // `parse` alone would take "+1" and "01": two names for one version.
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| canonical).map(Self).ok_or_else(|| {
            InvalidName::new(text, "the number of a key version: 1 or more, decimal, no leading zero")
        })
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str =
        "projects/key-project/locations/us-central1/keyRings/ring_1/cryptoKeys/Key-1/cryptoKeyVersions/17";

    #[test]
    fn a_name_whose_project_is_none_says_so() {
        let said = |project: &str| {
            let name = format!("projects/{project}/locations/us/keyRings/r/cryptoKeys/k");
            name.parse::<CryptoKeyName>().map_err(|error| error.to_string())
        };
        for project in ["ab", "123456789012", "Prod-keys", "prod-keys-"] {
            let text = said(project).unwrap_err();
            assert!(
                text.contains(&format!(", because {project:?} is not a project id: 6 to 30 lower-case")),
                "{text}"
            );
        }
        said("prod-keys").unwrap();
        for other in
            ["", "projects", "projects/prod-keys", "keys/ab/c", "projects/prod-keys/locations/U S/keyRings/r"]
        {
            let text = other.parse::<KeyRingName>().unwrap_err().to_string();
            assert!(text.ends_with("projects/PROJECT/locations/LOCATION/keyRings/RING"), "{text}");
        }
        // What is repeated is bounded.
        let long =
            format!("projects/{}", "x".repeat(100_000)).parse::<ProjectName>().unwrap_err().to_string();
        assert!(long.len() < 1_000, "{}", long.len());
    }

    #[test]
    fn a_name_prints_as_it_was_given() {
        let name: CryptoKeyVersionName = VERSION.parse().expect("a good name");
        assert_eq!(name.to_string(), VERSION);
        assert_eq!(name.version.get(), 17);
        assert_eq!(name.key.ring.location.location.as_str(), "us-central1");
    }

    #[test]
    fn nothing_that_is_nearly_a_name_is_one() {
        for bad in [
            "",
            "/projects/key-project",
            "projects/key-project/",
            "projects/Key-Project",
            "projects/short",
            "projects/key-project-",
            "projects/key-project/locations/us/keyRings/r",
        ] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad}");
        }
        for bad in [
            "cryptoKeyVersions/0",
            "cryptoKeyVersions/01",
            "cryptoKeyVersions/+1",
            "cryptoKeyVersions/4294967296",
            "cryptoKeyVersions/1 ",
        ] {
            let name = VERSION.replace("cryptoKeyVersions/17", bad);
            assert!(name.parse::<CryptoKeyVersionName>().is_err(), "{bad}");
        }
        for bad in [
            "keyRings/../keyRings/x",
            "keyRings/r%2fx",
            "keyRings/ring.1",
            "keyRings/",
            "keyrings/r",
            "keyRings/r\u{e9}",
        ] {
            let name = format!("projects/key-project/locations/us-central1/{bad}");
            assert!(name.parse::<KeyRingName>().is_err(), "{bad}");
        }
    }
}
