//! What this process remembers of the store: caches of records, the agenda, which clusters need which key, last uses.
//!
//! One owner, one source: it changes by [`Remembered::apply`], which only the [`Feed`] calls, with what the store itself says
//! was written. Nothing here is dropped by code behind an await of a request, because whoever asked may be gone by then.

mod agenda;
mod cache;
mod credential_uses;
mod feed;
mod in_step;
mod last_uses;
mod needed_keys;

use std::collections::BTreeMap;

use keystead_model::{CryptoKey, ProjectId};

pub(crate) use agenda::{Agenda, Due};
pub(crate) use cache::Cache;
pub(crate) use credential_uses::{CredentialUses, is_stale};
pub(crate) use feed::Feed;
pub(crate) use in_step::InStep;
pub(crate) use last_uses::LastUses;
pub(crate) use needed_keys::NeededKeys;

use crate::key_material::ActiveVersion;
use crate::records::certificate::CertificateState;
use crate::records::policy::StoredPolicy;
use crate::records::record_name;
use crate::records::service_api::ServiceState;
use crate::records::session::StoredSessions;
use crate::records::token::StoredToken;
use crate::{Project, ServiceAccount, ServiceAccountKey};

/// Keys in memory, in bytes: 100,000 of 600 bytes, or 6,000 with 64 long labels.
const CACHED_KEY_BYTES: usize = 60 << 20;
/// A key without its labels.
const KEY_LEN: usize = 600;
/// Versions in memory, of about 600 bytes each.
const CACHED_VERSIONS: usize = 100_000;
/// Policies in memory, in bytes: 80,000 with one or two members, or 180 with 1,500.
const CACHED_POLICY_BYTES: usize = 128 << 20;
/// Names of resources that have no policy, of about 400 bytes each.
const CACHED_UNSET_POLICIES: usize = 100_000;
/// Switches of APIs, a few for each project.
const CACHED_SERVICES: usize = 10_000;
/// Records of identities of one kind, and numbers of projects: a token takes about 300 bytes, a key about 700.
const CACHED_IDENTITIES: usize = 10_000;
/// Principals whose sessions are in memory: at most 16 of about 1,000 bytes each.
const CACHED_SESSIONS: usize = 1_000;
/// Projects in memory, in bytes: 20,000 of 400 bytes, or 900 with 64 long labels.
const CACHED_PROJECT_BYTES: usize = 8 << 20;
/// A project without its labels.
const PROJECT_LEN: usize = 400;
/// What one label takes besides its two texts.
const LABEL_LEN: usize = 64;

/// All that is derived from records. What is not stored is never cached.
pub(crate) struct Remembered {
    pub(crate) keys: Cache<CryptoKey>,
    pub(crate) versions: Cache<ActiveVersion>,
    pub(crate) policies: Cache<StoredPolicy>,
    /// Of resources that have none: apart, because a caller can name any number of resources that do not exist.
    pub(crate) unset_policies: Cache<StoredPolicy>,
    pub(crate) services: Cache<ServiceState>,
    pub(crate) tokens: Cache<StoredToken>,
    /// Of principals that have sent a cookie.
    pub(crate) sessions: Cache<StoredSessions>,
    /// Of certificates that an authority of ours has signed, revoked or not.
    pub(crate) certificates: Cache<CertificateState>,
    pub(crate) accounts: Cache<ServiceAccount>,
    pub(crate) account_keys: Cache<ServiceAccountKey>,
    pub(crate) projects: Cache<Project>,
    pub(crate) project_numbers: Cache<ProjectId>,
    pub(crate) agenda: Agenda,
    pub(crate) needed_keys: NeededKeys,
    pub(crate) last_uses: LastUses,
    pub(crate) credential_uses: CredentialUses,
}

/// Kinds of records that are all read at the start, because what they say is remembered and not only what was asked for.
const READ_WHOLE: [&str; 3] = [record_name::ALL_KEYS, record_name::ALL_VERSIONS, record_name::CLUSTERS];

/// Whether what is in this record is remembered without being asked for.
fn is_read_whole(record: &str) -> bool {
    READ_WHOLE.iter().any(|prefix| record.starts_with(prefix))
}

/// A record that was written or deleted. What is read whole is needed as it is now; for the caches its name is enough.
pub(crate) struct Changed {
    pub(crate) name: String,
    /// What is in it, if it is of a kind that is read whole and the record is there.
    pub(crate) value: Option<Vec<u8>>,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        Self {
            keys: Cache::of_bytes(CACHED_KEY_BYTES, |it| KEY_LEN + labels_size(&it.labels)),
            versions: Cache::new(CACHED_VERSIONS),
            policies: Cache::of_bytes(CACHED_POLICY_BYTES, StoredPolicy::size),
            unset_policies: Cache::new(CACHED_UNSET_POLICIES),
            services: Cache::new(CACHED_SERVICES),
            tokens: Cache::new(CACHED_IDENTITIES),
            sessions: Cache::new(CACHED_SESSIONS),
            certificates: Cache::new(CACHED_IDENTITIES),
            accounts: Cache::new(CACHED_IDENTITIES),
            account_keys: Cache::new(CACHED_IDENTITIES),
            projects: Cache::of_bytes(CACHED_PROJECT_BYTES, |it| PROJECT_LEN + labels_size(&it.labels)),
            project_numbers: Cache::new(CACHED_IDENTITIES),
            agenda: Agenda::default(),
            needed_keys: NeededKeys::default(),
            last_uses: LastUses::default(),
            credential_uses: CredentialUses::default(),
        }
    }

    /// Takes what was written: caches drop it, what is read whole is noted. Caches that were suspended serve again.
    pub(crate) fn apply(&self, changed: &[Changed]) {
        let names: Vec<String> = changed.iter().map(|it| record_name::cached_under(&it.name)).collect();
        self.each_cache(|cache| cache.forget(&names));
        for Changed { name, value } in changed {
            self.note(name, value.as_deref());
        }
    }

    /// Takes what a record says now; `None`: the record is gone.
    fn note(&self, record: &str, bytes: Option<&[u8]>) {
        if self.agenda.note(record, bytes).is_err() {
            // The record was named in the log when it was read. Whatever it says, it is not carried out.
            tracing::error!(record, "the schedule goes on without a damaged record");
        }
        if self.needed_keys.note(record, bytes).is_err() {
            tracing::error!(record, "no key version is destroyed while the record of a cluster is damaged");
        }
    }

    /// Drops everything: what was written is not known. Nothing is kept from here on until [`apply`](Self::apply).
    pub(crate) fn suspend(&self) {
        self.each_cache(|cache| cache.suspend());
        self.needed_keys.set_known(None);
    }

    /// Forgets what was read whole, before it is all read again.
    fn clear(&self) {
        self.agenda.clear();
        self.needed_keys.clear();
    }

    fn each_cache(&self, visit: impl Fn(&dyn cache::Forgets)) {
        visit(&self.keys);
        visit(&self.versions);
        visit(&self.policies);
        visit(&self.unset_policies);
        visit(&self.services);
        visit(&self.tokens);
        visit(&self.sessions);
        visit(&self.certificates);
        visit(&self.accounts);
        visit(&self.account_keys);
        visit(&self.projects);
        visit(&self.project_numbers);
    }
}

/// What labels take, in bytes.
fn labels_size(labels: &BTreeMap<String, String>) -> usize {
    labels.iter().map(|(name, value)| LABEL_LEN + name.len() + value.len()).sum()
}
