//! What is printed.

use std::time::Duration;

use keystead_testkit::control_plane::DEFAULT_VERSION;

use crate::stage::VALUE;

/// One way to rewrite Secrets.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) secrets: usize,
    pub(crate) took: Duration,
}

pub(crate) struct Report {
    secrets: usize,
    rounds: usize,
    pub(crate) bare: Row,
    pub(crate) in_tree: Option<Row>,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
}

impl Row {
    /// Of several rounds, each of which rewrote all.
    pub(crate) fn median(what: &str, secrets: usize, mut rounds: Vec<Duration>) -> Self {
        rounds.sort();
        let took = rounds.get(rounds.len() / 2).copied().unwrap_or_default();
        Self { what: what.to_owned(), secrets, took }
    }

    fn rate(&self) -> f64 {
        self.secrets as f64 / self.took.as_secs_f64()
    }
}

impl Report {
    pub(crate) fn new(secrets: usize, rounds: usize, bare: Row) -> Self {
        Self { secrets, rounds, bare, in_tree: None, rows: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn print(&self) {
        let Self { secrets, rounds, .. } = self;
        println!(
            "{secrets} Secrets with {VALUE} bytes each, kube-apiserver {DEFAULT_VERSION}, etcd that waits for the disk, keys of secretbox in the \
             configuration. Each row begins with an API server that was just restarted with another key, and what it rewrote is counted in etcd. \
             Bare patches and ours: median of {rounds}.\n"
        );
        println!(
            "| | Secrets rewritten | seconds | Secrets/s | of bare patches | times in-tree |\n|---|---:|---:|---:|---:|---:|"
        );
        for row in self.rows.iter().chain(&self.in_tree).chain([&self.bare]) {
            let times = self.in_tree.as_ref().map(|it| format!("{:.1}", row.rate() / it.rate()));
            println!(
                "| {} | {} | {:.1} | {:.0} | {:.0} % | {} |",
                row.what,
                row.secrets,
                row.took.as_secs_f64(),
                row.rate(),
                row.rate() / self.bare.rate() * 100.0,
                times.unwrap_or_else(|| "-".to_owned())
            );
        }
        for note in &self.notes {
            println!("\n{note}");
        }
    }
}
