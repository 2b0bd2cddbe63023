//! Figures, for programs (serde) and for people (`Display`).

use std::fmt;

use serde::Serialize;

/// All figures of one run. Its JSON form is stable: fields are added, never changed, as long as `schema` stays.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this form; 1.
    pub schema: u32,
    /// `v1` or `v2`.
    pub api: &'static str,
    /// How long each cell was measured.
    pub seconds: f64,
    /// The plugins.
    pub targets: Vec<TargetReport>,
    /// The figures.
    pub cells: Vec<Cell>,
}

/// One plugin's process.
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// As given.
    pub name: String,
    /// The process that listens, if it can be seen.
    pub pid: Option<i32>,
    /// Resident memory after the load, in KiB.
    pub resident_kib: Option<u64>,
    /// Most resident memory so far, in KiB.
    pub peak_resident_kib: Option<u64>,
}

/// One method of one plugin with one number of clients.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The name of the target.
    pub target: String,
    /// What was called.
    #[serde(rename = "operation")]
    pub method: PluginMethod,
    /// How many calls were under way at a time.
    pub clients: usize,
    /// How many calls were answered in all.
    pub requests: u64,
    /// Calls per second: the median of the rounds.
    pub rate: f64,
    /// Calls per second in the slowest round.
    pub slowest_rate: f64,
    /// Calls per second in the fastest round.
    pub fastest_rate: f64,
    /// Half of the calls took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 calls took no longer.
    pub p99_us: f64,
    /// 999 of 1,000 calls took no longer.
    pub p999_us: f64,
    /// CPU time of the plugin's process for each call, in microseconds; `None` when the process cannot be seen.
    pub cpu_us: Option<f64>,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginMethod {
    /// Encrypt of 32 bytes.
    Encrypt,
    /// Decrypt of 64 ciphertexts in turn.
    Decrypt,
    /// Status in KMS v2, Version in KMS v1.
    Status,
}

impl Report {
    /// The rate of `cell` as a part of that of the last target, under the same load.
    pub fn beside_last(&self, cell: &Cell) -> Option<f64> {
        let last = &self.targets.last()?.name;
        let same = |it: &&Cell| it.target == *last && it.method == cell.method && it.clients == cell.clients;
        let other = self.cells.iter().find(same)?;
        (other.target != cell.target && other.rate > 0.0).then(|| cell.rate / other.rate)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.targets.iter().map(|it| it.name.len()).max().unwrap_or(0).max(6);
        let last = self.targets.last().map_or("", |it| it.name.as_str());
        writeln!(f, "KMS {}, {} s each; rates are medians of the rounds\n", self.api, self.seconds)?;
        writeln!(
            f,
            "{:width$}  {:9} {:>7} {:>9} {:>17} {:>8} {:>8} {:>8} {:>7}  of {last}",
            "target",
            "operation",
            "clients",
            "calls/s",
            "slowest-fastest",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "cpu us"
        )?;
        for cell in &self.cells {
            let range = format!("{:.0}-{:.0}", cell.slowest_rate, cell.fastest_rate);
            let cpu = cell.cpu_us.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
            let part = self.beside_last(cell).map_or_else(String::new, |it| format!("{:.0} %", it * 100.0));
            let line = format!(
                "{:width$}  {:9} {:>7} {:>9.0} {range:>17} {:>8.0} {:>8.0} {:>8.0} {cpu:>7}  {part}",
                cell.target,
                cell.method.name(),
                cell.clients,
                cell.rate,
                cell.p50_us,
                cell.p99_us,
                cell.p999_us
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for target in &self.targets {
            if let (Some(now), Some(peak)) = (target.resident_kib, target.peak_resident_kib) {
                writeln!(f, "{}: {now} KiB resident, {peak} KiB at its peak", target.name)?;
            }
        }
        Ok(())
    }
}

impl PluginMethod {
    fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Status => "status",
        }
    }
}
