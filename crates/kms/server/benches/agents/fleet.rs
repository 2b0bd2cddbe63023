//! Many agents, each of a cluster of its own with one host: so each is told by an operation of its own, which is what costs a server
//! most. Each connects from an address of its own, as hosts do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keystead_testkit::kms_server::KmsServer;
use reqwest::{Certificate, Identity, Method};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::played_agent::{self, Agent, PROJECT, ask, encryption};

/// Clusters that a project may have.
const OF_A_PROJECT: usize = 500;
/// Calls under way while clusters are made and told.
const AT_ONCE: usize = 32;
/// As an agent whose server does not answer waits at first, at least.
const RETRY: Duration = Duration::from_secs(1);

/// Agents that report whenever they are to.
pub(crate) struct Fleet {
    pub(crate) clusters: Vec<String>,
    /// Certificate and key of each.
    pub(crate) identities: Vec<[String; 2]>,
    agents: Vec<Agent>,
    seen: Arc<Seen>,
    /// Where the server is; none: nobody connects.
    server: watch::Sender<Option<String>>,
    running: JoinSet<()>,
}

/// What they have heard.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    /// Statuses other than 200, and how often; 0: no whole answer came.
    refused: Mutex<BTreeMap<u16, usize>>,
    /// Of each, since it was last asked for.
    heard: Vec<AtomicBool>,
    told: Vec<AtomicBool>,
}

impl Fleet {
    /// Makes the clusters and has their hosts join, one after another on each project.
    pub(crate) async fn new(server: &Arc<KmsServer>, count: usize) -> Result<Self> {
        played_agent::prepare(server).await?;
        played_agent::create_key(server, "k").await?;
        let projects = count.div_ceil(OF_A_PROJECT);
        for number in 1..projects {
            let made = server.create_project(&project(number)).await?;
            let account =
                format!("serviceAccount:service-{made}@container-engine-robot.iam.gserviceaccount.com");
            let ring = format!("/v1/{}/keyRings/ring", played_agent::LOCATION);
            server.grant(&ring, Method::GET, "roles/cloudkms.cryptoKeyEncrypterDecrypter", &account).await?;
        }
        let clusters: Vec<String> = (0..count)
            .map(|number| {
                let project = project(number / OF_A_PROJECT);
                format!("projects/{project}/locations/us-central1/clusters/c-{number}")
            })
            .collect();
        let made = at_once(&clusters, |cluster| {
            let server = Arc::clone(server);
            async move {
                let (parent, name) = cluster.split_once("/clusters/").context("the name of a cluster")?;
                let body = json!({ "cluster": { "name": name, "initialNodeCount": 1 } });
                server.ok(Method::POST, &format!("/v1/{parent}/clusters"), Some(&body)).await?;
                Agent::join(&server, &cluster, "cp-1").await
            }
        });
        let agents = made.await?;
        let identities = agents.iter().map(|it| it.identity.clone()).collect();
        let flags = || (0..count).map(|_| AtomicBool::new(false)).collect();
        let seen = Arc::new(Seen { heard: flags(), told: flags(), ..Seen::default() });
        Ok(Self {
            clusters,
            identities,
            agents,
            seen,
            server: watch::Sender::new(None),
            running: JoinSet::new(),
        })
    }

    /// From now on each reports, on a connection of its own.
    pub(crate) async fn start(&mut self, server: &KmsServer) -> Result<()> {
        let authorities = Certificate::from_pem_bundle(&std::fs::read(server.ca_file())?)?;
        self.server.send_replace(Some(server.endpoint().to_owned()));
        for (number, mut agent) in std::mem::take(&mut self.agents).into_iter().enumerate() {
            let [.., high, low] = u32::try_from(number)?.to_be_bytes();
            let address = IpAddr::V4(Ipv4Addr::new(127, 1, high, low.max(1)));
            agent.http = reqwest::Client::builder()
                .tls_certs_only(authorities.clone())
                .identity(Identity::from_pem(agent.identity.concat().as_bytes())?)
                .local_address(address)
                .no_proxy()
                .build()?;
            let (seen, server) = (Arc::clone(&self.seen), self.server.subscribe());
            self.running.spawn(run(number, agent, seen, server));
        }
        self.everybody_was_heard().await.map(drop)
    }

    /// How many reports were taken since the beginning.
    pub(crate) fn taken(&self) -> usize {
        self.seen.answers.load(Ordering::Relaxed)
    }

