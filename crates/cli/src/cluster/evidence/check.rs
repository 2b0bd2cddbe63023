//! `keystead cluster evidence check`

use std::fmt;
use std::path::{Path, PathBuf};

use keystead_cluster::evidence::signed::{self, EvidenceError};
use keystead_cluster::evidence::{ApiServerEvidence, Evidence, PromisedBy, StoredEvidence};
use keystead_crypto::PublicKey;
use keystead_model::Exit;
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};
use serde_json::Value;

use crate::output::visible;
use crate::report_format::ReportFormat;

/// Check a report of `cluster verify --evidence`: that this key signed it, and that no byte was changed since
///
/// No cluster, server or network is needed. It prints what the report says, and fails if the report says that a promise did not hold.
///
/// Exit codes: 0 genuine and it held, 6 not genuine, or it did not hold, 1 the file cannot be read or is of another version, 2 usage or
/// public key.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The evidence
    file: PathBuf,
    /// The public key in PEM, which you have from its owner and not from where the file came from
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// The cluster that it must be of: the uid of its namespace kube-system
    #[arg(long, value_name = "UID")]
    cluster: Option<String>,
    /// Form of the report. `json`: as it was signed
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
}

impl CheckArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let key = public_key(&self.public_key)?;
        let (text, _) = whole_file::read(&self.file, Readers::Everybody, signed::MAX_LEN)
            .map_err(|error| Failure::from_error(&error))?;
        let evidence = signed::check(&text, &key).map_err(|error| self.refused(&error))?;
        if let Some(wanted) = self.cluster.as_ref().filter(|it| **it != evidence.cluster) {
            return Err(Failure::new(format!(
                "{} is of another cluster: {}, and not {wanted}",
                self.file.display(),
                visible(&evidence.cluster)
            ))
            .exit(Exit::Problem));
        }
        let findings = evidence.findings.len();
        self.format.print(&Genuine(evidence))?;
        match findings {
            0 => Ok(()),
            _ => Err(Failure::new(format!(
                "the evidence is genuine, and it says that {findings} things were not as promised"
            ))
            .exit(Exit::Problem)),
        }
    }

    fn refused(&self, error: &EvidenceError) -> Failure {
        let exit = match error {
            EvidenceError::OtherFormat(_) => Exit::Failed,
            _ => Exit::Problem,
        };
        let failure = Failure::new(format!("{} proves nothing", self.file.display()))
            .caused_by(visible(&error.to_string()));
        failure.because(error).exit(exit)
    }
}

fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let (text, _) = whole_file::read(path, Readers::Everybody, super::KEY_MAX)
        .map_err(|error| Failure::from_error(&error).usage())?;
    str::from_utf8(&text).unwrap_or_default().parse().map_err(|error: keystead_crypto::SignatureKeyError| {
        Failure::new(format!("{} cannot be used", path.display())).caused_by(error.to_string()).usage()
    })
}

/// A report whose signature was checked.
#[derive(serde::Serialize)]
#[serde(transparent)]
struct Genuine(Evidence);

impl fmt::Display for Genuine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and key ids are whatever plugins say and whoever can write to etcd wrote: none of them begins a line of its own.
        let mut report = serde_json::to_value(&self.0).map_err(|_| fmt::Error)?;
        make_visible(&mut report);
        write(&serde_json::from_value(report).map_err(|_| fmt::Error)?, f)
    }
}

fn make_visible(value: &mut Value) {
    match value {
        Value::String(text) => *text = visible(text),
        Value::Array(items) => items.iter_mut().for_each(make_visible),
        Value::Object(fields) => fields.values_mut().for_each(make_visible),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn write(evidence: &Evidence, f: &mut impl fmt::Write) -> fmt::Result {
    writeln!(f, "genuine: signed by {}", evidence.signer)?;
    writeln!(f, "made: {} by {}", evidence.time, evidence.program)?;
    writeln!(f, "cluster: {}", evidence.cluster)?;
    let by = match evidence.promised_by {
        PromisedBy::Rollout => "the last rollout",
        PromisedBy::Files => "the API servers' files",
    };
    writeln!(f, "promised by {by}: {}", evidence.promise)?;
    for server in &evidence.api_servers {
        write_server(server, f)?;
    }
    for stored in &evidence.stored {
        write_stored(stored, f)?;
    }
    match evidence.holds {
        true => writeln!(f, "it held"),
        false => evidence.findings.iter().try_for_each(|it| writeln!(f, "  broken: {it}")),
    }
}

fn write_server(server: &ApiServerEvidence, f: &mut impl fmt::Write) -> fmt::Result {
    let version = server.version.as_deref().unwrap_or("of an unknown version");
    let uses = match &server.providers {
        None => "uses what is not known".to_owned(),
        Some(none) if none.is_empty() => "encrypts nothing".to_owned(),
        Some(providers) => format!("uses [{}]", providers.join(", ")),
    };
    writeln!(f, "API server {} at {}, {version}, {uses}", server.name, server.address)?;
    for plugin in &server.plugins {
        let key = plugin.key_id.as_deref().map(|it| format!(", key id {it}")).unwrap_or_default();
        let state = plugin.unhealthy.as_deref().unwrap_or("well");
        writeln!(f, "  plugin of {}: {state}{key}", plugin.provider)?;
    }
    Ok(())
}

fn write_stored(stored: &StoredEvidence, f: &mut impl fmt::Write) -> fmt::Result {
    let StoredEvidence { resource, objects, plain, unreadable, .. } = stored;
    if let Some(reason) = &stored.not_counted {
        return writeln!(f, "{resource}: not counted, {reason}");
    }
    let revision = stored.revision.map(|it| format!(" at revision {it}")).unwrap_or_default();
    writeln!(f, "{resource}: {objects} objects{revision}, {plain} plain, {unreadable} unreadable")?;
    for way in &stored.ways {
        let key = way.key_id.as_deref().map(|it| format!(", key id {it}")).unwrap_or_default();
        writeln!(f, "  {} as {}{key}", way.objects, way.provider)?;
    }
    Ok(())
}
