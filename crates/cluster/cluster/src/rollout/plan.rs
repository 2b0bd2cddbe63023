//! A plan: what is done, what comes next and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::configuration::{Configuration, Order, Provider};

/// The whole way, and what is safe now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The goal in words.
    pub goal: String,
    /// All phases in their order.
    pub phases: Vec<PhaseLine>,
    /// What is safe now.
    pub next: Next,
}

/// One phase of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseLine {
    /// The phase.
    pub phase: Phase,
    /// Where it stands.
    pub progress: Progress,
}

/// Parts of a rollout, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What must be so before anything is changed.
    Check,
    /// Every server reads what any server writes, and what is stored.
    Read,
    /// Every server writes with the goal's provider; one goes first.
    Write,
    /// Every server uses its file.
    Load,
    /// Every server uses the new key.
    Adopt,
    /// What is written through one server is read through every other.
    Prove,
    /// Everything stored is rewritten, and counted.
    Reencrypt,
    /// What nobody needs any more goes.
    Drop,
}

/// Where a phase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Nothing is left to do in it.
    Done,
    /// The next steps are part of it.
    Now,
    /// Comes after what is now.
    Later,
}

/// What can be done now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Each of these is safe, in any order and together. Then observe again.
    Steps(Vec<PlannedStep>),
    /// Nothing is safe until somebody acts. What runs goes on as it is.
    Blocked(Vec<Obstacle>),
    /// The goal is reached; what may follow.
    Done(Vec<String>),
}

/// A step and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What to do.
    pub step: Step,
    /// One sentence.
    pub reason: String,
}

/// Something to do. Each may be done twice, and cut anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Write this order into the file of a host, and set the flag if it is not set.
    Write {
        /// The host.
        server: String,
        /// The providers.
        order: Order,
    },
    /// Take the flag away on a host. The plugin stays.
    RemoveFlag {
        /// The host.
        server: String,
    },
    /// Restart one API server. A kubelet does so by itself when the manifest changed.
    Restart {
        /// The host.
        server: String,
    },
    /// Wait until something is so. Never a time.
    Wait {
        /// The host.
        server: String,
        /// What must become so.
        until: Fact,
    },
    /// Make a key id the one that the plugins encrypt with.
    PromoteKey {
        /// The KMS entry.
        provider: Provider,
        /// The new key id.
        key_id: String,
    },
    /// Write an object through this server and read it through every other.
    Canary {
        /// The server that writes.
        server: String,
    },
    /// Rewrite everything that is stale, once through.
    Reencrypt {
        /// The resource.
        resource: String,
        /// Whether an interrupted pass may go on where it was; otherwise, and when none is interrupted any more, it starts over.
        resume: bool,
    },
    /// Count in etcd.
    TakeInventory {
        /// The resource.
        resource: String,
    },
}

/// What a wait waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// `/readyz` is ok.
    Ready,
    /// The server uses this.
    Loaded {
        /// The configuration.
        configuration: Configuration,
    },
    /// The plugin's Status has this key id.
    Reports {
        /// The KMS entry: a host has a plugin for each of its entries.
        provider: Provider,
        /// The key id.
        key_id: String,
    },
    /// The server saw this key id in the plugin's Status.
    Sees {
        /// The KMS entry.
        provider: Provider,
        /// The key id.
        key_id: String,
    },
}

/// Why nothing can be done, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// What is wrong.
    pub reason: String,
    /// What a person can do.
    pub action: String,
}

impl Next {
    /// Steps if there are any, else the obstacles; none if there is neither.
    pub(super) fn of(steps: Vec<PlannedStep>, obstacles: Vec<Obstacle>) -> Option<Self> {
        if !steps.is_empty() {
            return Some(Self::Steps(steps));
        }
        (!obstacles.is_empty()).then_some(Self::Blocked(obstacles))
    }
}

impl Step {
    pub(super) fn because(self, reason: impl Into<String>) -> PlannedStep {
        PlannedStep { step: self, reason: reason.into() }
    }
}

impl Obstacle {
    pub(super) fn new(reason: impl Into<String>, action: impl Into<String>) -> Self {
        Self { reason: reason.into(), action: action.into() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "To {}:", self.goal)?;
        for PhaseLine { phase, progress } in &self.phases {
            let mark = match progress {
                Progress::Done => "done ",
                Progress::Now => "now  ",
                Progress::Later => "later",
            };
            writeln!(f, "  {mark}  {phase}")?;
        }
        match &self.next {
            Next::Steps(steps) => {
                writeln!(f, "Next:")?;
                steps.iter().try_for_each(|it| writeln!(f, "  {it}"))
            }
            Next::Blocked(obstacles) => {
                writeln!(f, "Nothing more is safe now:")?;
                obstacles.iter().try_for_each(|it| writeln!(f, "  {it}"))
            }
            Next::Done(remarks) => {
                writeln!(f, "Done.")?;
                remarks.iter().try_for_each(|it| writeln!(f, "  {it}"))
            }
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "check what must be so before anything changes",
            Self::Read => "let every API server read what any of them writes",
            Self::Write => "let one API server write in the new way, then all",
            Self::Load => "let every API server use its file",
            Self::Adopt => "let every API server use the new key",
            Self::Prove => "prove that what one API server writes every other reads",
            Self::Reencrypt => "re-encrypt what is stored, and count it in etcd",
            Self::Drop => "take away what nothing needs any more",
        })
    }
}

impl fmt::Display for PlannedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.reason)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { server, order } => write!(f, "write {order} on {server}"),
            Self::RemoveFlag { server } => write!(f, "remove --encryption-provider-config on {server}"),
            Self::Restart { server } => write!(f, "restart the API server on {server}"),
            Self::Wait { server, until } => write!(f, "wait until {server} {until}"),
            Self::PromoteKey { provider, key_id } => write!(f, "make {key_id} the key of {provider}"),
            Self::Canary { server } => {
                write!(f, "write a canary through {server} and read it through the others")
            }
            Self::Reencrypt { resource, resume: false } => write!(f, "re-encrypt {resource}"),
            Self::Reencrypt { resource, resume: true } => write!(f, "go on re-encrypting {resource}"),
            Self::TakeInventory { resource } => write!(f, "count {resource} in etcd"),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("is ready"),
            Self::Loaded { configuration } => write!(f, "uses {configuration}"),
            Self::Reports { provider, key_id } => {
                write!(f, "has a plugin of {provider} that reports key id {key_id}")
            }
            Self::Sees { provider, key_id } => write!(f, "sees key id {key_id} of {provider}"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.reason, self.action)
    }
}
