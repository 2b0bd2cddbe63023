//! What /proc says of a plugin's process.

use std::time::Duration;

/// Resident memory in KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident: u64,
    pub(super) peak: u64,
}

/// CPU time of all threads, in user and kernel; steps of 10 ms.
pub(super) fn cpu(pid: i32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything; utime and stime are the 12th and
    // 13th after it (proc(5)).
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Resident memory now and at its peak.
pub(super) fn memory(pid: i32) -> Option<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|it| it.strip_prefix(name))?;
        line.trim_start_matches(':').split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Memory { resident: field("VmRSS")?, peak: field("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_read() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let memory = memory(pid).unwrap();
        assert!(memory.resident > 100 && memory.peak >= memory.resident);
        let before = cpu(pid).unwrap();
        while cpu(pid).unwrap() < before + Duration::from_millis(20) {
            std::hint::black_box(vec![0u8; 4096]);
        }
    }
}
