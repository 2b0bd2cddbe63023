//! `keystead cluster snapshot plan-restore`

use std::fmt;
use std::path::PathBuf;

use keystead_cluster::restore::{Need, Proof, RestorePlan, configuration, plan};
use keystead_cluster::rollout::Provider;
use keystead_etcd::{HashCheck, snapshot_resources};
use keystead_model::Exit;
use keystead_runtime::Failure;
use serde::Serialize;

use super::open_args::OpenArgs;
use super::{hash_in_words, not_opened, not_what_was_saved, opened, unreadable};
use crate::cluster::counts_report::{count, plain_table};
use crate::cluster::etcd_args::{LayoutArgs, holds};
use crate::output::visible;
use crate::report_format::ReportFormat;

/// Say what it takes to read a snapshot: the EncryptionConfiguration, the keys, and whether they are still there
///
/// Prints each key that values of the file are stored under, and an EncryptionConfiguration that reads them all. What a value does not
/// tell, a key or the socket of a plugin, is to be filled in there; --encryption-provider-config names today's file, from which the sockets
/// are taken. The first provider of it encrypts what is written after the restore.
///
/// With --socket, and with the keys of --encryption-provider-config, one value of each kind is opened to see whether that key is still
/// there; nothing of it is shown. Nothing is changed anywhere.
///
/// Exit code 6 if an object cannot be read: by the plugin or file that were given for it, or by anybody; and if the file is damaged or is not
/// what was saved.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanRestoreArgs {
    /// The snapshot, or a database of etcd that is stopped
    file: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    with: OpenArgs,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ReportFormat::Table, help_heading = "Output")]
    format: ReportFormat,
}

#[derive(Serialize)]
struct Report {
    source: String,
    hash: HashCheck,
    #[serde(flatten)]
    plan: RestorePlan,
    configuration: Option<String>,
}

pub(super) fn run(args: &PlanRestoreArgs) -> Result<(), Failure> {
    let today = args.layout.configuration()?;
    let layout = args.layout.layout_with(today.as_ref());
    let (snapshot, hash) = opened(&args.file)?;
    let runtime = crate::runtime()?;
    let mut opener = args.with.opener(&runtime, today.as_ref())?;
    let plan = plan(&snapshot, &layout, &args.layout.resources(), &mut opener)
        .map_err(|error| not_opened(&args.file, &error))?;
    args.layout.tell_missing(
        |path| holds(plan.needs.iter().map(|it| &it.resource), path),
        || snapshot_resources(&snapshot, &layout).map_err(|error| unreadable(&args.file, &error)),
    )?;
    let is_unreadable = plan.has_unreadable();
    let configuration = configuration(&plan, today.as_ref());
    let source = args.file.display().to_string();
    args.format.print(&Report { source, hash, plan, configuration })?;
    if hash == HashCheck::Differs {
        return Err(not_what_was_saved(&args.file));
    }
    if is_unreadable {
        let text = "some objects of the snapshot cannot be read, see above";
        let hint = "find the older key file, the older EncryptionConfiguration or the key service that has those keys";
        return Err(Failure::new(text).hint(hint.to_owned()).exit(Exit::Problem));
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, hash, plan, configuration } = self;
        writeln!(f, "{}, revision {}", visible(source), plan.revision)?;
        writeln!(f, "{}\n", hash_in_words(*hash))?;
        let head = ["RESOURCE", "STORED AS", "NAME", "KEY ID", "OBJECTS", "OLD REVISIONS", "READABLE"];
        // Resources without any encryption need nothing.
        let is_of_interest = |need: &&Need| {
            let encrypted = |it: &Need| it.resource == need.resource && it.proof != Proof::Plain;
            plan.needs.iter().any(encrypted)
        };
        let rows: Vec<[String; 7]> = plan.needs.iter().filter(is_of_interest).map(row).collect();
        match rows.is_empty() {
            true => writeln!(
                f,
                "Nothing that was read is encrypted: any kube-apiserver reads it, without a configuration."
            )?,
            false => writeln!(f, "{}", plain_table(&head, rows, &[4, 5]))?,
        }
        if plan.left_out > 0 {
            writeln!(f, "{} values are in no row: there are more than 10,000 kinds.", count(plan.left_out))?;
        }
        if plan.malformed > 0 {
            writeln!(
                f,
                "Nobody can read {} objects, and lists of them fail after a restore:",
                count(plan.malformed)
            )?;
            for it in &plan.malformed_keys {
                writeln!(f, "  {}: {}", visible(&it.key), it.reason)?;
            }
            writeln!(f)?;
        }
        let tries_v1 = |need: &Need| matches!(need.stored_as.provider, Provider::KmsV1 { .. });
        if plan.needs.iter().any(tries_v1) {
            writeln!(
                f,
                "KMS v1 does not say which key: that one value opens says nothing of the others; `decrypt` tries all.\n"
            )?;
        }
        if let Some(text) = configuration {
            writeln!(f, "EncryptionConfiguration that reads it; fill in what says FILL IN:\n\n{text}")?;
        }
        Ok(())
    }
}

fn row(need: &Need) -> [String; 7] {
    let none = || "-".to_owned();
    let (kind, name) = match &need.stored_as.provider {
        Provider::Identity => ("plain", none()),
        Provider::AesCbc { key } => ("aescbc", visible(key)),
        Provider::AesGcm { key } => ("aesgcm", visible(key)),
        Provider::Secretbox { key } => ("secretbox", visible(key)),
        Provider::KmsV1 { name } => ("kms v1", visible(name)),
        Provider::KmsV2 { name } => ("kms v2", visible(name)),
    };
    let proof = match &need.proof {
        Proof::Plain => none(),
        Proof::NotTried => "not tried".to_owned(),
        Proof::Reads => "yes".to_owned(),
        Proof::Fails { reason } => format!("NO: {}", visible(reason)),
    };
    [
        visible(&need.resource),
        kind.to_owned(),
        name,
        need.stored_as.key_id.as_deref().map_or_else(none, visible),
        count(need.objects),
        count(need.old_revisions),
        proof,
    ]
}
