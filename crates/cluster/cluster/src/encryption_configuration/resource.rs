//! Names of resources in the configuration.

use std::fmt;

/// A resource and its group; `*` stands for any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// Such as `secrets`.
    pub resource: String,
    /// Empty for the core group.
    pub group: String,
}

impl GroupResource {
    /// Kubernetes' `ParseGroupResource`: the group is what stands behind the first dot.
    pub fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self { resource: resource.to_owned(), group: group.to_owned() }
    }

    /// `*.GROUP`.
    pub(crate) fn whole_group(&self) -> Self {
        Self { resource: "*".to_owned(), group: self.group.clone() }
    }

    /// `*.*`.
    pub(crate) fn everything() -> Self {
        Self { resource: "*".to_owned(), group: "*".to_owned() }
    }

    /// Whether an earlier entry with `self` leaves nothing for a later one with `other`.
    pub(super) fn masks(&self, other: &Self) -> bool {
        *self == other.whole_group() || *self == Self::everything()
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.resource.as_str(), self.group.as_str()) {
            ("*", "") => f.write_str("*."),
            (resource, "") => f.write_str(resource),
            (resource, group) => write!(f, "{resource}.{group}"),
        }
    }
}
