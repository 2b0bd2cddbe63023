//! Re-encryption: every object of chosen resources is stored anew under the key with which its API server writes now.
//!
//! It lists metadata alone, page by page, and sends each object an empty merge patch. kube-apiserver then judges by what is in etcd:
//! an object that was stored under another key or provider is written again and gets a new resource version, any other one is left as
//! it is. So the answers count exactly what was stale, and no `data` of a Secret is asked for. A second pass finds zero.
//!
//! [`Plan::make`] says what will be done, [`Journal::open`] where a run that was cut goes on, [`run`] does it. Read `run.rs` first,
//! then `walk.rs`.

mod concurrency;
mod journal;
mod lock;
mod migration;
mod objects;
mod outcome;
mod pace;
mod plan;
mod progress;
mod report;
mod room;
mod run;
mod skip;
mod tally;
mod walk;

use std::time::Duration;

use keystead_model::ErrorClass;

use crate::api::CallError;

pub use journal::{Journal, JournalError};
pub use migration::{MigrationError, NotServed};
pub use outcome::Outcome;
pub use plan::{Plan, PlanError, Request, Step, Via};
pub use progress::Progress;
pub use report::{Ending, Pass, Report};
pub use room::Room;
pub use run::{Control, Run, run};
pub use tally::{Named, Tally};

/// Why a run ended before it was through. It can go on later.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// Nothing worked for as long as it may take.
    #[error("the API server could not be reached, or took no more requests, for {waited:?}")]
    Unreachable {
        /// How long.
        waited: Duration,
        /// The last that was heard.
        source: Option<CallError>,
    },
    /// A token or certificate is not taken, or no longer.
    #[error("the API server does not take the credentials of the kubeconfig, or no longer")]
    Credentials(#[source] CallError),
    /// Who runs this may not patch a single object.
    #[error("not allowed to patch {resource}: {reason}")]
    Denied {
        /// Which.
        resource: String,
        /// In the API server's words.
        reason: String,
    },
    /// etcd takes no more data: the cluster can only be read.
    #[error("etcd is out of space and takes no more writes")]
    EtcdFull(#[source] CallError),
    /// etcd says itself that something is wrong with it.
    #[error("etcd has the alarm {kind} of member {member}")]
    EtcdAlarm {
        /// `NOSPACE` or `CORRUPT`.
        kind: String,
        /// In hexadecimal, as etcdctl shows it.
        member: String,
    },
    /// It nears its quota, and compaction makes no room.
    #[error("etcd has used {} of its quota of {}, and compaction does not make room", room::mib(*in_use), room::mib(*quota))]
    NoRoom {
        /// Bytes.
        in_use: u64,
        /// Bytes.
        quota: u64,
    },
    /// Its file is as large as its quota, and most of it is free pages.
    #[error(
        "the file of etcd's database has {} of its quota of {}, of which {} are in use: compaction makes no room in it",
        room::mib(*size), room::mib(*quota), room::mib(*in_use)
    )]
    Fragmented {
        /// Bytes of the file.
        size: u64,
        /// Bytes without free pages.
        in_use: u64,
        /// Bytes.
        quota: u64,
    },
    /// A migration of Kubernetes' own.
    #[error("the in-tree migration is not watched any more")]
    Migration(#[from] MigrationError),
    /// The state could not be saved.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Interrupted {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } => ErrorClass::Unavailable,
            Self::Credentials(_) => ErrorClass::Unauthenticated,
            Self::Denied { .. } => ErrorClass::Denied,
            Self::Migration(error) => error.class(),
            Self::EtcdFull(_)
            | Self::EtcdAlarm { .. }
            | Self::NoRoom { .. }
            | Self::Fragmented { .. }
            | Self::Journal(_) => ErrorClass::FailedPrecondition,
        }
    }

    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some("run the same command again when it is back: it goes on where it stopped".to_owned()),
            Self::Credentials(_) => Some("renew them, then run the same command again: it goes on where it stopped".to_owned()),
            Self::Denied { .. } => Some("grant the verbs list and patch, then run the same command again".to_owned()),
            Self::EtcdAlarm { kind, .. } if kind != "NOSPACE" => Some(
                "see etcd's guide for this alarm; when it is gone run the same command again: it goes on where it stopped".to_owned(),
            ),
            Self::Fragmented { .. } => Some(
                "defragment each member of etcd (etcdctl defrag), one after another, then run the same command again: it goes on where it stopped"
                    .to_owned(),
            ),
            Self::NoRoom { .. } => Some(
                "raise --quota-backend-bytes of etcd, or see why kube-apiserver does not compact it (--etcd-compaction-interval), then run the same command again: it goes on where it stopped"
                    .to_owned(),
            ),
            Self::EtcdFull(_) | Self::EtcdAlarm { .. } => Some(
                "compact and defragment etcd, disarm its alarm (etcdctl alarm disarm), then run the same command again: it goes on where it stopped"
                    .to_owned(),
            ),
            Self::Migration(error) => error.hint(),
            Self::Journal(error) => error.hint(),
        }
    }
}
