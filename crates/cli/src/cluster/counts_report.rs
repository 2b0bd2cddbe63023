//! What an inventory found, for people and for programs.

mod table;

use std::collections::BTreeMap;
use std::fmt;

use keystead_etcd::{Encryption, Group, HashCheck, SnapshotCounts, StoredCounts};
use serde::Serialize;

use crate::output::visible;
use table::{Bars, amount, count, rows};

/// An inventory, with where it comes from.
#[derive(Debug, Serialize)]
pub(super) struct CountsReport {
    source: String,
    /// What the counted keys start with.
    prefixes: Vec<String>,
    current: StoredCounts,
    #[serde(flatten)]
    snapshot: Option<SnapshotPart>,
    #[serde(skip)]
    bars: Bars,
}

/// What only a file shows.
#[derive(Debug, Serialize)]
struct SnapshotPart {
    old: StoredCounts,
    elsewhere: u64,
    compacted_revision: Option<i64>,
    compaction_unfinished: bool,
    hash: HashCheck,
}

impl CountsReport {
    pub(super) fn of_etcd(source: String, prefixes: Vec<String>, current: StoredCounts) -> Self {
        Self { source, prefixes, current, snapshot: None, bars: Bars::of_standard_output() }
    }

    pub(super) fn of_snapshot(source: String, prefixes: Vec<String>, counts: SnapshotCounts) -> Self {
        let SnapshotCounts { current, old, elsewhere, compacted_revision, compaction_unfinished, hash } =
            counts;
        let part = SnapshotPart { old, elsewhere, compacted_revision, compaction_unfinished, hash };
        Self { source, prefixes, current, snapshot: Some(part), bars: Bars::of_standard_output() }
    }
}

impl fmt::Display for CountsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        if self.current.objects == 0 {
            let prefixes = self.prefixes.join(" or ");
            writeln!(
                f,
                "Nothing is stored under {}: are --etcd-prefix and --resource right?",
                visible(&prefixes)
            )?;
        } else {
            write!(f, "\n{}\n", rows(&self.current, self.bars))?;
            summary(f, &self.current)?;
        }
        if let Some(part) = &self.snapshot {
            part.fmt_old(f, self.bars)?;
        }
        Ok(())
    }
}

impl CountsReport {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoredCounts { first_revision, last_revision, objects, groups, .. } = &self.current;
        let bytes = groups.iter().map(|group| group.bytes).sum();
        let revision = last_revision.map_or(String::new(), |it| format!(", revision {it}"));
        writeln!(f, "{}{revision}: {} objects, {}", visible(&self.source), count(*objects), amount(bytes))?;
        if first_revision != last_revision {
            writeln!(
                f,
                "etcd was compacted meanwhile: what was written while it was read may be counted as it was before, or not at all"
            )?;
        }
        match self.snapshot.as_ref().map(|part| part.hash) {
            Some(HashCheck::Matches) => writeln!(f, "hash at the end: matches"),
            Some(HashCheck::Differs) => {
                writeln!(f, "hash at the end: DIFFERS, this is not the file that was saved")
            }
            Some(HashCheck::Absent) => writeln!(f, "hash at the end: none, as in a member's own database"),
            None => Ok(()),
        }
    }
}

impl SnapshotPart {
    fn fmt_old(&self, f: &mut fmt::Formatter<'_>, bars: Bars) -> fmt::Result {
        let compacted = self.compacted_revision.map_or_else(
            || "etcd had never compacted it".to_owned(),
            |revision| format!("compacted up to revision {revision}"),
        );
        if self.old.objects == 0 {
            writeln!(f, "\nOld revisions: none; {compacted}.")?;
        } else {
            writeln!(f, "\nOld revisions, which no API shows: {}; {compacted}.", count(self.old.objects))?;
            write!(f, "\n{}\n", rows(&self.old, bars))?;
            for (resource, totals) in totals(&self.old) {
                if totals.plain > 0 && (resource == SECRETS || totals.encrypted > 0) {
                    writeln!(
                        f,
                        "{}: {} old revisions are not encrypted. Compaction and then `etcdctl defrag` end them in etcd; this file keeps them.",
                        visible(resource),
                        count(totals.plain)
                    )?;
                }
            }
            unreadable(f, &self.old)?;
        }
        if self.compaction_unfinished {
            writeln!(f, "That compaction had not ended: it goes on when an etcd starts on this file.")?;
        }
        Ok(())
    }
}

/// How much of a resource is encrypted.
#[derive(Clone, Copy, Default)]
struct Totals {
    plain: u64,
    encrypted: u64,
    malformed: u64,
}

impl Totals {
    fn all(self) -> u64 {
        self.plain + self.encrypted + self.malformed
    }
}

fn totals(counts: &StoredCounts) -> BTreeMap<&str, Totals> {
    let mut all: BTreeMap<&str, Totals> = BTreeMap::new();
    for Group { resource, encryption, objects, .. } in &counts.groups {
        let totals = all.entry(resource).or_default();
        match encryption {
            Encryption::Plain { .. } => totals.plain += objects,
            Encryption::Malformed => totals.malformed += objects,
            _ => totals.encrypted += objects,
        }
    }
    all
}

/// One sentence for Secrets, and one for each other resource that is encrypted in part: it was meant to be.
fn summary(f: &mut fmt::Formatter<'_>, counts: &StoredCounts) -> fmt::Result {
    for (resource, totals) in totals(counts) {
        let (all, Totals { plain, encrypted, malformed }) = (totals.all(), totals);
        if resource != SECRETS && encrypted + malformed == 0 {
            continue;
        }
        let resource = visible(resource);
        match plain {
            0 if malformed == 0 => writeln!(f, "{resource}: all {} are encrypted.", count(all))?,
            0 => writeln!(f, "{resource}: none of {} is stored in plain.", count(all))?,
            _ => writeln!(f, "{resource}: {} of {} are NOT encrypted.", count(plain), count(all))?,
        }
    }
    unreadable(f, counts)?;
    if counts.objects_left_out > 0 {
        writeln!(f, "{} objects are in no row: there are too many kinds.", count(counts.objects_left_out))?;
    }
    Ok(())
}

fn unreadable(f: &mut fmt::Formatter<'_>, counts: &StoredCounts) -> fmt::Result {
    let all: u64 = totals(counts).values().map(|totals| totals.malformed).sum();
    if all == 0 {
        return Ok(());
    }
    writeln!(f, "No kube-apiserver can read {} values:", count(all))?;
    for malformed in &counts.malformed {
        writeln!(f, "  {}: {}", visible(&malformed.key), malformed.reason)?;
    }
    match all.saturating_sub(counts.malformed.len() as u64) {
        0 => Ok(()),
        more => writeln!(f, "  and {} more", count(more)),
    }
}

/// What encryption is switched on for first.
const SECRETS: &str = "secrets";
