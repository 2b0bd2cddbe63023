//! How fast plugins answer: closed-loop load over one connection to each, as kube-apiserver makes it.
//!
//! All targets are measured in turn within each round, so that what else the machine does hits them alike; figures are medians over
//! the rounds. Compare only within one run. Read [`run`] first.

pub mod bare_tonic;
mod connection;
mod process;
mod report;

use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use keystead_proto::{kms_v1, kms_v2};
use prost::Message;
use tokio::task::JoinSet;

use crate::check::Stop;
use crate::options::Socket;
use crate::plugin::{Plugin, V1_VERSION};
use crate::report::Outcome;
use crate::run::{seed, uid};
use connection::Connection;
pub use report::{Cell, PluginMethod, Report, TargetReport};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The plugins; the last is what the others are compared with.
    pub targets: Vec<Target>,
    /// Whether to measure KMS v1 instead of v2.
    pub v1: bool,
    /// How many calls are under way at a time: one row for each.
    pub clients: Vec<usize>,
    /// How long to measure each method with each number of clients at each target, over all rounds.
    pub time: Duration,
    /// In how many rounds; figures are medians over them.
    pub rounds: u32,
}

impl Options {
    /// The defaults: KMS v2, 1, 8 and 64 clients, 5 s in 5 rounds.
    pub fn new(targets: Vec<Target>) -> Self {
        Self { targets, v1: false, clients: vec![1, 8, 64], time: Duration::from_secs(5), rounds: 5 }
    }
}

/// One plugin to measure.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in the report.
    pub name: String,
    /// Where it listens.
    pub socket: Socket,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The target cannot be reached, or breaks off.
    #[error("{target}: {cause}")]
    Target {
        /// The name of the target.
        target: String,
        /// What happened.
        cause: String,
    },
    /// This process cannot make a runtime or a thread.
    #[error("the load generator does not start")]
    Start(#[source] std::io::Error),
}

/// Measures all targets; blocks for methods x clients x targets x time. The load runs on a thread of its own with a runtime of
/// one thread, which is the cheapest client; `progress` hears each cell there.
pub fn run(options: &Options, progress: impl FnMut(&Cell) + Send) -> Result<Report, BenchError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Start)?;
    std::thread::scope(|scope| {
        let load = std::thread::Builder::new().name("load".to_owned());
        let load = load.spawn_scoped(scope, || runtime.block_on(measure(options, progress)));
        let ended = load.map_err(BenchError::Start)?.join();
        ended.map_err(|_| BenchError::Start(std::io::Error::other("its thread panicked")))?
    })
}

async fn measure(options: &Options, mut progress: impl FnMut(&Cell)) -> Result<Report, BenchError> {
    let mut measured = Vec::new();
    for target in &options.targets {
        measured.push(Measured::new(target, options.v1).await?);
    }
    let mut cells = Vec::new();
    for method in [PluginMethod::Encrypt, PluginMethod::Decrypt, PluginMethod::Status] {
        for clients in options.clients.iter().copied() {
            let mut rows: Vec<_> = measured.iter().map(|_| Row::default()).collect();
            for _ in 0..options.rounds.max(1) {
                for (target, row) in measured.iter_mut().zip(&mut rows) {
                    target.slice(method, clients, options.time / options.rounds.max(1), row).await?;
                }
            }
            for (target, row) in measured.iter().zip(rows) {
                let cell = row.cell(&target.name, method, clients);
                progress(&cell);
                cells.push(cell);
            }
        }
    }
    let targets = measured.iter().map(Measured::report).collect();
    let api = if options.v1 { "v1" } else { "v2" };
    Ok(Report { schema: 1, api, seconds: options.time.as_secs_f64(), targets, cells })
}

/// One target with its connection and its requests, encoded beforehand.
struct Measured {
    name: String,
    connection: Connection,
    calls: [(PluginMethod, Vec<Call>); 3],
}

/// One encoded request.
#[derive(Clone)]
pub(crate) struct Call {
    head: http::Request<()>,
    body: Bytes,
}

impl Measured {
    async fn new(target: &Target, v1: bool) -> Result<Self, BenchError> {
        let failed = |cause: String| BenchError::Target { target: target.name.clone(), cause };
        let plugin = Plugin::new(&target.socket, DEADLINE);
        let calls = if v1 { v1_calls(&plugin).await } else { v2_calls(&plugin).await };
        let calls = calls.map_err(|stop| failed(Outcome::from(stop).came))?;
        let connection = Connection::open(&target.socket).await.map_err(failed)?;
        Ok(Self { name: target.name.clone(), connection, calls })
    }

    /// Adds to `row` what one slice of `time` gave.
    async fn slice(
        &mut self,
        method: PluginMethod,
        clients: usize,
        time: Duration,
        row: &mut Row,
    ) -> Result<(), BenchError> {
        let calls = self.calls.iter().find(|(it, _)| *it == method).map(|(_, calls)| calls.clone());
        let calls = calls.unwrap_or_default();
        // Connections, caches and branch predictors get warm.
        self.load(&calls, clients, time / 10).await?;
        let cpu = self.connection.cpu();
        let start = Instant::now();
        let latencies = self.load(&calls, clients, time).await?;
        row.rates.push(latencies.len() as f64 / start.elapsed().as_secs_f64());
        if let (Some(before), Some(after)) = (cpu, self.connection.cpu()) {
            row.cpu = Some(row.cpu.unwrap_or_default() + (after - before));
        }
        // Both have the same bounds, so that adding cannot fail.
        row.latencies = match row.latencies.take() {
            Some(mut all) => all.add(&latencies).map(|()| all).ok(),
            None => Some(latencies),
        };
        Ok(())
    }

