//! Groups from a file of the server: `GROUP: [MEMBER, ...]` in YAML. It is read again when it changes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use keystead_model::{Principal, is_email};

/// Longest file that is read, in bytes: 20,000 members.
const MAX_LEN: u64 = 1 << 20;

/// Who is in which group.
pub(crate) struct Groups {
    path: Option<PathBuf>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// Of the file that was looked at last, good or bad, so that a bad one is reported once.
    seen: Option<Stamp>,
    of: HashMap<Principal, Vec<String>>,
}

/// What changes when a file is replaced or rewritten.
type Stamp = (u64, u64, i64, i64);

/// Why a file of groups is refused.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// It cannot be read.
    #[error("cannot read the groups in {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Groups {
    /// Reads the file, which must be good now. Without one nobody is in a group.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, GroupsError> {
        let current = match &path {
            Some(path) => Current { seen: stamp(path), of: read(path)? },
            None => Current::default(),
        };
        Ok(Self { path, current: Mutex::new(current) })
    }

    /// The groups of one principal, as the file says now. A file that has turned bad is reported, and the last good one
    /// counts, because a typo must not take everybody's rights.
    pub(crate) fn of(&self, principal: &Principal) -> Vec<String> {
        let Some(path) = &self.path else { return Vec::new() };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(path);
        if now != current.seen {
            current.seen = now;
            match read(path) {
                Ok(of) => {
                    tracing::info!(path = %path.display(), "groups read again");
                    current.of = of;
                }
                Err(error) => {
                    tracing::error!(%error, "the groups cannot be used; going on with the last good ones")
                }
            }
        }
        current.of.get(principal).cloned().unwrap_or_default()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

fn read(path: &Path) -> Result<HashMap<Principal, Vec<String>>, GroupsError> {
    let io = |source| GroupsError::Io { path: path.to_owned(), source };
    let content = |problem: String| GroupsError::Content { path: path.to_owned(), problem };
    if fs::metadata(path).map_err(io)?.len() > MAX_LEN {
        return Err(content(format!("it is longer than {MAX_LEN} bytes")));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let groups: BTreeMap<String, Vec<String>> =
        serde_saphyr::from_str(&text).map_err(|error| content(error.to_string()))?;
    let mut of: HashMap<Principal, Vec<String>> = HashMap::new();
    for (group, members) in groups {
        if !is_email(&group) {
            return Err(content(format!("{group:?} is not the address of a group")));
        }
        for member in members {
            let principal: Principal =
                member.parse().map_err(|error| content(format!("group {group}: {error}")))?;
            of.entry(principal).or_default().push(group.to_ascii_lowercase());
        }
    }
    Ok(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_in_their_groups_and_a_change_counts_at_once() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("groups.yaml");
        let alice: Principal = "user:alice@example.com".parse().expect("a principal");
        fs::write(
            &path,
            "Admins@example.com: [user:Alice@example.com]\nops@example.com:\n- user:alice@example.com\n",
        )
        .expect("written");
        let groups = Groups::open(Some(path.clone())).expect("good");
        assert_eq!(groups.of(&alice), ["admins@example.com", "ops@example.com"]);

        fs::write(&path, "ops@example.com: [user:bob@example.com]\n").expect("written");
        assert_eq!(groups.of(&alice), Vec::<String>::new());
        let bob = "user:bob@example.com".parse().expect("a principal");
        assert_eq!(groups.of(&bob), ["ops@example.com"]);

        fs::write(&path, "ops@example.com: [bob@example.com]\n").expect("written");
        assert_eq!(groups.of(&bob), ["ops@example.com"], "the last good file counts");
        fs::remove_file(&path).expect("removed");
        assert_eq!(groups.of(&bob), ["ops@example.com"]);
    }

    #[test]
    fn a_bad_file_is_refused_at_start() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("groups.yaml");
        for bad in [
            "- a\n",
            "nobody: [user:a@example.com]\n",
            "g@example.com: [group:h@example.com]\n",
            "g@example.com: user\n",
        ] {
            fs::write(&path, bad).expect("written");
            assert!(matches!(Groups::open(Some(path.clone())), Err(GroupsError::Content { .. })), "{bad}");
        }
        assert!(matches!(Groups::open(Some(temp.path().join("none"))), Err(GroupsError::Io { .. })));
    }
}
