//! What is measured, in which order, and how it is printed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use keystead_proto::cloud_kms::EncryptRequest;
use keystead_testkit::kms_server::KmsServer;
use prost::Message as _;
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use crate::connection::{Call, Connection, Target};
use crate::fleet::Fleet;
use crate::load::cpu;
use crate::played_agent::key;
use crate::{bare_tonic, stage};

/// Issue 10's aims: memory of the server for each agent, and how long a step over all takes.
const MEMORY_AIM: u64 = 64;
const STEP_AIM: Duration = Duration::from_secs(10);
/// How long the agents report while what that costs is measured: four times each.
const IDLE: Duration = Duration::from_secs(20);
/// How long somebody encrypts while nothing else happens.
const ALONE: Duration = Duration::from_secs(5);

/// Measures everything and prints it.
pub(crate) async fn print() -> Result<()> {
    let count = std::env::var("AGENTS").ok().and_then(|it| it.parse().ok()).unwrap_or(1_000);
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let program = Path::new(env!("CARGO_BIN_EXE_keystead-server"));
    let server = KmsServer::start_with(program, &data, &["--log-level", "warn"]).await?;
    let mut server = Arc::new(server);
    let mut fleet = Fleet::new(&server, count).await?;
    println!(
        "{count} clusters with one host each, and an agent for each with its certificate, on a connection and from an address of its own. \
         The agents are one process beside the server.\n"
    );
    // What making them left in memory is no agent's.
    restart(&mut server).await?;
    let before = resident_kib(server.pid())?;
    fleet.start(&server).await?;
    let (first, first_closed) = (fleet.refused(), closed(&server).await?);
    let (cpu_before, taken_before) = (cpu(server.pid())?, fleet.taken());
    tokio::time::sleep(IDLE).await;
    let (used, reports) = (cpu(server.pid())? - cpu_before, fleet.taken() - taken_before);
    let of_agent = resident_kib(server.pid())?.saturating_sub(before) as f64 / count as f64;
    let (of_connection, connections) = bare(directory.path(), &server, &fleet).await?;
    println!(
        "| | each agent | limit: each of {connections} idle connections of bare tonic |\n|---|---:|---:|"
    );
    println!("| memory of the server, KiB (aim: {MEMORY_AIM}) | {of_agent:.1} | {of_connection:.1} |\n");
    println!(
        "While nothing is to be done: {:.0} reports a second, {:.0} us of CPU of the server for each. Not taken, by status, 0 where no answer \
         came: {:?}; before that, when all came for the first time: {first:?}. Connections that the server refused or closed then: \
         {first_closed}.\n",
        reports as f64 / IDLE.as_secs_f64(),
        used.as_secs_f64() * 1e6 / reports as f64,
        fleet.refused()
    );

    println!("| Encrypt, one client over REST, beside | calls | p50 / p99 / longest, ms |\n|---|---:|---:|");
    row("agents that report", &encrypting(Arc::clone(&server), tokio::time::sleep(ALONE)).await?.1);
    let (step, times) = encrypting(Arc::clone(&server), fleet.step(&server)).await?;
    let [begun, told, ended] = step?;
    let in_step = fleet.refused();
    row("a step over all", &times);
    fleet.server_is_away();
    restart(&mut server).await?;
    let (back, times) = encrypting(Arc::clone(&server), fleet.server_is_back(&server)).await?;
    let back = back?;
    row("all agents that connect at once", &times);

    println!(
        "\nA step over all, each cluster to a key by an operation of its own: {begun:.2?} until all {count} updates were begun, {told:.2?} until \
         every host was told, {ended:.2?} until every operation had ended (aim: {STEP_AIM:?}). Not taken: {in_step:?}."
    );
    println!(
        "\nAfter a SIGKILL and a start of the server, from when all connect at once: {back:.2?} until every agent had its answer. Not taken: {:?}. \
         Connections that it refused or closed: {}. Resident then: {} MiB.",
        fleet.refused(),
        closed(&server).await?,
        resident_kib(server.pid())? >> 10
    );
    drop(fleet);
    let server = Arc::into_inner(server).context("nobody else has the server")?;
    ensure!(server.stop().await? == 0, "the server did not end well");
    Ok(())
}

async fn restart(server: &mut Arc<KmsServer>) -> Result<()> {
    Arc::get_mut(server).context("nobody else has the server")?.kill_and_restart().await
}

/// Encrypts, one call after another, until something else is done; how long the calls took, in microseconds.
async fn encrypting<T>(
    server: Arc<KmsServer>,
    other: impl Future<Output = T>,
) -> Result<(T, Histogram<u64>)> {
    let mut times = Histogram::<u64>::new(3)?;
    let (path, body) = (format!("/v1/{}:encrypt", key("k")), json!({ "plaintext": "eA==" }));
    let mut other = std::pin::pin!(other);
    loop {
        let began = Instant::now();
        let mut call = std::pin::pin!(server.ok(Method::POST, &path, Some(&body)));
        tokio::select! {
            done = &mut other => return Ok((done, times)),
            answer = &mut call => drop(answer?),
        }
        times.record(u64::try_from(began.elapsed().as_micros())?)?;
    }
}

/// Which connections the server did not want since it started, as its metrics have it.
async fn closed(server: &KmsServer) -> Result<String> {
    let url = format!("{}/metrics", server.endpoint());
    let metrics = server.http().get(url).send().await?.text().await?;
    let named = ["connections_closed", "connections_refused", "handshake_failures"];
    let lines = metrics.lines().filter_map(|it| it.strip_prefix("keystead_server_"));
    let lines: Vec<_> = lines.filter(|it| named.iter().any(|name| it.starts_with(name))).collect();
    Ok(if lines.is_empty() { "none".to_owned() } else { lines.join(", ") })
}

fn row(what: &str, times: &Histogram<u64>) {
    let ms = |us: u64| us as f64 / 1e3;
    let (half, most) = (times.value_at_quantile(0.5), times.value_at_quantile(0.99));
    println!("| {what} | {} | {:.1} / {:.1} / {:.1} |", times.len(), ms(half), ms(most), ms(times.max()));
}

/// Resident memory of a process.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Only a process that has ended already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory of bare tonic for each connection with an agent's certificate over which one call was answered, in KiB, and how many there are.
async fn bare(directory: &Path, server: &KmsServer, fleet: &Fleet) -> Result<(f64, usize)> {
    let identity = directory.join("data/tls/server.pem");
    let mut process = Command::new(std::env::current_exe()?)
        .args([bare_tonic::ROLE.as_ref(), identity.as_os_str(), server.ca_file().as_os_str()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
    let process = Running(process);
    let (port, pid) = (line.trim().parse()?, process.0.id());
    let message = EncryptRequest { plaintext: vec![7; 32], ..Default::default() };
    let call = Call::Grpc { path: "/bare/Encrypt".into(), body: stage::framed(&message.encode_to_vec()) };
    let mut open = Vec::new();
    let mut before = 0;
    for [certificate, private_key] in &fleet.identities {
        let tls = Arc::new(tls(server, certificate, private_key)?);
        let mut connection = Connection::open(&Target { port, tls, pid }, &call).await?;
        connection.call(&call).await?;
        // What the first one has it load is no connection's.
        if open.is_empty() {
            before = resident_kib(pid)?;
        }
        open.push(connection);
    }
    let grown = resident_kib(pid)?.saturating_sub(before) as f64;
    Ok((grown / (open.len() - 1) as f64, open.len()))
}

fn tls(server: &KmsServer, certificate: &str, private_key: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(server.ca_file())? {
        roots.add(authority?)?;
    }
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(private_key.as_bytes())?)?)
}