    /// How many were not since this was last asked, by status; 0: no whole answer came.
    pub(crate) fn refused(&self) -> BTreeMap<u16, usize> {
        std::mem::take(&mut *self.seen.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The server is away, and everybody waits for it.
    pub(crate) fn server_is_away(&self) {
        self.server.send_replace(None);
    }

    /// It is back, and all connect at once, which is more than they do: an agent waits for a second at least, and not all the same time.
    pub(crate) async fn server_is_back(&self, server: &KmsServer) -> Result<Duration> {
        self.server.send_replace(Some(server.endpoint().to_owned()));
        self.everybody_was_heard().await
    }

    /// Waits until each has had an answer from now on.
    async fn everybody_was_heard(&self) -> Result<Duration> {
        self.seen.heard.iter().for_each(|it| it.store(false, Ordering::Relaxed));
        all(&self.seen.heard).await
    }

    /// Has each cluster brought to the key, and says how long it took until all updates were begun, all hosts told, and all operations ended.
    pub(crate) async fn step(&self, server: &Arc<KmsServer>) -> Result<[Duration; 3]> {
        self.seen.told.iter().for_each(|it| it.store(false, Ordering::Relaxed));
        let began = Instant::now();
        let key = played_agent::key("k");
        let updates = at_once(&self.clusters, |cluster| {
            let body = json!({ "update": { "desiredDatabaseEncryption": encryption(Some(&key)) } });
            let server = Arc::clone(server);
            async move { server.ok(Method::PUT, &format!("/v1/{cluster}"), Some(&body)).await }
        });
        updates.await?;
        let begun = began.elapsed();
        all(&self.seen.told).await?;
        let told = began.elapsed();
        let mut open = true;
        while open {
            open = false;
            for number in 0..self.clusters.len().div_ceil(OF_A_PROJECT) {
                let path = format!("/v1/projects/{}/locations/-/clusters", project(number));
                let listed = server.ok(Method::GET, &path, None).await?;
                let clusters = listed["clusters"].as_array().context("clusters")?;
                open |= clusters.iter().any(|it| it["status"] != "RUNNING");
            }
        }
        Ok([begun, told, began.elapsed()])
    }
}

fn project(number: usize) -> String {
    if number == 0 { PROJECT.to_owned() } else { format!("{PROJECT}-{number}") }
}

/// One agent, which reports when the server said that it should.
async fn run(number: usize, mut agent: Agent, seen: Arc<Seen>, mut server: watch::Receiver<Option<String>>) {
    loop {
        let Ok(endpoint) = server.wait_for(Option::is_some).await.map(|it| it.clone().unwrap_or_default())
        else {
            return;
        };
        let report = agent.report();
        let pause = match ask(agent.request(&endpoint, "agent:report", &report)).await {
            Some((200, answer)) => {
                agent.follow(&answer);
                seen.answers.fetch_add(1, Ordering::Relaxed);
                seen.heard[number].store(true, Ordering::Relaxed);
                seen.told[number].fetch_or(answer.get("instruction").is_some(), Ordering::Relaxed);
                let seconds =
                    answer["reportAfter"].as_str().and_then(|it| it.trim_end_matches('s').parse().ok());
                Duration::from_secs(seconds.unwrap_or(5))
            }
            other => {
                let status = other.map_or(0, |(status, _)| status);
                let mut refused = seen.refused.lock().unwrap_or_else(PoisonError::into_inner);
                *refused.entry(status).or_default() += 1;
                RETRY
            }
        };
        // A server that comes back is not waited for any longer.
        drop(tokio::time::timeout(pause, server.changed()).await);
    }
}

async fn all(flags: &[AtomicBool]) -> Result<Duration> {
    let began = Instant::now();
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !flags.iter().all(|it| it.load(Ordering::Relaxed)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.context("some agents hear nothing")?;
    Ok(began.elapsed())
}

async fn at_once<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    items: &[String],
    act: impl Fn(String) -> F,
) -> Result<Vec<T>> {
    let (mut running, mut done) = (JoinSet::new(), Vec::with_capacity(items.len()));
    for item in items {
        if running.len() == AT_ONCE {
            done.push(running.join_next().await.context("some are running")???);
        }
        running.spawn(act(item.clone()));
    }
    while let Some(one) = running.join_next().await {
        done.push(one??);
    }
    Ok(done)
}
