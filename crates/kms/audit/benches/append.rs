//! Appends per second and CPU time per append, beside what the disk does with a bare write and sync.
//!
//! `cargo bench -p keystead-audit -- [DIRECTORY]`

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keystead_audit::{AuditLog, AuditSettings, Checked, Event, EventKind, SafeFields};

/// Long enough for thousands of syncs.
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given = std::env::args().skip(1).find(|it| !it.starts_with("--"));
    let place = given.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place)?;
    let mut out = std::io::stdout();
    writeln!(out, "{:>34} {:>12} {:>14}", "", "appends/s", "CPU us/append")?;
    for round in 0..ROUNDS {
        let (rate, bytes) = bare(&dir.path().join("bare"))?;
        writeln!(out, "{:>34} {rate:>12.0}", format!("bare write + fdatasync, {bytes} B"))?;
        for callers in [1, 8, 64] {
            let (rate, cpu) = appends(&dir.path().join(format!("log-{round}-{callers}")), callers)?;
            writeln!(out, "{:>34} {rate:>12.0} {cpu:>14.1}", format!("{callers} callers"))?;
        }
    }
    Ok(())
}

/// Appends of one thread that writes a typical record and syncs.
fn bare(path: &Path) -> std::io::Result<(f64, usize)> {
    let record = vec![b'x'; 1024];
    let mut file = File::create(path)?;
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < TIME {
        file.write_all(&record)?;
        file.sync_data()?;
        count += 1;
    }
    fs::remove_file(path)?;
    Ok((f64::from(count) / started.elapsed().as_secs_f64(), record.len()))
}

fn appends(dir: &Path, callers: usize) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let log = Arc::new(AuditLog::open(dir, AuditSettings::default())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let count = Arc::new(AtomicU64::new(0));
    let (started, cpu) = (Instant::now(), cpu_time()?);
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (log, count) = (Arc::clone(&log), Arc::clone(&count));
            runtime.handle().spawn(async move {
                while started.elapsed() < TIME {
                    let id = count.fetch_add(1, Ordering::Relaxed);
                    if log.append(&event(id)).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            drop(task.await);
        }
    });
    let appended = log.head().sequence as f64;
    let (time, cpu) = (started.elapsed(), cpu_time()? - cpu);
    drop(log);
    fs::remove_dir_all(dir)?;
    Ok((appended / time.as_secs_f64(), cpu.as_secs_f64() * 1e6 / appended))
}

/// Of the whole process, callers included.
fn cpu_time() -> std::io::Result<Duration> {
    // User and system time are the 12th and 13th words after the name, in hundredths of a second.
    let text = fs::read_to_string("/proc/self/stat")?;
    let words = text.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = words.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn event(id: u64) -> Event {
    const KEY: &str = "projects/key-project/locations/global/keyRings/ring/cryptoKeys/key";
    Event {
        principal: Some("cluster@key-project.iam.example".into()),
        credential: Some("ks_0123456789abcdef".into()),
        permissions: vec![Checked {
            permission: "cloudkms.cryptoKeyVersions.useToEncrypt".into(),
            granted: true,
            resource: KEY.into(),
        }],
        caller_ip: Some([10, 0, 0, 1].into()),
        user_agent: Some("tonic/0.14".into()),
        request_id: Some(format!("{id:032x}")),
        request: SafeFields::new().with("name", KEY).with("plaintextBytes", 32),
        response: SafeFields::new().with("name", KEY),
        ..Event::new(
            format!("{id:032x}"),
            Timestamp::now(),
            "cloudkms.googleapis.com",
            "Encrypt",
            KEY,
            EventKind::DataRead,
        )
    }
}
