//! `keystead cluster snapshot decrypt`

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;

use keystead_cluster::restore::{Decrypted, Failed, ObjectLine, Selection, decrypt};
use keystead_etcd::{HashCheck, Layout, snapshot_resources};
use keystead_model::Exit;
use keystead_runtime::whole_file::{beside, sync_directory_of};
use keystead_runtime::{Failure, termination};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::open_args::OpenArgs;
use super::{hash_in_words, not_opened, not_what_was_saved, opened, unreadable};
use crate::cluster::counts_report::count;
use crate::cluster::etcd_args::LayoutArgs;
use crate::output::{say, visible};
use crate::report_format::ReportFormat;

/// Open what a snapshot holds, with the plugin or the keys that encrypted it; no cluster is needed
///
/// Without --output-file and --show-value it only tries: it opens all that is asked for, tells how much that was, and shows nothing of it.
///
/// --output-file gets one line of JSON for each object, with its etcd `key` and `revision`. Secrets and ConfigMaps are there as `object`, a
/// manifest that `kubectl apply` takes, and so is what is stored as JSON; anything else is `value`, the stored bytes in base64. The file is
/// new, readable by its owner only, and complete or not there.
///
/// What is opened are the objects as they were when the snapshot was made, not their older revisions. An object that was changed, or copied
/// from another etcd key, is told as tampered with and is not given away. Under secretbox, aescbc and in plain a copy is only seen of Secrets
/// and ConfigMaps, which say their names, and under aescbc and in plain a change is not seen.
///
/// Exit code 3 if some objects were opened and others not, 1 if none was, 6 if one was tampered with or the file is damaged, 4 if the plugin
/// does not answer.
#[derive(Debug, clap::Args)]
pub(crate) struct DecryptArgs {
    /// The snapshot, or a database of etcd that is stopped
    file: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Only this namespace, of one --resource
    #[arg(long, value_name = "NS", requires = "resources", help_heading = "Contents")]
    namespace: Option<String>,
    /// Only the object with this name, of one --resource
    #[arg(long, value_name = "NAME", requires = "resources", help_heading = "Contents")]
    name: Option<String>,
    /// Only the object with this etcd key, such as /registry/secrets/default/a
    #[arg(long, value_name = "ETCD_KEY", conflicts_with_all = ["resources", "namespace", "name"], help_heading = "Contents")]
    key: Option<String>,
    #[command(flatten)]
    with: OpenArgs,
    /// Write what was opened into this new file
    #[arg(long, value_name = "NEW_FILE", help_heading = "Output")]
    output_file: Option<PathBuf>,
    /// Print the line of a single object (--name or --key) to standard output, and the report to standard error
    #[arg(long, conflicts_with = "output_file", help_heading = "Output")]
    show_value: bool,
    /// Go on though the file is not what was saved by the hash at its end
    #[arg(long, help_heading = "What opens values")]
    skip_hash_check: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Table, help_heading = "Output")]
    format: ReportFormat,
}

#[derive(Serialize)]
struct Report {
    source: String,
    hash: HashCheck,
    #[serde(flatten)]
    decrypted: Decrypted,
    output_file: Option<String>,
}

pub(super) fn run(args: &DecryptArgs) -> Result<(), Failure> {
    let today = args.layout.configuration()?;
    let layout = args.layout.layout_with(today.as_ref());
    let selection = selection(args, &layout)?;
    if args.show_value && !matches!(selection, Selection::Key(_)) {
        let hint = "name it with --key, or with --resource, --namespace and --name; all of them go into --output-file";
        return Err(Failure::new("--show-value is for a single object").usage().hint(hint.to_owned()));
    }
    let (snapshot, hash) = opened(&args.file)?;
    if hash == HashCheck::Differs && !args.skip_hash_check {
        let hint = "fetch it again from where it was saved; --skip-hash-check opens what can be opened";
        return Err(not_what_was_saved(&args.file).hint(hint.to_owned()));
    }
    args.layout.tell_missing(
        |_| false,
        || snapshot_resources(&snapshot, &layout).map_err(|error| unreadable(&args.file, &error)),
    )?;
    let mut output = args.output_file.as_deref().map(prepare).transpose()?;
    let runtime = crate::runtime()?;
    let mut opener = args.with.opener(&runtime, today.as_ref())?;
    let signal = {
        let _signals_need_it = runtime.enter();
        termination().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?
    };
    let mut signal = pin!(signal);
    let take = |line: ObjectLine| {
        let cut_short = runtime.block_on(async {
            tokio::select! {
                biased;
                signal = &mut signal => Some(signal),
                () = std::future::ready(()) => None,
            }
        });
        match (cut_short, &mut output) {
            (Some(signal), _) => {
                Err(io::Error::other(format!("cut short by {signal}; nothing is left behind")))
            }
            (None, Some(file)) => file.write_all(line.as_str().as_bytes()),
            (None, None) if args.show_value => io::stdout().write_all(line.as_str().as_bytes()),
            (None, None) => Ok(()),
        }
    };
    let decrypted = decrypt(&snapshot, &layout, &selection, &mut opener, take);
    let decrypted = decrypted.map_err(|error| not_opened(&args.file, &error))?;
    // A file without objects would look like a result.
    let output = output.filter(|_| decrypted.opened > 0);
    if let (Some(file), Some(target)) = (output, &args.output_file) {
        finish(file, target)?;
    }
    let output_file = args.output_file.as_ref().filter(|_| decrypted.opened > 0);
    let output_file = output_file.map(|it| it.display().to_string());
    let result = result(&decrypted, &selection);
    let report = Report { source: args.file.display().to_string(), hash, decrypted, output_file };
    if args.show_value {
        say(report.to_string().trim_end());
    } else {
        args.format.print(&report)?;
    }
    result
}

