//! Processes of this host, and the kube-apiserver among them, by the kernel's word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use zeroize::Zeroizing;

use super::Process;
use crate::api_server_flags::CONFIG;
use crate::api_server_unit::is_kube_apiserver;
use crate::pod_user::PodUser;

/// kube-apiserver's own default.
const SECURE_PORT: &str = "6443";
/// Bytes of the longest command line looked at; a real one has some thousand.
const COMMAND_MAX: u64 = 1 << 20;

/// The process of this port: several may run on one machine. None: there is none. Anybody may call a program kube-apiserver, so it must be
/// root's, ours, or that of a user whom the manifest names.
pub(super) fn find(secure_port: u16, users: &BTreeSet<PodUser>) -> Option<Process> {
    let port = secure_port.to_string();
    let looks = rustix::process::geteuid().as_raw();
    let is_taken = |owner: u32| [0, looks].contains(&owner) || users.iter().any(|it| it.user == owner);
    let entries = fs::read_dir("/proc").ok()?;
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).find_map(|pid: u32| {
        let owner = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let running = is_taken(owner).then(|| running(pid))??;
        let words: Vec<&str> = running.words.iter().map(String::as_str).collect();
        let (program, args) = words.split_first()?;
        // One in a pod of its own network is another cluster's.
        let here =
            fs::read_link("/proc/self/ns/net").ok() == fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let is_ours =
            here && is_kube_apiserver(program) && flag(args, "secure-port").unwrap_or(SECURE_PORT) == port;
        is_ours.then_some(running.process)
    })
}

/// A process, whatever it is.
pub(super) struct Running {
    pub(super) process: Process,
    /// What it was started with, the program first.
    pub(super) words: Vec<String>,
    pid: u32,
}

pub(super) fn running(pid: u32) -> Option<Running> {
    let mut command = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    // A process may make its own as long as it likes.
    file.take(COMMAND_MAX).read_to_end(&mut command).ok()?;
    // Each word ends with a zero, also one that is empty.
    let command = command.strip_suffix(&[0]).unwrap_or(&command);
    let words: Vec<String> =
        command.split(|it| *it == 0).filter_map(|it| Some(str::from_utf8(it).ok()?.to_owned())).collect();
    let args: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let has_flag = flag(&args, CONFIG).is_some_and(|it| !it.is_empty());
    let ticks = start_tick(pid)?;
    let process = Process { id: format!("{pid}-{ticks}"), started: time_of(ticks)?, has_flag };
    Some(Running { process, words, pid })
}

impl Running {
    /// Whom it runs as. None: it has ended.
    pub(super) fn user(&self) -> Option<PodUser> {
        PodUser::of_process(&self.pid.to_string())
    }

    /// Its program, whatever name that has by now. None: it has ended.
    pub(super) fn program(&self) -> Option<Metadata> {
        fs::metadata(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// The variables that it was started with and that these words name. Others may be secrets.
    pub(super) fn variables(&self, words: &[String]) -> BTreeMap<String, String> {
        let mut text = Zeroizing::new(Vec::with_capacity(COMMAND_MAX as usize));
        let file = File::open(format!("/proc/{}/environ", self.pid));
        if !file.is_ok_and(|it| it.take(COMMAND_MAX).read_to_end(&mut text).is_ok()) {
            return BTreeMap::new();
        }
        let all = text.split(|it| *it == 0).filter_map(|it| str::from_utf8(it).ok()?.split_once('='));
        let is_named = |name: &str| words.iter().any(|it| it.contains('$') && it.contains(name));
        let named = all.filter(|(name, _)| is_named(name));
        named.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The last one counts, as for kube-apiserver.
fn flag<'a>(args: &[&'a str], name: &str) -> Option<&'a str> {
    args.iter().enumerate().rev().find_map(|(at, word)| {
        let rest = word.strip_prefix("--").or(word.strip_prefix('-'))?.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value),
            None if rest.is_empty() => args.get(at + 1).copied(),
            None => None,
        }
    })
}

/// Ticks of the kernel from the boot to the start.
fn start_tick(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, in which anything may stand.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(START_TIME)?.parse().ok()
}

/// In seconds since 1970. The moment of the boot is computed anew each time, because the clock may have been set since.
fn time_of(ticks: u64) -> Option<f64> {
    let since_boot = clock_gettime(ClockId::Boottime);
    let since_boot = since_boot.tv_sec as f64 + since_boot.tv_nsec as f64 / 1e9;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(now - since_boot + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `starttime` of proc(5) is field 22; the first one behind the name is field 3.
const START_TIME: usize = 19;

#[cfg(test)]
mod tests {
    use super::{flag, start_tick, time_of};
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn the_last_of_a_flag_counts() {
        let args = ["--a=1", "--secure-port", "7443", "--secure-port=8443", "--secure-portal=1"];
        assert_eq!(flag(&args, "secure-port"), Some("8443"));
        assert_eq!(flag(&args[..3], "secure-port"), Some("7443"));
        assert_eq!(flag(&args, "b"), None);
    }

    #[test]
    fn this_process_started_a_moment_ago() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let ago = now - start_tick(std::process::id()).and_then(time_of).expect("this process has a start");
        assert!((-1.0..3600.0).contains(&ago), "{ago} s ago");
    }
}
