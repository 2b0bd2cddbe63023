//! Measures our programs beside others in one run, and writes what came out into docs/benchmarks.md.

mod page;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{control_plane, node, parts, process, workspace};
use page::Program;

#[derive(clap::Subcommand)]
pub enum Command {
    /// The plugin beside the Go reference plugin and bare tonic: rates, latency, CPU, memory, start.
    Plugin,
    /// The server beside the disk's sync and bare tonic: rates, latency, CPU, large policies, many keys, start.
    Server,
    /// A server with a million key versions: start, memory, pages of lists, filtered lists beside Encrypt.
    Growth,
    /// A server with 1,000 agents beside as many connections of bare tonic: memory, reports, a step over all, all back at once.
    Agents,
    /// Commits beside the destruction of 10,000 key versions in a database of 2 GB.
    Erasure,
    /// Re-encryption of 10,000 and 100,000 Secrets on a real kube-apiserver, beside bare empty patches, the in-tree migration and kubectl.
    Reencrypt,
    /// Restarts and upgrades of three API servers with 100,000 Secrets: in plain, under KMS v2, under KMS v1.
    Upgrade,
    /// The inventory of 1,000,000 stored values, from etcd and from its snapshot, beside bare range scans and bare reading.
    Inventory,
    /// The start of an API server with 2,000 Secrets under KMS v1 and a key service that takes 40 ms a call.
    KmsV1Start,
}

const PAGE: &str = "docs/benchmarks.md";
/// How often a start is measured; the median counts.
const STARTS: usize = 5;
/// Until what a program does after its start is over.
const SETTLE: Duration = Duration::from_millis(500);
const START_LIMIT: Duration = Duration::from_secs(10);
/// A hundredth of the smallest time to ready that we have seen.
const POLL: Duration = Duration::from_micros(30);

/// Runs `cargo xtask bench`.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Plugin => plugin(),
        Command::Server => cargo_bench("server", "keystead-server", "server", "6 minutes", None),
        Command::Growth => {
            cargo_bench("growth", "keystead-server", "growth", "10 minutes and 3 GB of disk", None)
        }
        Command::Agents => cargo_bench("agents", "keystead-server", "agents", "3 minutes", None),
        Command::Erasure => {
            cargo_bench("erasure", "keystead-store-sqlite", "erasure", "3 minutes and 3 GB of disk", None)
        }
        Command::Reencrypt => {
            let node = std::env::var_os("KEYSTEAD_NODE").map_or_else(node::folder, |it| Ok(it.into()))?;
            let beside = Some(("KEYSTEAD_NODE", node));
            cargo_bench("reencrypt", "keystead-cluster", "reencrypt", "30 minutes and 2 GB of disk", beside)
        }
        Command::Inventory => {
            cargo_bench("inventory", "keystead", "inventory", "10 minutes and 8 GB of disk", None)
        }
        Command::Upgrade => upgrade(),
        Command::KmsV1Start => {
            let beside = Some(("KEYSTEAD_GO_REFERENCE_PLUGIN", parts::go_program("kms-reference-plugin")?));
            cargo_bench("kms-v1-start", "keystead-plugin", "kms_v1_start", "5 minutes", beside)
        }
    }
}

