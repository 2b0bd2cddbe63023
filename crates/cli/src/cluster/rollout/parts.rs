//! Several hosts, each with a command of its own: one drives, and the others do their parts.

use std::time::{Duration, Instant};

use keystead_cluster::api::ApiServer;
use keystead_cluster::executor::{DriverLease, HostAccess, Part, PartError, PeerHost};
use keystead_runtime::{Failure, Tasks};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::stop::stopped;
use super::told::tell;
use crate::cluster::reencrypt::exit;

/// What this host does for a driver elsewhere, while its own command runs.
pub(super) struct RunningPart {
    tasks: Tasks,
    /// Why it ended by itself.
    failed: oneshot::Receiver<PartError>,
}

impl RunningPart {
    /// If it cannot go on, `stop` is cancelled.
    pub(super) fn start(part: Part, stop: &CancellationToken) -> Self {
        let (fail, failed) = oneshot::channel();
        let tasks = Tasks::default();
        let (ended, stop) = (tasks.stopping(), stop.clone());
        tasks.spawn("does the part of this host", async move {
            if let Err(error) = part.serve(&ended, &mut |text| tell(text)).await {
                fail.send(error).ok();
                stop.cancel();
            }
        });
        Self { tasks, failed }
    }

    /// The others see that it has ended. Why it did so before, if it did.
    pub(super) async fn end(mut self) -> Option<Failure> {
        self.tasks.drain(PART_ENDS).await;
        let error = self.failed.try_recv().ok()?;
        Some(Failure::from_error(&error).exit(exit(error.class())))
    }
}

/// The other hosts, as soon as each does its part.
pub(super) async fn await_parts(
    names: Vec<String>,
    servers: &[ApiServer],
    lease: &DriverLease,
    patience: Duration,
    stop: &CancellationToken,
) -> Result<Vec<HostAccess>, Failure> {
    let driver = lease.driver();
    let peers: Vec<PeerHost> = names.into_iter().map(|name| peer(name, servers, driver, ANSWER)).collect();
    let began = Instant::now();
    let mut told = Vec::new();
    loop {
        let mut missing = Vec::new();
        for peer in &peers {
            let is_there = tokio::select! {
                () = stop.cancelled() => return Err(stopped()),
                is_there = peer.is_there() => is_there,
            };
            if !is_there {
                missing.push(peer.name.clone());
            }
        }
        if missing.is_empty() {
            return Ok(peers.into_iter().map(HostAccess::Peer).collect());
        }
        let (names, command) = (missing.join(", "), command_elsewhere(std::env::args().skip(1)));
        if began.elapsed() > patience {
            return Err(Failure::new(format!("no command does the part of {names}"))
                .hint(format!("run there: {command}; or say that a host is gone for good with --removed")));
        }
        if told != missing {
            tell(&format!("waits for {names}: run there: {command}"));
            told = missing;
        }
    }
}

/// The others, who are not asked: a plan alone takes no Lease and writes nothing.
pub(super) fn unasked(names: Vec<String>, servers: &[ApiServer]) -> Vec<HostAccess> {
    names.into_iter().map(|name| HostAccess::Peer(peer(name, servers, "nobody", Duration::ZERO))).collect()
}

fn peer(name: String, servers: &[ApiServer], driver: &str, limit: Duration) -> PeerHost {
    PeerHost { name, servers: servers.to_vec(), driver: driver.to_owned(), limit }
}

/// This very command, for a shell on another host: without the names of hosts, which are others from there.
fn command_elsewhere(words: impl Iterator<Item = String>) -> String {
    let mut command = vec!["keystead".to_owned()];
    let (mut names_node, mut names_hosts) = (false, false);
    let mut words = words;
    while let Some(word) = words.next() {
        let flag = word.split_once('=').map_or(word.as_str(), |(flag, _)| flag);
        match flag {
            "--node" => names_node = true,
            "--host" => names_hosts = true,
            _ => {
                command.push(quoted(&word));
                continue;
            }
        }
        if flag == word {
            words.next();
        }
    }
    let mut command = command.join(" ");
    if names_node {
        command.push_str(" --node NAME_OF_THAT_NODE");
    }
    if names_hosts {
        command.push_str(" --host EACH_OTHER_NODE");
    }
    command
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./:=@%+,".contains(it);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// What it does for a driver that has ended takes some seconds.
const PART_ENDS: Duration = Duration::from_secs(15);
/// As long as a look over ssh: it asks plugins that may each take some seconds, and a host whose command was cut may come back.
const ANSWER: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::command_elsewhere;

    #[test]
    fn what_is_to_run_elsewhere_has_no_names_of_this_host() {
        let command = |words: &[&str]| command_elsewhere(words.iter().map(|it| (*it).to_owned()));
        let given = [
            "cluster",
            "enable",
            "--node",
            "cp-1",
            "--host=cp-2",
            "--host",
            "cp-3",
            "--name",
            "it's a b",
            "--yes",
        ];
        assert_eq!(
            command(&given),
            r"keystead cluster enable --name 'it'\''s a b' --yes --node NAME_OF_THAT_NODE --host EACH_OTHER_NODE"
        );
        let given = ["cluster", "disable", "--over", "cluster", "--node=cp-1", "--yes"];
        assert_eq!(command(&given), "keystead cluster disable --over cluster --yes --node NAME_OF_THAT_NODE");
        let given = ["cluster", "rotate", "--to", "$(id)", "--yes"];
        assert_eq!(command(&given), "keystead cluster rotate --to '$(id)' --yes");
    }
}
