//! kube-apiserver as a service of systemd: what systemd says of its unit, its command, and the drop-in that changes it.
//!
//! Nothing is asked here, and no unit file is interpreted: systemd says what is in force, and the running process says whether that was
//! understood. The drop-in replaces `ExecStart=` by the same words and those about encryption, variables left as they are, so that an
//! `EnvironmentFile=` goes on to count.

mod command;
mod drop_in;
mod shown;
mod view;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::api_server_facts::BadFlag;

pub use command::{
    differing, expanded, has_variables, inline_variables, is_kube_apiserver, variables, with_encryption,
    without_encryption,
};
pub use drop_in::{DropIn, Marks, NAME, commands_digest, words as drop_in_words};
pub use shown::{PROPERTIES, RunsAs, Shown};
pub use view::View;

/// Something about a unit that a person has to settle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// What was seen.
    pub evidence: String,
    /// What to do. What stands between backquotes is a command.
    pub advice: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.evidence, self.advice)
    }
}

/// Why a unit was not read or changed. It is as it was, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// No such unit, or one that systemd refuses.
    #[error("systemd has no unit {unit}, or does not take it: it is {state}")]
    NotLoaded {
        /// The unit.
        unit: String,
        /// `LoadState`.
        state: String,
    },
    /// It was asked in vain.
    #[error("`{command}` failed: {reason}")]
    Systemd {
        /// What was run.
        command: String,
        /// Its words.
        reason: String,
    },
    /// Flags behind a script could be anything.
    #[error(
        "{unit} does not run kube-apiserver itself, but {found}: write `ExecStart=` with kube-apiserver's path and its flags, or with a variable of an `EnvironmentFile=` that holds them"
    )]
    Command {
        /// The unit.
        unit: String,
        /// What was found.
        found: String,
    },
    /// What it would start with is not what is read.
    #[error("{0}")]
    Unsettled(Doubt),
    /// kube-apiserver does not start with it.
    #[error("{unit}: {source}")]
    Flag {
        /// The unit.
        unit: String,
        /// What is wrong.
        source: BadFlag,
    },
    /// It has a file system of its own.
    #[error("kube-apiserver does not see {path}, because {by} of {unit} hides it")]
    Hidden {
        /// The unit.
        unit: String,
        /// What it would have to see.
        path: String,
        /// The directive.
        by: String,
    },
    /// Its command is known only of a process.
    #[error(
        "what {unit} would start kube-apiserver with depends on variables that only a running process tells, and it is {state}: start it, or look at why it does not start (`systemctl status {unit}`), and run the command again"
    )]
    Down {
        /// The unit.
        unit: String,
        /// `ActiveState`.
        state: String,
    },
    /// It has a user, and no process that shows which.
    #[error(
        "kube-apiserver is to read files and open a socket as `{user}` of {unit} says, and it is not known who that is while it does not run ({reason}): start {unit}, or make that user, and run the command again"
    )]
    NoUser {
        /// The unit.
        unit: String,
        /// The directive.
        user: String,
        /// Why not.
        reason: String,
    },
    /// It is not root.
    #[error("kube-apiserver is user {user}, by `User=` of {unit}, and {may_not} {}", path.display())]
    Closed {
        /// The unit.
        unit: String,
        /// Its number.
        user: u32,
        /// What it may not do.
        may_not: &'static str,
        /// With what.
        path: PathBuf,
    },
    /// The flag leads to another file.
    #[error(
        "--encryption-provider-config is {given} already, not {wanted}: name that file with --configuration, or remove the flag first"
    )]
    OtherConfiguration {
        /// What is written.
        given: String,
        /// What was to be written.
        wanted: String,
    },
    /// It is in no word of the command.
    #[error("--encryption-provider-config is not in `ExecStart=` of {unit}, but in a variable of it, which is a person's: take it out there ({}), restart the unit, and run the command again", files.join(", "))]
    FlagInVariable {
        /// The unit.
        unit: String,
        /// Where variables come from.
        files: Vec<String>,
    },
    /// What a person changed would be lost.
    #[error("{0}")]
    ChangedBelow(Doubt),
    /// systemd read something else.
    #[error(
        "with {} systemd would start another command than was meant: {found}; a drop-in behind it with `ExecStart=` may be the reason", drop_in.display()
    )]
    NotTaken {
        /// The drop-in.
        drop_in: PathBuf,
        /// What systemd has.
        found: String,
    },
    /// Something went wrong after the write.
    #[error("{reason}; {} is as it was before", drop_in.display())]
    TakenBack {
        /// The drop-in.
        drop_in: PathBuf,
        /// What.
        reason: String,
    },
    /// It is not as it was.
    #[error(
        "{reason}; and it could not be made as it was before ({why}): look at {}, then run `systemctl daemon-reload`", drop_in.display()
    )]
    Left {
        /// The drop-in.
        drop_in: PathBuf,
        /// What went wrong first.
        reason: String,
        /// What went wrong then.
        why: String,
    },
}
