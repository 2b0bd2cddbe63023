//! When the material of a key version goes. Nothing is destroyed that something still needs: scheduling asks, and it is
//! asked again when the time has come. The owner overrides with the label `keystead-destroy` on the key: the id of one
//! version, or `all`.
//! Disable is never refused: it is the emergency brake.

mod cluster_user;
pub mod second_user;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{CryptoKey, CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, VersionState};

pub use cluster_user::{ClusterUser, Counted};

/// The label whose value says what may go although it is in use: the id of one version, or [`OVERRIDE_ALL`].
pub const OVERRIDE_LABEL: &str = "keystead-destroy";
/// Every version may go: programs that destroy a key's versions one after the other cannot set a label for each.
pub const OVERRIDE_ALL: &str = "all";
/// With [`InUseRule::Recent`], a version that decrypted something within this time is in use: a cluster may be off over a weekend and
/// a holiday. What a plugin holds in memory and only asks about again is no use.
pub const QUIET_DAYS: i64 = 7;

/// How long an older database that was put back destroys nothing, whatever its labels say: what was scheduled in it may have been
/// taken back since, and whoever restores needs time to look.
const AFTER_RESTORE: SignedDuration = SignedDuration::from_hours(24);

/// Users that a refusal names; of the others it says how many they are, because clients take no text of any length.
const MOST_NAMED: usize = 20;

/// Which versions are in use besides those that an inventory names or a cluster needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InUseRule {
    /// Those that ever encrypted or decrypted something, until every registered inventory is newer than that and none names
    /// the version. Whoever unseals a store or opens a state decrypts with an old version only at the next start, months later.
    #[default]
    Used,
    /// Those that decrypted something within [`QUIET_DAYS`].
    Recent,
    /// None.
    Off,
}

/// How often a version did one thing, as far as the server counted, and when it did last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// How often that was, in all.
    pub count: u64,
    /// When last; none: never.
    pub last: Option<Timestamp>,
}

/// Who uses a version, as far as the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Encrypt.
    pub encrypts: Uses,
    /// Decrypt.
    pub decrypts: Uses,
    /// Registered inventories that name it: who is the source.
    pub inventories: Vec<User>,
    /// Clusters that need it.
    pub clusters: Vec<ClusterUser>,
    /// When the oldest of the key's registered inventories was taken; none: nothing is registered.
    pub inventories_since: Option<Timestamp>,
    /// Uses before this are not known, because an older database was put back then; none: all are known.
    pub unknown_before: Option<Timestamp>,
}

/// Somebody who uses a version, or something that is as good as a use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who, such as `cluster NAME` or the source of an inventory: the same as long as it is the same user.
    pub who: String,
    /// Why it counts, in words that go on after that.
    pub why: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.who, self.why)
    }
}

/// What to do with a version whose time has come, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The version.
    pub version: CryptoKeyVersionName,
    /// What to do.
    pub act: Act,
    /// One sentence for the log and the audit record.
    pub reason: String,
}

/// What to do with a version whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Destroy the material.
    Destroy,
    /// Keep it: something uses it after all. It stays scheduled and unusable, and is asked again.
    Keep,
}

/// Which of the versions of `key` are due.
pub fn plan(
    now: Timestamp,
    rule: InUseRule,
    key: &CryptoKey,
    versions: &[(CryptoKeyVersion, Usage)],
) -> Vec<Step> {
    versions.iter().filter_map(|(version, usage)| step(now, rule, key, version, usage)).collect()
}

fn step(
    now: Timestamp,
    rule: InUseRule,
    key: &CryptoKey,
    version: &CryptoKeyVersion,
    usage: &Usage,
) -> Option<Step> {
    let due = version.destroy_time.filter(|_| version.state == VersionState::DestroyScheduled)?;
    if due > now {
        return None;
    }
    let restored = usage.unknown_before.filter(|at| now.duration_since(*at) < AFTER_RESTORE);
    if let Some(at) = restored {
        let reason =
            format!("the database was restored at {at}, and a day is left to take its destructions back");
        return Some(Step { version: version.name.clone(), act: Act::Keep, reason });
    }
    let (act, reason) = match check_unused(now, rule, key, &version.name, usage) {
        Ok(Permit::Unused) => {
            (Act::Destroy, format!("destruction was due at {due} and nothing uses the version"))
        }
        Ok(Permit::Overridden) => {
            (Act::Destroy, format!("destruction was due at {due} and the label {OVERRIDE_LABEL} allows it"))
        }
        Err(in_use) => (Act::Keep, in_use.to_string()),
    };
    Some(Step { version: version.name.clone(), act, reason })
}