    /// `clients` loops that call and wait, for `time`. Latencies in nanoseconds.
    async fn load(
        &self,
        calls: &[Call],
        clients: usize,
        time: Duration,
    ) -> Result<Histogram<u64>, BenchError> {
        let end = Instant::now() + time;
        let mut loops = JoinSet::new();
        for client in 0..clients {
            let mut sender = self.connection.sender();
            let calls = calls.to_vec();
            loops.spawn(async move {
                let mut latencies = histogram()?;
                // Each client begins at another request.
                for call in calls.iter().cycle().skip(client) {
                    let start = Instant::now();
                    if start >= end {
                        break;
                    }
                    sender = match tokio::time::timeout(DEADLINE, connection::call(sender, call)).await {
                        Ok(Ok(sender)) => sender,
                        Ok(Err(cause)) => return Err(cause),
                        Err(_) => return Err(format!("no answer within {DEADLINE:?}")),
                    };
                    latencies
                        .saturating_record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                Ok(latencies)
            });
        }
        let failed = |cause| BenchError::Target { target: self.name.clone(), cause };
        let mut all = histogram().map_err(failed)?;
        while let Some(done) = loops.join_next().await {
            let latencies = done.map_err(|error| error.to_string()).and_then(|it| it);
            let added = latencies.and_then(|it| all.add(&it).map_err(|error| error.to_string()));
            added.map_err(failed)?;
        }
        Ok(all)
    }

    fn report(&self) -> TargetReport {
        let memory = self.connection.pid.and_then(process::memory);
        TargetReport {
            name: self.name.clone(),
            pid: self.connection.pid,
            resident_kib: memory.map(|it| it.resident),
            peak_resident_kib: memory.map(|it| it.peak),
        }
    }
}

/// What all slices of one cell gave.
#[derive(Default)]
struct Row {
    rates: Vec<f64>,
    latencies: Option<Histogram<u64>>,
    cpu: Option<Duration>,
}

impl Row {
    fn cell(mut self, target: &str, method: PluginMethod, clients: usize) -> Cell {
        self.rates.sort_by(f64::total_cmp);
        let requests = self.latencies.as_ref().map_or(0, Histogram::len);
        let nanoseconds = |quantile| self.latencies.as_ref().map_or(0, |it| it.value_at_quantile(quantile));
        let microseconds = |quantile| nanoseconds(quantile) as f64 / 1e3;
        let rate = |place: usize| self.rates.get(place).copied().unwrap_or_default();
        Cell {
            target: target.to_owned(),
            method,
            clients,
            requests,
            rate: rate(self.rates.len() / 2),
            slowest_rate: rate(0),
            fastest_rate: rate(self.rates.len().saturating_sub(1)),
            p50_us: microseconds(0.5),
            p99_us: microseconds(0.99),
            p999_us: microseconds(0.999),
            cpu_us: self.cpu.map(|it| it.as_secs_f64() * 1e6 / requests.max(1) as f64),
        }
    }
}

async fn v2_calls(plugin: &Plugin) -> Result<[(PluginMethod, Vec<Call>); 3], Stop> {
    let (mut encrypt, mut decrypt) = (Vec::new(), Vec::new());
    for _ in 0..SEEDS {
        let request = kms_v2::EncryptRequest { plaintext: seed()?, uid: uid() };
        encrypt.push(call("http://localhost/v2.KeyManagementService/Encrypt", &request));
        let sealed = plugin.encrypt(request).await?;
        let (ciphertext, key_id, annotations) = (sealed.ciphertext, sealed.key_id, sealed.annotations);
        let request = kms_v2::DecryptRequest { ciphertext, uid: uid(), key_id, annotations };
        decrypt.push(call("http://localhost/v2.KeyManagementService/Decrypt", &request));
    }
    let status = vec![call("http://localhost/v2.KeyManagementService/Status", &kms_v2::StatusRequest {})];
    Ok([(PluginMethod::Encrypt, encrypt), (PluginMethod::Decrypt, decrypt), (PluginMethod::Status, status)])
}

async fn v1_calls(plugin: &Plugin) -> Result<[(PluginMethod, Vec<Call>); 3], Stop> {
    let version = || V1_VERSION.to_owned();
    let (mut encrypt, mut decrypt) = (Vec::new(), Vec::new());
    for _ in 0..SEEDS {
        let plain = seed()?;
        let request = kms_v1::EncryptRequest { version: version(), plain: plain.clone() };
        encrypt.push(call("http://localhost/v1beta1.KeyManagementService/Encrypt", &request));
        let request = kms_v1::DecryptRequest { version: version(), cipher: plugin.v1_encrypt(plain).await? };
        decrypt.push(call("http://localhost/v1beta1.KeyManagementService/Decrypt", &request));
    }
    let request = kms_v1::VersionRequest { version: version() };
    let status = vec![call("http://localhost/v1beta1.KeyManagementService/Version", &request)];
    Ok([(PluginMethod::Encrypt, encrypt), (PluginMethod::Decrypt, decrypt), (PluginMethod::Status, status)])
}

fn call(path: &'static str, request: &impl Message) -> Call {
    let mut head = http::Request::new(());
    *head.method_mut() = http::Method::POST;
    *head.uri_mut() = http::Uri::from_static(path);
    let headers = head.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
    headers.insert("te", http::HeaderValue::from_static("trailers"));
    Call { head, body: crate::raw::grpc_frame(&request.encode_to_vec()).into() }
}

/// From 1 us to one minute, in nanoseconds, to three digits.
fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).map_err(|error| error.to_string())
}

/// Different seeds in turn: as many as an API server with some history asks for when it starts.
const SEEDS: usize = 64;
/// A call that takes longer ends the measurement: kube-apiserver gives up after 3 s.
const DEADLINE: Duration = Duration::from_secs(10);
