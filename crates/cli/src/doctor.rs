//! `keystead doctor`

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::Timestamp;
use keystead_cluster::api::Kubeconfig;
use keystead_cluster::doctor::{
    Check, Examined, Facts, Finding, Severity, Sources, State, checks, diagnose, gather,
};
use keystead_model::Exit;
use keystead_runtime::Failure;
use serde::Serialize;

use crate::cluster::LocalArgs;
use crate::output::{say, visible};
use crate::output_file;
use crate::report_format::ReportFormat;

/// Say what is wrong with the encryption of this control-plane host and its cluster, with evidence and what to do
///
/// Every check has an id that stays. What cannot be seen, because an API server, etcd or a plugin is away, is told as not checked and keeps
/// nothing else from being checked. Nothing is changed, and no secret is shown or kept. Run it as root.
///
/// Exit codes: 0 nothing was found, or warnings alone; 6 something was found; 1 the bundle cannot be written; 2 usage.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Show all checks and what each looks at, and check nothing
    #[arg(long, conflicts_with_all = ["bundle", "resources"])]
    list: bool,
    /// A resource to count in etcd. Again for more [default: those of the last rollout, or secrets]
    #[arg(long = "resource", value_name = "NAME")]
    resources: Vec<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
    /// Also write what was found and what it was found by into a file of JSON, to be given to whoever helps: it has names, paths, addresses,
    /// numbers and modes, and no text of a file, no value, no key and no token
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    local: LocalArgs,
    /// The kubeconfig; several with `:` between them are merged [default: /etc/kubernetes/admin.conf]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG", help_heading = "Connection")]
    kubeconfig: Option<String>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    context: Option<String>,
}

/// All checks.
#[derive(Serialize)]
struct List {
    checks: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    id: &'static str,
    looks_at: &'static str,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    /// Name of the host.
    host: String,
    /// When the host was looked at, by its own clock.
    at: String,
    errors: usize,
    warnings: usize,
    /// Checks of which at least a part was not made.
    not_checked: usize,
    checks: Vec<Examined>,
}

#[derive(Serialize)]
struct Bundle<'r> {
    /// Of this text.
    format: u32,
    /// Of the program.
    version: &'static str,
    report: &'r Report,
    facts: serde_json::Value,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    if args.list {
        return args.format.print(&List { checks: checks().map(Line::from).collect() });
    }
    let host = args.local.host()?;
    let name = host.name.clone();
    let sources = Sources {
        host,
        kubeconfig: Kubeconfig { files: args.kubeconfig.clone(), context: args.context.clone() },
        state: args.local.state()?,
        resources: args.resources.clone(),
    };
    let runtime = crate::runtime()?;
    let facts = runtime.block_on(gather(&sources));
    // Whatever hangs, such as a program that the kubeconfig names, is not waited for.
    runtime.shutdown_background();
    let report = Report::new(name, &facts);
    args.format.print(&report)?;
    if let Some(path) = &args.bundle {
        let version = env!("CARGO_PKG_VERSION");
        let facts = facts.to_bundle().map_err(|error| Failure::from_error(&error))?;
        let bundle = Bundle { format: BUNDLE, version, report: &report, facts };
        let text = serde_json::to_vec_pretty(&bundle).map_err(|error| Failure::from_error(&error))?;
        output_file::replace_secret(path, &text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        say(&format!(
            "{} is written: it holds no secret, and names hosts, paths and addresses",
            path.display()
        ));
    }
    match report.errors {
        0 => Ok(()),
        errors => {
            Err(Failure::new(format!("{errors} of {} checks found something wrong", report.checks.len()))
                .exit(Exit::Problem)
                .hint("do what is said there, from the top, and run this again".to_owned()))
        }
    }
}

/// Grows when a field of the bundle changes its meaning.
const BUNDLE: u32 = 1;

impl From<&'static Check> for Line {
    fn from(check: &'static Check) -> Self {
        Self { id: check.id, looks_at: check.looks_at }
    }
}

impl Report {
    fn new(host: String, facts: &Facts) -> Self {
        let checks = diagnose(facts);
        let count = |state: State| checks.iter().filter(|it| it.state == state).count();
        Self {
            host,
            at: Timestamp::from_second(facts.now).map(|it| it.to_string()).unwrap_or_default(),
            errors: count(State::Error),
            warnings: count(State::Warning),
            not_checked: checks.iter().filter(|it| !it.not_checked.is_empty()).count(),
            checks,
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["CHECK", "LOOKS AT"]);
        for check in &self.checks {
            table.add_row([check.id, check.looks_at]);
        }
        write!(f, "{table}")
    }
}

impl fmt::Display for Report {
    /// Words of plugins and of whoever can write to etcd stand in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["CHECK", "STATE"]);
        for check in &self.checks {
            table.add_row([check.id, state(check.state)]);
        }
        writeln!(f, "host {}\n\n{table}", visible(&self.host))?;
        for check in self.checks.iter().filter(|it| !it.findings.is_empty()) {
            for Finding { severity, evidence, advice } in &check.findings {
                let severity = match severity {
                    Severity::Error => "ERROR",
                    Severity::Warning => "warning",
                };
                writeln!(f, "\n{severity} {}", check.id)?;
                writeln!(f, "  {}\n  do: {}", visible(evidence), visible(advice))?;
            }
        }
        let reasons = self.checks.iter().flat_map(|check| check.not_checked.iter().map(|it| (it, check.id)));
        let mut unchecked: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
        reasons.for_each(|(reason, id)| unchecked.entry(reason).or_default().push(id));
        for (reason, ids) in unchecked {
            writeln!(f, "\nnot checked, or not all of it, because {}:", visible(reason))?;
            writeln!(f, "  {}", ids.join(", "))?;
        }
        let (errors, warnings) = (self.errors, self.warnings);
        write!(
            f,
            "\n{errors} with errors, {warnings} with warnings, {} not checked or not all of it",
            self.not_checked
        )
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::NotChecked => "not checked",
        State::Warning => "warning",
        State::Error => "ERROR",
    }
}
