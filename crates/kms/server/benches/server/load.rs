//! Clients in a closed loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::connection::{Call, Connection, Target};

/// What is measured: the clients take the calls in turn.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) target: Target,
    pub(crate) calls: Arc<Vec<Call>>,
}

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) cpu_us: f64,
}

/// Before a round counts: connections are there and caches warm.
const WARM: Duration = Duration::from_millis(300);

pub(crate) async fn measure(case: &Case, clients: usize, length: Duration) -> Result<Figures> {
    let mut running = JoinSet::new();
    let begin = Instant::now() + WARM;
    for client in 0..clients {
        let case = case.clone();
        running.spawn(async move {
            let mut next = client * case.calls.len() / clients;
            let mut connection = Connection::open(&case.target, &case.calls[next]).await?;
            let mut times = Histogram::<u64>::new(3)?;
            loop {
                let started = Instant::now();
                if started >= begin + length {
                    return anyhow::Ok(times);
                }
                connection.call(&case.calls[next]).await?;
                next = (next + 1) % case.calls.len();
                if started >= begin {
                    times.record(u64::try_from(started.elapsed().as_micros())?)?;
                }
            }
        });
    }
    tokio::time::sleep_until(begin.into()).await;
    let before = cpu(case.target.pid)?;
    tokio::time::sleep_until((begin + length).into()).await;
    let used = cpu(case.target.pid)? - before;
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(times) = running.join_next().await {
        all.add(times??)?;
    }
    let calls = all.len() as f64;
    Ok(Figures {
        rate: calls / length.as_secs_f64(),
        p50_us: all.value_at_quantile(0.5),
        p99_us: all.value_at_quantile(0.99),
        cpu_us: used.as_secs_f64() * 1e6 / calls,
    })
}

/// CPU time of all threads of a process; steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // utime and stime are the 12th and 13th field after the name, which may hold anything (proc(5)).
    let (_, rest) = text.rsplit_once(')').context("stat has a name")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}
