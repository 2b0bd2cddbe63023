//! `keystead plugin bench`

use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use keystead_conformance::bench::bare_tonic::Running;
use keystead_conformance::bench::{self, BenchError, Options, Target};
use keystead_conformance::{Kms, OptionsError, Socket};
use keystead_model::Exit;
use keystead_runtime::{Failure, Span};

use crate::output::say;
use crate::report_format::ReportFormat;

/// Measures how fast plugins of any make answer: rate, latency and CPU time of Encrypt, Decrypt and Status.
///
/// Each plugin is called through one connection, as kube-apiserver does. Several plugins are measured in turn within each
/// round; compare only within one run.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// A plugin's socket, with a name for the report where there are several; again for more
    #[arg(long = "socket", value_name = "[NAME=]PATH", required = true)]
    sockets: Vec<NamedSocket>,
    /// Version of the API: v1 or v2
    #[arg(long, value_name = "VERSION", default_value = "v2")]
    kms: Kms,
    /// How many calls are under way at once
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,8,64", value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: Vec<u16>,
    /// How long to measure each operation with each number of clients, over all rounds
    #[arg(long, value_name = "TIME", default_value = "5s")]
    time: Span,
    /// In how many rounds; figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure beside it, in the same rounds, the limit: stock tonic with one AES-256-GCM per call
    #[arg(long)]
    baseline: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
}

/// For the process that `--baseline` starts.
#[derive(Debug, clap::Args)]
pub(crate) struct BareTonicArgs {
    socket: PathBuf,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let v1 = match args.kms {
        Kms::V1 => true,
        Kms::V2 => false,
        Kms::Both => {
            return Err(Failure::new("one version is measured at a time: --kms v1 or --kms v2").usage());
        }
    };
    let mut targets: Vec<Target> = args.sockets.iter().map(NamedSocket::target).collect();
    let baseline = args.baseline.then(bare_tonic).transpose()?;
    if let Some(running) = &baseline {
        let socket = Socket::Path(running.socket().to_owned());
        targets.push(Target { name: "bare tonic".to_owned(), socket });
    }
    let options = Options {
        v1,
        clients: args.clients.iter().copied().map(usize::from).collect(),
        time: args.time.get(),
        rounds: args.rounds,
        ..Options::new(targets)
    };
    let report = bench::run(&options, |cell| {
        say(&format!(
            "{}: {:?}, {} clients: {:.0} calls/s",
            cell.target, cell.method, cell.clients, cell.rate
        ));
    });
    let report = report.map_err(|error| match error {
        BenchError::Target { .. } => Failure::from_error(&error).exit(Exit::Unreachable),
        BenchError::Start(_) => Failure::from_error(&error),
    })?;
    args.format.print(&report)
}

/// Serves until it is killed.
pub(super) fn serve_bare_tonic(args: &BareTonicArgs) -> Result<(), Failure> {
    bench::bare_tonic::serve(&args.socket).map_err(|error| Failure::from_error(&error))
}

/// This same program as the server to compare with.
fn bare_tonic() -> Result<Running, Failure> {
    let started = std::env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.args(["plugin", "bare-tonic"]);
        Running::start(command)
    });
    started.map_err(|error| Failure::new(format!("cannot start the server to compare with: {error}")))
}

#[derive(Clone, Debug)]
struct NamedSocket {
    name: Option<String>,
    socket: Socket,
}

impl NamedSocket {
    fn target(&self) -> Target {
        let name = self.name.clone().unwrap_or_else(|| "plugin".to_owned());
        Target { name, socket: self.socket.clone() }
    }
}

impl FromStr for NamedSocket {
    type Err = OptionsError;

    /// A name holds no slash, so that a path with an equals sign is still a path.
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        match text.split_once('=') {
            Some((name, socket)) if !name.is_empty() && !name.contains(['/', '@']) => {
                Ok(Self { name: Some(name.to_owned()), socket: socket.parse()? })
            }
            _ => Ok(Self { name: None, socket: text.parse()? }),
        }
    }
}
