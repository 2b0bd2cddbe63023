//! A client with the addresses of all API servers: it uses its own, and another one while that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keystead_testkit::api::{Client, Error, Kind, Object};
use tokio::time::Instant;

/// As long as one API server itself takes at most for a request.
const PATIENCE: Duration = Duration::from_secs(60);
/// After no API server took the call.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Clients {
    servers: Vec<Client>,
    own: usize,
    pub(crate) turned_away: Arc<TurnedAway>,
}

/// What another API server made good.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    /// Nobody listens.
    pub(crate) refused: AtomicU64,
    /// The connection ended before the answer.
    pub(crate) cut: AtomicU64,
    /// 429 and 503: an API server that starts or ends.
    pub(crate) told_to_wait: AtomicU64,
}

/// One call, at one API server after another.
pub(crate) struct Attempts<'a> {
    clients: &'a Clients,
    number: usize,
    deadline: Instant,
}

impl Clients {
    pub(crate) fn new(servers: Vec<Client>, own: usize) -> Self {
        Self { servers, own, turned_away: Arc::default() }
    }

    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { clients: self, number: 0, deadline: Instant::now() + PATIENCE }
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Object, String> {
        let mut attempts = self.attempts();
        loop {
            match attempts.server().get(Kind::Secret, "default", name).await {
                Ok(secret) => return Ok(secret),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// One that is there already may be ours, if its answer was lost.
    pub(crate) async fn create(&self, secret: &Object) -> Result<(), String> {
        let mut attempts = self.attempts();
        loop {
            match attempts.server().create(secret).await {
                Ok(_) => return Ok(()),
                Err(error) if error.status() == Some(409) && attempts.number > 0 => return Ok(()),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }
}

impl Attempts<'_> {
    /// The one whose turn it is.
    pub(crate) fn server(&self) -> &Client {
        let servers = &self.clients.servers;
        &servers[(self.clients.own + self.number) % servers.len()]
    }

    /// Goes on to the next API server if this one is away. The call has failed if it answered with any other error, or if all
    /// are away for [`PATIENCE`].
    pub(crate) async fn failed(&mut self, error: Error) -> Result<(), String> {
        let away = &self.clients.turned_away;
        let count = match &error {
            Error::Transport(reason) if reason.is_connect() => &away.refused,
            Error::Transport(_) => &away.cut,
            Error::Status { status: 429 | 503, .. } => &away.told_to_wait,
            _ => return Err(format!("{}: {error}", self.server().url())),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if Instant::now() > self.deadline {
            return Err(format!("no API server takes the call for {PATIENCE:?}: {error}"));
        }
        self.number += 1;
        if self.number.is_multiple_of(self.clients.servers.len()) {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