fn selection(args: &DecryptArgs, layout: &Layout) -> Result<Selection, Failure> {
    if let Some(key) = &args.key {
        return Ok(Selection::Key(key.clone().into_bytes()));
    }
    let resources = args.layout.resources();
    let mut prefixes = layout.prefixes(&resources);
    if args.namespace.is_none() && args.name.is_none() {
        return Ok(Selection::Prefixes(prefixes));
    }
    let (1, Some(mut key)) = (resources.len(), prefixes.pop()) else {
        return Err(Failure::new("--namespace and --name are for one --resource").usage());
    };
    for part in [&args.namespace, &args.name].into_iter().flatten() {
        if part.is_empty() || part.contains('/') {
            return Err(Failure::new(format!("{part:?} is no name of an object or namespace")).usage());
        }
    }
    key.extend(args.namespace.iter().flat_map(|it| [it.as_str(), "/"]));
    Ok(match &args.name {
        Some(name) => Selection::Key([key.as_str(), name].concat().into_bytes()),
        None => Selection::Prefixes(vec![key]),
    })
}

/// For its owner only, from the first byte on; gone when dropped.
fn prepare(target: &Path) -> Result<NamedTempFile, Failure> {
    if target.symlink_metadata().is_ok() {
        let text = format!("{} exists already", target.display());
        return Err(Failure::new(text).hint("name a new file with --output-file".to_owned()));
    }
    beside(target, 0o600).map_err(|error| not_written(target, &error))
}

fn finish(file: NamedTempFile, target: &Path) -> Result<(), Failure> {
    file.as_file().sync_all().map_err(|error| not_written(target, &error))?;
    file.persist_noclobber(target).map_err(|error| not_written(target, &error.error))?;
    sync_directory_of(target).map_err(|error| not_written(target, &error))
}

fn not_written(target: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", target.display()))
}

fn result(decrypted: &Decrypted, selection: &Selection) -> Result<(), Failure> {
    let Decrypted { objects, opened, tampered, .. } = decrypted;
    let failed = objects - opened;
    if *objects == 0 {
        let text = match selection {
            Selection::Key(key) => {
                format!("there is no {} in the snapshot", visible(&String::from_utf8_lossy(key)))
            }
            Selection::Prefixes(all) => format!("nothing is stored under {}", visible(&all.join(" or "))),
        };
        let hint = "`keystead cluster snapshot inventory` shows what there is; are --etcd-prefix and --resource right?";
        return Err(Failure::new(text).hint(hint.to_owned()));
    }
    if *tampered > 0 {
        let text = format!("{} objects are not what was stored under their keys", count(*tampered));
        return Err(Failure::new(text).exit(Exit::Problem));
    }
    match (failed, opened) {
        (0, _) => Ok(()),
        (_, 0) => Err(Failure::new("nothing was opened")),
        _ => Err(Failure::new(format!("{} objects were not opened", count(failed))).exit(Exit::Partly)),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, hash, decrypted, output_file } = self;
        let Decrypted { revision, objects, opened, unauthenticated, failed, failed_otherwise, .. } =
            decrypted;
        writeln!(f, "{}, revision {revision}", visible(source))?;
        writeln!(f, "{}", hash_in_words(*hash))?;
        writeln!(f, "opened: {} of {} objects", count(*opened), count(*objects))?;
        if *unauthenticated > 0 {
            writeln!(
                f,
                "of these {} could have been changed without a trace: they are in plain, under aescbc, or KMS v1 of Kubernetes 1.24",
                count(*unauthenticated)
            )?;
        }
        for Failed { reason, tampered, objects, keys } in failed {
            let word = if *tampered { "TAMPERED" } else { "not opened" };
            writeln!(f, "{word}: {} objects: {}", count(*objects), visible(reason))?;
            for key in keys {
                writeln!(f, "  {}", visible(key))?;
            }
            match objects.saturating_sub(keys.len() as u64) {
                0 => (),
                more => writeln!(f, "  and {} more", count(more))?,
            }
        }
        if *failed_otherwise > 0 {
            writeln!(f, "not opened: {} objects for more than 100 other reasons", count(*failed_otherwise))?;
        }
        if let Some(file) = output_file {
            writeln!(f, "written to {}: it holds Secrets in plain", visible(file))?;
        }
        Ok(())
    }
}
