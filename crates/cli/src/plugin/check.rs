//! `keystead plugin check`

use keystead_conformance::{Hooks, Kms, Options, OptionsError, Progress, Socket, UnknownCheck};
use keystead_model::Exit;
use keystead_runtime::{Failure, Span, print_result};

use crate::output::say;
use crate::report_format::ReportFormat;

/// Checks every rule that kube-apiserver relies on. Exit code 6 when anything fails.
///
/// Hooks are shell commands that act on the plugin, for what only shows in its life: `--hook rotate=CMD` rotates its key,
/// `kill=` ends it without warning, `start=` starts it again in the background, `backend-down=` and `backend-up=` cut it off
/// from its backend. Without a hook the checks that need it are skipped, and the report says so.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The plugin's socket: a path, unix:///path or @name
    #[arg(long, value_name = "PATH", required_unless_present = "list")]
    socket: Option<Socket>,
    /// The same plugin on another host, for keys that must open there too
    #[arg(long, value_name = "PATH")]
    peer_socket: Option<Socket>,
    /// Versions that it must serve: v1, v2 or both. By default what it serves is checked
    #[arg(long, value_name = "VERSION")]
    kms: Option<Kms>,
    /// A command that acts on the plugin; again for more
    #[arg(long = "hook", value_name = "NAME=CMD")]
    hooks: Vec<String>,
    /// Deadline of each call, as in the EncryptionConfiguration
    #[arg(long, value_name = "TIME", default_value = "3s")]
    timeout: Span,
    /// Also leave a connection idle for so long: kube-apiserver is silent for 60 s between polls
    #[arg(long, value_name = "TIME")]
    idle: Option<Span>,
    /// Only checks whose id starts with this; again for more
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
    /// List the checks with their rules, and end
    #[arg(long)]
    list: bool,
}

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    if args.list {
        return print_result(&list());
    }
    let options = options(args)?;
    let report = crate::runtime()?.block_on(keystead_conformance::run(&options, |progress| {
        if let Progress::Started(check) = progress {
            say(&format!("{} ...", check.id));
        }
    }));
    args.format.print(&report)?;
    match report.summary.fail {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} checks failed")).exit(Exit::Problem)),
    }
}

fn list() -> String {
    let lines = keystead_conformance::checks().map(|check| {
        format!("{}\n  {}\n  rule: {}\n  why: {}\n", check.id, check.title, check.rule, check.why)
    });
    lines.collect()
}

fn options(args: &CheckArgs) -> Result<Options, Failure> {
    let socket = args.socket.clone().ok_or_else(|| Failure::new("--socket is missing").usage())?;
    let mut options = Options::new(socket);
    options.peer = args.peer_socket.clone();
    options.kms = args.kms;
    options.timeout = args.timeout.get();
    options.idle = args.idle.map(Span::get);
    options.hooks = hooks(&args.hooks)?;
    for id in &args.only {
        let selected = keystead_conformance::select(id);
        options.only.extend(selected.map_err(|error: UnknownCheck| Failure::from_error(&error).usage())?);
    }
    Ok(options)
}

fn hooks(given: &[String]) -> Result<Hooks, Failure> {
    let mut hooks = Hooks::default();
    for hook in given {
        hooks.set(hook).map_err(|error: OptionsError| Failure::from_error(&error).usage())?;
    }
    Ok(hooks)
}