/// Whether `version` may be scheduled for destruction, and go when its time has come.
pub fn check_unused(
    now: Timestamp,
    rule: InUseRule,
    key: &CryptoKey,
    version: &CryptoKeyVersionName,
    usage: &Usage,
) -> Result<Permit, InUse> {
    let users = users(now, rule, usage);
    if users.is_empty() {
        return Ok(Permit::Unused);
    }
    let named = |value: &String| value == OVERRIDE_ALL || *value == version.version.to_string();
    if key.labels.get(OVERRIDE_LABEL).is_some_and(named) {
        return Ok(Permit::Overridden);
    }
    Err(InUse { version: Box::new(version.clone()), users, uses: [usage.encrypts, usage.decrypts] })
}

/// Why a destruction may go on; the audit record says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Nothing uses the version.
    Unused,
    /// Something does, and the owner's label says to go on.
    Overridden,
}

/// Everybody who uses a version by a rule.
pub fn users(now: Timestamp, rule: InUseRule, usage: &Usage) -> Vec<User> {
    let user = |who: &str, why: String| User { who: who.to_owned(), why };
    let clusters =
        usage.clusters.iter().map(|it| user(&format!("cluster {}", it.cluster), it.reason.clone()));
    let mut users: Vec<User> = clusters.chain(usage.inventories.iter().cloned()).collect();
    let Usage { encrypts, decrypts, inventories_since, unknown_before, .. } = usage;
    let restored = |at: &Timestamp| {
        user("the database", format!("was restored at {at}, and what was used before is not known"))
    };
    match rule {
        InUseRule::Used => {
            let last = encrypts.last.max(decrypts.last);
            // An inventory of the same time may have been taken before it.
            if last.is_some() && *inventories_since <= last {
                let why = match inventories_since {
                    None => "was used, and no inventory says what is left under it".to_owned(),
                    Some(since) => {
                        format!("was used after {since}, when the oldest registered inventory was taken")
                    }
                };
                users.push(user("it", why));
            } else if let Some(at) = unknown_before.filter(|it| *inventories_since <= Some(*it)) {
                users.push(restored(&at));
            }
        }
        InUseRule::Recent => {
            // A time in the future is of a clock that went back: it counts as recent.
            let recent =
                |at: &Timestamp| now.duration_since(*at) < SignedDuration::from_hours(24 * QUIET_DAYS);
            if let Some(at) = decrypts.last.filter(recent) {
                let why = format!("decrypted something at {at}, less than {QUIET_DAYS} days ago");
                users.push(user("it", why));
            } else if let Some(at) = unknown_before.filter(recent) {
                users.push(restored(&at));
            }
        }
        InUseRule::Off => {}
    }
    users
}

/// The first of them, and how many more there are.
fn in_words(users: &[User]) -> String {
    let (named, others) = users.split_at(users.len().min(MOST_NAMED));
    let named: Vec<String> = named.iter().map(ToString::to_string).collect();
    match others.len() {
        0 => named.join("; "),
        more => format!("{}; and {more} more", named.join("; ")),
    }
}

/// The version is in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InUse {
    /// The version; boxed, because most answers are not this.
    pub version: Box<CryptoKeyVersionName>,
    /// Who uses it; never empty.
    pub users: Vec<User>,
    /// Encrypt and Decrypt, as far as the server knows, however long ago.
    pub uses: [Uses; 2],
}

impl InUse {
    /// `FailedPrecondition`.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::FailedPrecondition
    }

    /// The type of the violation in `google.rpc.PreconditionFailure`.
    pub fn violation(&self) -> &'static str {
        "KEY_IN_USE"
    }
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, id) = (&self.version.key, self.version.version);
        let (ring, key) = (&key.ring, &key.key);
        write!(f, "{} is still in use: {}. ", self.version, in_words(&self.users))?;
        for (name, Uses { count, last }) in ["Encrypt", "Decrypt"].into_iter().zip(self.uses) {
            match last {
                Some(at) => write!(f, "Its last {name} was at {at} (of {count}). ")?,
                None => write!(f, "No {name} with it is known. ")?,
            }
        }
        // The same words for `gcloud` and for `keystead`.
        let command = format!(
            "kms keys update {key} --keyring={} --location={} --project={} --update-labels={OVERRIDE_LABEL}={id}",
            ring.ring, ring.location.location, ring.location.project
        );
        write!(
            f,
            "Re-encrypt, then register an inventory; disable the version to test what would break. To destroy it all the same, run `keystead \
             {command}` or `gcloud {command}` and ask again ({OVERRIDE_LABEL}={OVERRIDE_ALL} is for every version)."
        )
    }
}
