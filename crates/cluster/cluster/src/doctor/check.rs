//! One check: an id, what it looks at, and a judgement.

use serde::Serialize;

use super::facts::{Facts, StoredFacts};
use super::userinfo::without_userinfo;

/// A failure that can be seen.
pub struct Check {
    /// Named after the failure. It never changes: alerts and documents refer to it.
    pub id: &'static str,
    /// What is looked at, in one line.
    pub looks_at: &'static str,
    /// An error is why the check, or what is left of it, could not be made.
    pub(super) judge: fn(&Facts, &mut Verdict) -> Result<(), String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing fails yet.
    Warning,
    /// Something fails, would fail at the next start, or lies open.
    Error,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was seen, with names of files and numbers, and never a secret.
    pub evidence: String,
    /// What to do. What stands between backquotes is a command for this host's shell, as root.
    pub advice: String,
}

/// What a check has to say.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    findings: Vec<Finding>,
    not_checked: Vec<String>,
}

impl Check {
    pub(super) fn examine(&self, facts: &Facts) -> (&'static str, Verdict) {
        let mut verdict = Verdict::default();
        if let Err(reason) = (self.judge)(facts, &mut verdict) {
            verdict.not_checked(reason);
        }
        (self.id, verdict)
    }
}

impl Verdict {
    pub(super) fn error(&mut self, evidence: impl Into<String>, advice: impl Into<String>) {
        self.found(Severity::Error, evidence, advice);
    }

    pub(super) fn warning(&mut self, evidence: impl Into<String>, advice: impl Into<String>) {
        self.found(Severity::Warning, evidence, advice);
    }

    pub(super) fn found(
        &mut self,
        severity: Severity,
        evidence: impl Into<String>,
        advice: impl Into<String>,
    ) {
        // Words of others, such as an API server's, stand in both.
        let (evidence, advice) = (without_userinfo(&evidence.into()), without_userinfo(&advice.into()));
        self.findings.push(Finding { severity, evidence, advice });
    }

    /// What is stored. What was not counted is told.
    pub(super) fn stored<'f>(&mut self, facts: &'f Facts) -> Result<&'f [StoredFacts], String> {
        for it in &facts.uncounted {
            self.not_checked(format!("what {it} covers is not counted: name its resources with --resource"));
        }
        let known = facts.stored.as_ref().map(Vec::as_slice);
        known.map_err(|reason| format!("what is stored was not counted: {reason}"))
    }

    pub(super) fn not_checked(&mut self, reason: impl Into<String>) {
        self.not_checked.push(without_userinfo(&reason.into()));
    }

    pub(super) fn into_parts(self) -> (Vec<Finding>, Vec<String>) {
        (self.findings, self.not_checked)
    }
}
