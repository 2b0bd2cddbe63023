//! Groups from a file of the server: `GROUP: [MEMBER, ...]` in YAML. It is read again when it changes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::thread;
use std::time::Duration;

use keystead_model::{Principal, is_email};

/// Longest file that is read, in bytes: 20,000 members.
const MAX_LEN: u64 = 1 << 20;

/// How often a thread looks at the file, and so how late a change counts at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who is in which group. The file is read by a thread of its own: a file system that hangs must hold up no request.
pub(crate) struct Groups(Arc<RwLock<Members>>);

type Members = HashMap<Principal, Vec<String>>;

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
    /// Reads the file, which must be good now, and goes on looking at it. Without one nobody is in a group.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, GroupsError> {
        let Some(path) = path else { return Ok(Self(Arc::default())) };
        let seen = stamp(&path);
        let members = Arc::new(RwLock::new(read(&path)?));
        let watched = Arc::downgrade(&members);
        let watch = File { path: path.clone(), seen };
        thread::Builder::new()
            .name("groups".into())
            .spawn(move || watch.keep_looking(&watched))
            .map_err(|source| GroupsError::Io { path, source })?;
        Ok(Self(members))
    }

    /// The groups of one principal, as the file said when it was looked at last.
    pub(crate) fn of(&self, principal: &Principal) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(principal).cloned().unwrap_or_default()
    }
}

/// The file, and what was seen of it last.
struct File {
    path: PathBuf,
    /// Good or bad, so that a bad one is reported once.
    seen: Option<Stamp>,
}

impl File {
    /// Until nobody asks for groups any more.
    fn keep_looking(mut self, members: &Weak<RwLock<Members>>) {
        while members.strong_count() > 0 {
            thread::sleep(LOOK_EVERY);
            let Some(new) = self.look() else { continue };
            let Some(members) = members.upgrade() else { return };
            *members.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }

    /// What the file says now, if it has changed. One that has turned bad is reported, and the last good one counts, because a
    /// typo must not take everybody's rights.
    fn look(&mut self) -> Option<Members> {
        let now = stamp(&self.path);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        let members = read(&self.path);
        match &members {
            Ok(_) => tracing::info!(path = %self.path.display(), "groups read again"),
            Err(error) => {
                tracing::error!(%error, "the groups cannot be used; going on with the last good ones");
            }
        }
        members.ok()
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
    fn members_are_in_their_groups_and_a_change_counts_soon() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("groups.yaml");
        let alice: Principal = "user:alice@example.com".parse().expect("a principal");
        let bob: Principal = "user:bob@example.com".parse().expect("a principal");
        fs::write(
            &path,
            "Admins@example.com: [user:Alice@example.com]\nops@example.com:\n- user:alice@example.com\n",
        )
        .expect("written");
        let groups = Groups::open(Some(path.clone())).expect("good");
        assert_eq!(groups.of(&alice), ["admins@example.com", "ops@example.com"]);
        fs::write(&path, "ops@example.com: [user:bob@example.com]\n").expect("written");
        let begun = std::time::Instant::now();
        while groups.of(&bob) != ["ops@example.com"] {
            assert!(begun.elapsed() < Duration::from_secs(60), "the change never counts");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(groups.of(&alice), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_turns_bad_is_not_taken_and_not_read_twice() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("groups.yaml");
        let mut file = File { path: path.clone(), seen: None };
        for (text, good) in [
            ("ops@example.com: [user:bob@example.com]\n", true),
            ("ops@example.com: [bob@example.com, and more]\n", false),
            ("dev@example.com: [user:bob@example.com]\n", true),
        ] {
            fs::write(&path, text).expect("written");
            assert_eq!(file.look().is_some(), good, "{text}");
            assert_eq!(file.look(), None, "{text}: it has not changed");
        }
        fs::remove_file(&path).expect("removed");
        assert_eq!(file.look(), None);
    }

    /// A named pipe without a writer hangs whoever opens it, as a mount that is gone does.
    #[test]
    fn a_file_system_that_hangs_holds_nobody_up() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("groups.yaml");
        let bob: Principal = "user:bob@example.com".parse().expect("a principal");
        fs::write(&path, "ops@example.com: [user:bob@example.com]\n").expect("written");
        let groups = Groups::open(Some(path.clone())).expect("good");
        fs::remove_file(&path).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        let begun = std::time::Instant::now();
        while begun.elapsed() < 2 * LOOK_EVERY {
            assert_eq!(groups.of(&bob), ["ops@example.com"]);
        }
        // A writer comes and goes, so that the thread ends.
        fs::OpenOptions::new().write(true).open(&path).expect("the other end is open");
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
