//! What the agent did last, in a file: for people, and so that the numbers of its reports grow.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keystead_runtime::whole_file::{self, Readers};
use keystead_runtime::{Failure, print_result};
use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::identity::Identity;
use crate::output::visible;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    /// The number of the last report.
    pub(super) sequence: u64,
    /// When the server last answered.
    pub(super) heard: Option<Timestamp>,
    /// Why it does not answer now.
    pub(super) trouble: Option<String>,
    /// What is done for which operation, in words.
    pub(super) work: Option<String>,
}

impl Status {
    fn file(state: &Path) -> PathBuf {
        state.join("status.json")
    }

    /// What was kept; nothing where that cannot be read.
    pub(super) fn read(state: &Path) -> Self {
        let bytes = std::fs::read(Self::file(state)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Whether it is kept: an agent whose disk is full goes on.
    pub(super) fn write(&self, state: &Path) -> std::io::Result<()> {
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        whole_file::replace(&Self::file(state), &bytes, Readers::Owner)
    }
}

pub(super) fn show(configuration: &Configuration) -> Result<(), Failure> {
    let Some(joined) = Identity::of(&configuration.state).joined()? else {
        return Err(Failure::new("this host has not joined a cluster").hint(
            "`keystead container clusters hosts invite` gives a token, and `keystead agent join` takes it"
                .to_owned(),
        ));
    };
    let status = Status::read(&configuration.state);
    let heard = status.heard.map_or_else(|| "never".to_owned(), |time| time.to_string());
    let mut text = format!(
        "host         {}\nnode         {}\nserver       {}\ncertificate  until {}\nheard        {heard}\n",
        joined.host, joined.node, joined.server, joined.expires
    );
    for (name, value) in [("trouble", &status.trouble), ("work", &status.work)] {
        if let Some(value) = value {
            text.push_str(&format!("{name:<12} {}\n", visible(value)));
        }
    }
    print_result(&text)
}
