//! Several hosts, each with a command of its own: one drives, and the others do their parts.

use std::time::{Duration, Instant};

use keystead_cluster::api::ApiServer;
use keystead_cluster::executor::{DriverLease, HostAccess, LeaseError, Part, PeerHost, Record, Wants};
use keystead_runtime::{Failure, Tasks};
use tokio_util::sync::CancellationToken;

use super::Aim;
use super::driver::{not_driving, take_lease};
use super::looks::BETWEEN_LOOKS;
use super::told::tell;
use crate::cluster::rollout_args::FleetArgs;

/// What this host does for a driver elsewhere, while its own command runs.
pub(super) struct RunningPart(Tasks);

impl RunningPart {
    pub(super) fn start(fleet: &FleetArgs, servers: &[ApiServer], aim: &Aim) -> Result<Self, Failure> {
        let wants = match aim {
            Aim::Goal(goal, plugins) => Wants::Goal(goal.clone(), plugins.clone()),
            Aim::Rotate(..) => Wants::Rotate,
            Aim::Undo => Wants::Undo,
            Aim::Continue => Wants::Continue,
        };
        let part = Part { host: fleet.here()?, servers: servers.to_vec(), wants };
        let tasks = Tasks::default();
        tasks.spawn("does the part of this host", part.serve(tasks.stopping()));
        Ok(Self(tasks))
    }

    /// The others see that it has ended.
    pub(super) async fn end(self) {
        self.0.drain(PART_ENDS).await;
    }
}

/// Takes the Lease, at once or when whoever drives has ended. None: that one reached its goal, with the part of this host.
pub(super) async fn take_turn(
    servers: &[ApiServer],
    holder: &str,
    stop: &CancellationToken,
    patience: Duration,
) -> Result<Option<(DriverLease, Option<Record>)>, Failure> {
    let mut driving: Option<String> = None;
    let mut answered = Instant::now();
    loop {
        match take_lease(servers, holder, stop, driving.is_none()).await {
            Ok((lease, record)) => {
                if let Some(record) = record.as_ref().filter(|it| it.reached && driving.is_some()) {
                    tell(&format!("done: {}", record.goal));
                    lease.release().await;
                    return Ok(None);
                }
                return Ok(Some((lease, record)));
            }
            Err(LeaseError::Held(other)) => {
                if driving.as_ref() != Some(&other) {
                    tell(&format!("{other} drives, and this host does its part"));
                }
                driving = Some(other);
                answered = Instant::now();
            }
            // The rollout itself restarts API servers.
            Err(error) if error.is_away() && answered.elapsed() < patience => {}
            Err(error) => return Err(not_driving(&error)),
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// The other hosts, as soon as each does its part.
pub(super) async fn await_parts(
    names: Vec<String>,
    servers: &[ApiServer],
    lease: &DriverLease,
    patience: Duration,
) -> Result<Vec<HostAccess>, Failure> {
    let driver = lease.driver().await;
    let peers: Vec<PeerHost> = names.into_iter().map(|name| peer(name, servers, &driver, ANSWER)).collect();
    let began = Instant::now();
    let mut told = Vec::new();
    loop {
        let mut missing = Vec::new();
        for peer in &peers {
            if !peer.is_there().await {
                missing.push(peer.name.clone());
            }
        }
        if missing.is_empty() {
            return Ok(peers.into_iter().map(HostAccess::Peer).collect());
        }
        let names = missing.join(", ");
        if began.elapsed() > patience {
            return Err(Failure::new(format!("no command does the part of {names}")).hint(format!(
                "run there: {}; or say that a host is gone for good with --removed",
                command_line()
            )));
        }
        if told != missing {
            tell(&format!("waits for {names}: run there: {}", command_line()));
            told = missing;
        }
    }
}

/// The others, asked without waiting: a plan alone takes no Lease, so that no part does anything for it.
pub(super) fn unasked(names: Vec<String>, servers: &[ApiServer]) -> Vec<HostAccess> {
    names.into_iter().map(|name| HostAccess::Peer(peer(name, servers, "nobody", Duration::ZERO))).collect()
}

fn peer(name: String, servers: &[ApiServer], driver: &str, limit: Duration) -> PeerHost {
    PeerHost { name, servers: servers.to_vec(), driver: driver.to_owned(), limit }
}

/// This very command: every host is asked for the same.
fn command_line() -> String {
    let words = std::env::args().skip(1);
    std::iter::once("keystead".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// What it does for a driver that has ended takes some seconds.
const PART_ENDS: Duration = Duration::from_secs(15);
/// As long as a look over ssh: it asks plugins that may each take some seconds, and a host whose command was cut may come back.
const ANSWER: Duration = Duration::from_secs(120);
