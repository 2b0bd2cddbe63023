use std::fmt;

use jiff::Timestamp;

use crate::ClusterName;

/// A cluster that needs a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterUser {
    /// The cluster.
    pub cluster: ClusterName,
    /// Why it needs it, in words that go on after its name.
    pub reason: String,
}

/// What an inventory of one cluster says of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many objects were stored under it.
    pub objects: u64,
    /// When they were counted.
    pub time: Timestamp,
}

impl ClusterUser {
    /// Whether a cluster that needs a key needs this version of it; none: nothing is stored under the version.
    ///
    /// `is_primary`: the version is what the cluster encrypts with next. `written`: when something was last encrypted under the
    /// version, or may have been; none: nothing ever was. `counted`: the inventory of the cluster; none: there is none, and
    /// what is not known counts as stored.
    pub fn of(
        cluster: &ClusterName,
        is_primary: bool,
        written: Option<Timestamp>,
        counted: Option<Counted>,
    ) -> Option<Self> {
        let reason = match (counted, written) {
            (Some(Counted { objects, time }), _) if objects > 0 => {
                format!("had {objects} objects under it at {time}")
            }
            _ if is_primary => {
                "encrypts with it, because it is the primary version of a key that the cluster needs"
                    .to_owned()
            }
            (_, None) => return None,
            // An inventory of the same time may have been taken before it.
            (Some(Counted { time, .. }), Some(written)) if time > written => return None,
            (Some(Counted { time, .. }), Some(written)) => format!(
                "may have objects under it: its inventory was taken at {time}, and something may have been encrypted under it at {written}"
            ),
            (None, Some(_)) => {
                "may have objects under it, and no inventory of the cluster says that it has none".to_owned()
            }
        };
        Some(Self { cluster: cluster.clone(), reason })
    }
}

impl fmt::Display for ClusterUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {} {}", self.cluster, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn reason(is_primary: bool, written: Option<&str>, counted: Option<(u64, &str)>) -> Option<String> {
        let cluster = "projects/cluster-project/locations/us/clusters/c".parse().unwrap();
        let counted = counted.map(|(objects, time)| Counted { objects, time: at(time) });
        ClusterUser::of(&cluster, is_primary, written.map(at), counted).map(|user| user.to_string())
    }

    const BEFORE: &str = "2026-01-01T00:00:00Z";
    const AFTER: &str = "2026-01-01T00:00:00.000001Z";

    #[test]
    fn p12_what_was_written_is_stored_until_a_later_inventory_of_the_cluster_says_otherwise() {
        for (counted, needed) in [
            (None, true),
            (Some((0, BEFORE)), true),
            (Some((0, AFTER)), false),
            (Some((1, BEFORE)), true),
            (Some((1, AFTER)), true),
        ] {
            assert_eq!(reason(false, Some(BEFORE), counted).is_some(), needed, "{counted:?}");
        }
    }

    #[test]
    fn p12_the_primary_version_is_needed_whatever_was_counted() {
        for (written, counted) in
            [(None, None), (None, Some((0, AFTER))), (Some(BEFORE), Some((0, AFTER))), (Some(BEFORE), None)]
        {
            assert!(reason(true, written, counted).is_some(), "{written:?} {counted:?}");
        }
    }

    #[test]
    fn p12_under_what_never_encrypted_nothing_is_stored() {
        assert_eq!(reason(false, None, None), None);
        assert_eq!(reason(false, None, Some((0, BEFORE))), None);
        // Whoever counted knows more than this server.
        assert!(reason(false, None, Some((3, BEFORE))).is_some());
    }

    #[test]
    fn p12_a_reason_names_the_cluster_in_full() {
        assert_eq!(
            reason(false, Some(BEFORE), Some((41, AFTER))).unwrap(),
            "cluster projects/cluster-project/locations/us/clusters/c had 41 objects under it at 2026-01-01T00:00:00.000001Z"
        );
    }
}
