//! A child process that cannot outlive us.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader as StdBufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

/// What a program that gets a cleaned environment must still have, so that it reads the same clock as the test that
/// started it: the variables of libfaketime, with which `cargo xtask test --date` runs.
pub fn clock_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name == "LD_PRELOAD" || name.as_encoded_bytes().windows(8).any(|part| part == b"FAKETIME")
    })
}

/// Runs the program and tells its process id and, later, its exit status on standard output. When standard input
/// ends, because we closed it or because we died in any way, it kills the program. Files 3 and standard input are
/// ours and not the program's.
const WATCHDOG: &str = r#"
log=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- >>"$log" 2>&1 &
program=$!
echo $program
(read -r _ <&3; kill -9 $program) >/dev/null &
guard=$!
wait $program
status=$?
kill $guard
wait $guard
echo $status
"#;

/// A running program under its watchdog.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    log: PathBuf,
    /// Open as long as the program may live.
    lifeline: Option<ChildStdin>,
    reports: Lines<BufReader<ChildStdout>>,
    watchdog: Child,
    status: Option<i32>,
}

/// Whether a variable is a setting of the server or of the plugin.
fn sets_our_programs(name: &OsStr) -> bool {
    let prefixes = ["KEYSTEAD_SERVER_", "KEYSTEAD_PLUGIN_"];
    prefixes.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

impl Process {
    /// Starts `program`; what it prints is appended to `log`.
    pub async fn spawn(program: &Path, args: &[OsString], log: &Path) -> Result<Self> {
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh"])
            .arg(log)
            .arg(program)
            .args(args)
            // What runs here is set by its arguments, and not by the shell of whoever starts it.
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !sets_our_programs(name)))
            // Ctrl-C and a test runner's signals are for us; the lifeline passes them on.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start sh for {}", program.display()))?;
        let lifeline = watchdog.stdin.take();
        let reports = watchdog.stdout.take().context("standard output is piped")?;
        let mut reports = BufReader::new(ChildStdout::from_std(reports)?).lines();
        let pid = reports.next_line().await?.context("the watchdog said nothing")?;
        let pid = Pid::from_raw(pid.parse()?).context("a process id is not 0")?;
        Ok(Self { pid, log: log.to_owned(), lifeline, reports, watchdog, status: None })
    }

    /// The process id of the program itself.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until the program ends; its exit status as a shell gives it (128 + signal). May be cancelled.
    pub async fn wait(&mut self) -> Result<i32> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = self.reports.next_line().await?.context("the watchdog was killed")?.parse()?;
        self.status = Some(status);
        Ok(status)
    }

    /// Asks the program to end and waits for that.
    pub async fn stop(&mut self, patience: Duration) -> Result<i32> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(patience, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                bail!("process {} ignored SIGTERM for {patience:?}; its log: {}", self.pid(), self.tail())
            }
        }
    }

    /// Ends the program as a crash would.
    pub async fn kill(&mut self) -> Result<i32> {
        self.signal(Signal::KILL)?;
        self.wait().await
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match kill_process(self.pid, signal) {
            // It has ended by itself.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => Ok(result?),
        }
    }

    /// The last lines that the program printed.
    pub fn tail(&self) -> String {
        const LINES: usize = 20;
        let Ok(file) = std::fs::File::open(&self.log) else { return String::new() };
        let lines: Vec<String> = StdBufReader::new(file).lines().map_while(Result::ok).collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // Returns within milliseconds: the watchdog kills the program and ends. Then its files may be removed.
        drop(self.watchdog.wait());
    }
}
