//! Groups from a file of the server: `GROUP: [MEMBER, ...]` in YAML. It is read again when it changes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use keystead_model::{Principal, is_email};

/// Longest file that is read, in bytes: 20,000 members.
const MAX_LEN: u64 = 1 << 20;

/// How often a thread looks at the file, and so how late a change counts at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A file system that takes longer does not answer, and whoever looks after the server is told. The largest file is read in a
/// fraction of a second.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Who is in which group. The file is read by a thread of its own: a file system that hangs must hold up no request.
pub(crate) struct Groups(Arc<Known>);

/// What the thread has read.
#[derive(Default)]
struct Known {
    /// The file; empty where there is none.
    path: PathBuf,
    /// The last good ones.
    members: RwLock<Members>,
    /// Since when the thread waits for the file system, while it does.
    waiting: Mutex<Option<Instant>>,
    /// Why the file that is there now is not used.
    refused: Mutex<Option<String>>,
}

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
        let members = RwLock::new(read(&path)?);
        let known = Arc::new(Known { path: path.clone(), members, ..Known::default() });
        let watched = Arc::downgrade(&known);
        let watch = File { path: path.clone(), seen, refused: None };
        thread::Builder::new()
            .name("groups".into())
            .spawn(move || watch.keep_looking(&watched))
            .map_err(|source| GroupsError::Io { path, source })?;
        Ok(Self(known))
    }

    /// The groups of one principal, as the file said when it was looked at last.
    pub(crate) fn of(&self, principal: &Principal) -> Vec<String> {
        let members = self.0.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(principal).cloned().unwrap_or_default()
    }

    /// Why the file that is there now is not the one in use, if it is not. A server that starts could not use it.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused_at(Instant::now())
    }

    fn refused_at(&self, now: Instant) -> Option<String> {
        let Known { path, waiting, refused, .. } = self.0.as_ref();
        let waiting = *waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_some_and(|since| now.saturating_duration_since(since) >= ANSWER_LIMIT) {
            let (path, limit) = (path.display(), ANSWER_LIMIT.as_secs());
            return Some(format!("cannot read the groups in {path}: no answer within {limit} s"));
        }
        refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    fn waits(&self, since: Option<Instant>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn take(&self, looked: Result<Members, String>) {
        let refused = match looked {
            Ok(members) => {
                *self.members.write().unwrap_or_else(PoisonError::into_inner) = members;
                None
            }
            Err(reason) => Some(reason),
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}

/// Reads a file of groups and lets go of it again.
pub fn check_groups(path: &Path) -> Result<(), GroupsError> {
    read(path).map(drop)
}

/// The file, and what was seen of it last.
struct File {
    path: PathBuf,
    seen: Option<Stamp>,
    /// Why it was not used, so that each reason is logged once.
    refused: Option<String>,
}

impl File {
    /// Until nobody asks for groups any more.
    fn keep_looking(mut self, known: &Weak<Known>) {
        loop {
            thread::sleep(LOOK_EVERY);
            let Some(before) = known.upgrade() else { return };
            before.waits(Some(Instant::now()));
            // Whoever asks for groups may go away meanwhile.
            drop(before);
            let looked = self.look();
            let Some(known) = known.upgrade() else { return };
            looked.into_iter().for_each(|looked| known.take(looked));
            known.waits(None);
        }
    }

    /// What the file says now, if it has changed. Where it has turned bad the last good one counts, because a typo must not take
    /// everybody's rights; it is read again each time, because what kept it from being read may be over.
    fn look(&mut self) -> Option<Result<Members, String>> {
        let now = stamp(&self.path);
        if now == self.seen && self.refused.is_none() {
            return None;
        }
        self.seen = now;
        let members = read(&self.path).map_err(|error| error.to_string());
        match &members {
            Ok(_) => tracing::info!(path = %self.path.display(), "groups read again"),
            Err(error) if self.refused.as_ref() == Some(error) => {}
            Err(error) => {
                tracing::error!(error, "the groups cannot be used; going on with the last good ones");
            }
        }
        self.refused = members.as_ref().err().cloned();
        Some(members)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

/// Errors do not repeat what stands in the file, but for addresses: it may be another one, by mistake, and hold a secret.
fn read(path: &Path) -> Result<HashMap<Principal, Vec<String>>, GroupsError> {
    let io = |source| GroupsError::Io { path: path.to_owned(), source };
    let content = |problem: String| GroupsError::Content { path: path.to_owned(), problem };
    if fs::metadata(path).map_err(io)?.len() > MAX_LEN {
        return Err(content(format!("it is longer than {MAX_LEN} bytes")));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let groups: BTreeMap<String, Vec<String>> =
        serde_saphyr::from_str(&text).map_err(|error| content(error.without_snippet().to_string()))?;
    let mut of: HashMap<Principal, Vec<String>> = HashMap::new();
    for (group, members) in groups {
        if !is_email(&group) {
            return Err(content("what stands for a group is not the address of one".to_owned()));
        }
        for (number, member) in (1..).zip(members) {
            let principal: Principal = member.parse().map_err(|_| {
                content(format!(
                    "member {number} of group {group} is not a principal: user:EMAIL or serviceAccount:EMAIL"
                ))
            })?;
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
        let begun = Instant::now();
        while groups.of(&bob) != ["ops@example.com"] {
            assert!(begun.elapsed() < Duration::from_secs(60), "the change never counts");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(groups.of(&alice), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_turns_bad_is_not_taken_and_is_read_until_it_is_good() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("groups.yaml");
        let bob: Principal = "user:bob@example.com".parse().expect("a principal");
        let mut file = File { path: path.clone(), seen: None, refused: None };
        let groups = Groups(Arc::default());
        let mut look = || {
            let looked = file.look();
            let changed = looked.is_some();
            looked.into_iter().for_each(|looked| groups.0.take(looked));
            (changed, groups.of(&bob), groups.refused())
        };
        let (ops, dev) = (vec!["ops@example.com".to_owned()], vec!["dev@example.com".to_owned()]);
        fs::write(&path, "ops@example.com: [user:bob@example.com]\n").expect("written");
        assert_eq!(look(), (true, ops.clone(), None));
        assert_eq!(look(), (false, ops.clone(), None), "it has not changed");
        // Nothing of what stands there is repeated: it may be another file, with a secret in it.
        for (bad, said) in [
            (
                "ops@example.com: [user:bob@example.com, s3cret]\n",
                "groups.yaml: member 2 of group ops@example.com ",
            ),
            (
                "ops@example.com: [user:bob@example.com]\ns3cret: []\n",
                "groups.yaml: what stands for a group ",
            ),
            ("ops@example.com: s3cret\n", "groups.yaml: "),
            ("- s3cret\n- s3cret\n", "groups.yaml: "),
        ] {
            fs::write(&path, bad).expect("written");
            for _ in 0..2 {
                let (changed, of_bob, refused) = look();
                assert!(changed && of_bob == ops, "{of_bob:?}");
                let refused = refused.expect("refused");
                assert!(refused.contains(said) && !refused.contains("s3cret"), "{refused}");
            }
        }
        let away = temp.path().join("away.yaml");
        fs::write(&path, "dev@example.com: [user:bob@example.com]\n").expect("written");
        assert_eq!(look(), (true, dev.clone(), None));
        fs::rename(&path, &away).expect("moved");
        let (_, of_bob, refused) = look();
        assert!(of_bob == dev && refused.is_some_and(|it| it.contains("cannot read the groups")));
        fs::rename(&away, &path).expect("moved back");
        assert_eq!(look(), (true, dev, None));
    }

    /// A named pipe without a writer hangs whoever opens it, as a mount that is gone does.
    #[test]
    fn a_file_system_that_hangs_holds_nobody_up_and_is_told_until_it_answers() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("groups.yaml");
        let bob: Principal = "user:bob@example.com".parse().expect("a principal");
        fs::write(&path, "ops@example.com: [user:bob@example.com]\n").expect("written");
        let groups = Groups::open(Some(path.clone())).expect("good");
        fs::remove_file(&path).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        let begun = Instant::now();
        let late = || groups.refused_at(Instant::now() + ANSWER_LIMIT);
        while begun.elapsed() < 2 * LOOK_EVERY || late().is_none() {
            assert_eq!(groups.of(&bob), ["ops@example.com"]);
            assert!(begun.elapsed() < Duration::from_secs(60), "it is never told");
        }
        let told = late().expect("it still hangs");
        let wanted = format!("cannot read the groups in {}: no answer within 10 s", path.display());
        assert_eq!(told, wanted);
        // It answers, and then the file is what it was.
        let good = temp.path().join("good.yaml");
        fs::write(&good, "dev@example.com: [user:bob@example.com]\n").expect("written");
        let writer = fs::OpenOptions::new().write(true).open(&path).expect("the other end is open");
        fs::rename(&good, &path).expect("moved");
        drop(writer);
        let begun = Instant::now();
        while groups.of(&bob) != ["dev@example.com"] || late().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it counts never, or is told for ever");
            thread::sleep(Duration::from_millis(5));
        }
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