fn plugin() -> Result<()> {
    process::run(process::cargo().args([
        "build",
        "--profile",
        "dist",
        "-p",
        "keystead",
        "-p",
        "keystead-plugin",
    ]))?;
    let built = workspace::root().join("target/dist");
    let reference = parts::go_program("kms-reference-plugin")?;
    let folder = tempfile::Builder::new().prefix("keystead-bench-").tempdir()?;
    let key = folder.path().join("key");
    let ours = built.join("keystead-plugin");
    process::output(Process::new(&ours).args(["key", "--key-file"]).arg(&key).arg("create"))?;

    let (socket, other) = (folder.path().join("keystead.sock"), folder.path().join("go.sock"));
    let mut keystead = Process::new(&ours);
    keystead
        .args(["--admin", "off", "--log-level", "warn", "--key-file"])
        .arg(&key)
        .arg("--socket")
        .arg(&socket);
    let mut go = Process::new(&reference);
    go.arg("-socket").arg(&other);
    let machine = machine()?;
    let (keystead_ms, keystead) = start(&mut keystead, &socket)?;
    let (go_ms, go) = start(&mut go, &other)?;

    std::thread::sleep(SETTLE);
    let idle = [resident_kib(&keystead)?, resident_kib(&go)?];
    println!("measuring: about 3 minutes; the machine should do nothing else");
    let report = process::output(
        Process::new(built.join("keystead"))
            .args(["plugin", "bench", "--clients", "1,8,64", "--format", "json", "--baseline"])
            .arg("--socket")
            .arg(format!("keystead={}", socket.display()))
            .arg("--socket")
            .arg(format!("go={}", other.display())),
    )?;
    drop((keystead, go));
    let programs = [
        Program {
            name: "keystead",
            ready_ms: keystead_ms,
            idle_kib: idle[0],
            bytes: fs::metadata(&ours)?.len(),
        },
        Program { name: "go", ready_ms: go_ms, idle_kib: idle[1], bytes: fs::metadata(&reference)?.len() },
    ];
    let section = page::section(&machine, &serde_json::from_str(&report)?, &programs)?;
    write("cargo xtask bench plugin", &section)
}

/// Builds both versions of Kubernetes first.
fn upgrade() -> Result<()> {
    for version in ["1.36.3", "1.37.2"] {
        control_plane::build(version)?;
    }
    cargo_bench("upgrade", "keystead-plugin", "upgrade", "half an hour and 8 GB of memory", None)
}

/// Runs a benchmark of a crate, which prints its section. `beside`: the variable in which it finds a program of others.
fn cargo_bench(
    name: &str,
    package: &str,
    bench: &str,
    takes: &str,
    beside: Option<(&str, PathBuf)>,
) -> Result<()> {
    let bench = ["bench", "--profile", "dist", "--package", package, "--bench", bench];
    process::run(process::cargo().args(bench).arg("--no-run"))?;
    let machine = machine()?;
    println!("measuring: about {takes}; the machine should do nothing else");
    let report = process::output(process::cargo().args(bench).envs(beside))?;
    write(&format!("cargo xtask bench {name}"), &format!("{machine}\n\n{report}"))
}

/// Prints a section and puts it into the page.
fn write(command: &str, section: &str) -> Result<()> {
    println!("{section}");
    let path = workspace::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    Ok(fs::write(path, page::replace(&page, command, section))?)
}

/// From `/proc`, as the report has it after the load.
fn resident_kib(running: &Running) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id()))?;
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

/// Starts `command` several times; the median time until `socket` takes a connection, in milliseconds, and the last one,
/// still running.
fn start(command: &mut Process, socket: &Path) -> Result<(f64, Running)> {
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        let mut running = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        while UnixStream::connect(socket).is_err() {
            if let Some(status) = running.0.try_wait()? {
                bail!("{command:?} ended: {status}");
            }
            if started.elapsed() > START_LIMIT {
                bail!("{command:?} does not listen after {START_LIMIT:?}");
            }
            std::thread::sleep(POLL);
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
        if times.len() == STARTS {
            times.sort_by(f64::total_cmp);
            return Ok((times[STARTS / 2], running));
        }
        drop(running);
        // The Go plugin does not start beside the file that its killed predecessor leaves.
        if socket.exists() {
            fs::remove_file(socket)?;
        }
    }
}

/// When, which commit, and on what.
fn machine() -> Result<String> {
    let git = |args: &[&str]| process::output(Process::new("git").args(args).current_dir(workspace::root()));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = if git(&["status", "--porcelain", "--", "crates", "Cargo.lock"])?.is_empty() {
        ""
    } else {
        " and changes"
    };
    let date = git(&["show", "--no-patch", "--format=%cs", "HEAD"])?;
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|it| it.strip_prefix("model name")).unwrap_or("unknown");
    // What else the machine did in the minute before.
    let load = fs::read_to_string("/proc/loadavg")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "Commit {}{changed} of {}; {} cores of {}, Linux {}, load {} before; client and what is measured on the same machine.",
        commit.trim(),
        date.trim(),
        std::thread::available_parallelism()?,
        model.trim_matches([' ', '\t', ':']),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown")
    ))
}
