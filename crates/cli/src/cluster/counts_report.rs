//! What an inventory found, for people and for programs.

mod table;

use std::collections::BTreeMap;
use std::fmt;

use keystead_etcd::{Encryption, Group, HashCheck, History, SnapshotCounts, StoredCounts};
use serde::Serialize;

use crate::output::visible;
use table::{Bars, amount, rows};
pub(super) use table::{count, plain_table};

/// An inventory, with where it comes from.
#[derive(Debug, Serialize)]
pub(super) struct CountsReport {
    source: String,
    /// What the counted keys start with.
    prefixes: Vec<String>,
    current: StoredCounts,
    #[serde(flatten)]
    snapshot: Option<History>,
    #[serde(skip)]
    bars: Bars,
}

impl CountsReport {
    pub(super) fn of_etcd(endpoint: &str, prefixes: Vec<String>, current: StoredCounts) -> Self {
        let source = format!("etcd at {endpoint}");
        Self { source, prefixes, current, snapshot: None, bars: Bars::of_standard_output() }
    }

    pub(super) fn of_snapshot(source: String, prefixes: Vec<String>, counts: SnapshotCounts) -> Self {
        let SnapshotCounts { current, history } = counts;
        Self { source, prefixes, current, snapshot: Some(history), bars: Bars::of_standard_output() }
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
        if let Some(history) = &self.snapshot {
            old_revisions(f, history, self.bars)?;
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
        match self.snapshot.as_ref().map(|it| it.hash) {
            Some(HashCheck::Matches) => writeln!(f, "hash at the end: matches"),
            Some(HashCheck::Differs) => {
                writeln!(f, "hash at the end: DIFFERS, this is not the file that was saved")
            }
            Some(HashCheck::Absent) => writeln!(f, "hash at the end: none, as in a member's own database"),
            None => Ok(()),
        }
    }
}

fn old_revisions(f: &mut fmt::Formatter<'_>, history: &History, bars: Bars) -> fmt::Result {
    let History { old, compacted_revision, compaction_unfinished, .. } = history;
    let compacted = compacted_revision.map_or_else(
        || "etcd had never compacted it".to_owned(),
        |revision| format!("compacted up to revision {revision}"),
    );
    if old.objects == 0 {
        writeln!(f, "\nOld revisions: none; {compacted}.")?;
    } else {
        writeln!(f, "\nOld revisions, which no API shows: {}; {compacted}.", count(old.objects))?;
        write!(f, "\n{}\n", rows(old, bars))?;
        for (resource, totals) in totals(old) {
            if totals.plain > 0 && (resource == SECRETS || totals.encrypted > 0) {
                writeln!(
                    f,
                    "{}: {} old revisions are not encrypted. Compaction and then `etcdctl defrag` end them in etcd; this file keeps them.",
                    visible(resource),
                    count(totals.plain)
                )?;
            }
        }
        exceptions(f, old)?;
    }
    if *compaction_unfinished {
        writeln!(f, "That compaction had not ended: it goes on when an etcd starts on this file.")?;
    }
    Ok(())
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
            // Whoever can write to etcd can have any value left out.
            0 if counts.objects_left_out > 0 => {
                writeln!(f, "{resource}: none of the {} in the table is stored in plain.", count(all))?;
            }
            0 if malformed == 0 => writeln!(f, "{resource}: all {} are encrypted.", count(all))?,
            0 => writeln!(f, "{resource}: none of {} is stored in plain.", count(all))?,
            _ => writeln!(f, "{resource}: {} of {} are NOT encrypted.", count(plain), count(all))?,
        }
    }
    exceptions(f, counts)
}

/// What the table does not show, and what cannot be read.
fn exceptions(f: &mut fmt::Formatter<'_>, counts: &StoredCounts) -> fmt::Result {
    if counts.objects_left_out > 0 {
        let left_out = count(counts.objects_left_out);
        writeln!(
            f,
            "{left_out} values are in no row, and nothing is said of them: there are more than 10,000 kinds, which no cluster has by itself."
        )?;
    }
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

#[cfg(test)]
mod tests {
    use keystead_etcd::{Layout, Tally};

    use super::*;

    /// Whoever can write to etcd can store values under more key ids than there is room for.
    #[test]
    fn nothing_is_promised_of_values_that_are_in_no_row() {
        let mut tally = Tally::new(Layout::default());
        let mut add = |name: String, value: Vec<u8>| {
            tally.add(format!("/registry/secrets/ns/{name}").as_bytes(), &value);
        };
        for kind in 0..10_000 {
            // Each key of an EncryptionConfiguration is a kind.
            let value = [format!("k8s:enc:aescbc:v1:key-{kind}:").as_bytes(), &[0; 48]].concat();
            add(format!("a-{kind}"), value);
        }
        add("plain".to_owned(), b"k8s\0".to_vec());
        let text = CountsReport::of_etcd("http://etcd", Vec::new(), tally.finish()).to_string();
        assert!(!text.contains("all 10,000 are encrypted"), "{}", &text[text.len() - 400..]);
        assert!(text.contains("1 values are in no row, and nothing is said of them"));
    }
}
