//! `keystead cluster reencrypt`

mod bar;
mod state_file;

use std::path::PathBuf;
use std::pin::pin;

use keystead_cluster::api::{ApiServer, ConnectError, Kubeconfig};
use keystead_cluster::reencrypt::{
    Control, Ending, Interrupted, Journal, JournalError, Plan, PlanError, Report, Request, Room, Run, Via,
    run as rewrite,
};
use keystead_cluster::stored_values::is_of_cluster;
use keystead_etcd::ReadError;
use keystead_model::{ErrorClass, Exit};
use keystead_runtime::{Failure, Span, termination};

use super::etcd_args::EtcdArgs;
use crate::output::say;
use crate::report_format::ReportFormat;
pub(super) use bar::Bar;

/// Store every object of chosen resources anew, under the key with which the API server writes now
///
/// It lists metadata only and sends each object an empty patch; kube-apiserver writes those that are under another key or provider and
/// leaves the others alone. Passes are repeated until one finds nothing to write. Clients
/// can go on reading and writing meanwhile; running it twice does no harm.
///
/// Run it when every API server shows the new key: one that has not seen it yet writes under the old one. It prints its plan and
/// does nothing without --yes. Ctrl-C saves how far it is; the same command goes on there.
///
/// Exit codes: 0 every object is current, 1 refused, 2 usage or kubeconfig, 3 some objects could not be rewritten or seen, or it was
/// stopped, 4 the API server cannot be reached, 5 denied.
#[derive(Debug, clap::Args)]
pub(crate) struct ReencryptArgs {
    /// As an EncryptionConfiguration names them: secrets, deployments.apps, *.apps, *. (the core group) or *.*
    #[arg(value_name = "RESOURCE", default_value = "secrets")]
    resources: Vec<String>,
    /// This namespace first; again for more, in their order
    #[arg(long = "namespace", short = 'n', value_name = "NAME")]
    namespaces: Vec<String>,
    /// Only the namespaces named, and no others after them
    #[arg(long, requires = "namespaces")]
    only_namespaces: bool,
    /// Change every object by the annotation encryption-key-rotation-time=TIME. For KMS v1, where a new key alone makes nothing
    /// stale, and wherever objects are to be written although the key is the same. Use the same TIME to go on
    #[arg(long, value_name = "TIME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    annotate: Option<String>,
    /// Who writes them: this command, or kube-controller-manager by StorageVersionMigration objects, which are watched. That
    /// one needs an API server that serves them (from 1.37 on by default). It takes no namespace first and no annotation, says nothing of what
    /// was stale, and stops at the first object that it cannot write; this command looks at every object afterwards
    #[arg(long, value_enum, value_name = "WAY", default_value_t = Way::Patches)]
    via: Way,
    /// Never more patches at once; it starts with 4 and finds out how many the API server takes without being slowed down
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=500))]
    concurrency_max: u16,
    /// How long to wait for an API server that is down or overloaded
    #[arg(long, value_name = "TIME", default_value = "5m")]
    patience: Span,
    /// Where to keep how far it is [default: reencrypt-UID.json in /var/lib/keystead for root, otherwise in keystead of
    /// XDG_STATE_HOME; UID is the cluster's]
    #[arg(long, value_name = "FILE", conflicts_with = "no_state")]
    state: Option<PathBuf>,
    /// Keep nothing: a run that is cut starts at the beginning, which only costs time
    #[arg(long)]
    no_state: bool,
    /// Print the plan and stop
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// The kubeconfig; several with `:` between them are merged, without those that are missing [default: /etc/kubernetes/admin.conf]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<String>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Form of the plan or result
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// kube-apiserver's --etcd-prefix
    #[arg(long, value_name = "PREFIX", default_value = "/registry", help_heading = "Connection to etcd")]
    etcd_prefix: String,
}

/// As [`Via`], in the words of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    Patches,
    StorageVersionMigration,
}

pub(super) fn run(args: ReencryptArgs) -> Result<(), Failure> {
    crate::runtime()?.block_on(reencrypt(args))
}

async fn reencrypt(args: ReencryptArgs) -> Result<(), Failure> {
    let kubeconfig = Kubeconfig { files: args.kubeconfig.clone(), context: args.context.clone() };
    let server = ApiServer::connect(&kubeconfig).await.map_err(|error| not_connected(&error))?;
    let request = Request {
        resources: args.resources.clone(),
        namespaces: args.namespaces.clone(),
        only_namespaces: args.only_namespaces,
        annotate: args.annotate.clone(),
        via: match args.via {
            Way::Patches => Via::Patches,
            Way::StorageVersionMigration => Via::StorageVersionMigration,
        },
    };
    let plan = Plan::make(&server, request).await.map_err(|error| no_plan(&error))?;
    let file = match (&args.state, args.no_state) {
        (_, true) => None,
        (Some(file), false) => Some(file.clone()),
        (None, false) => Some(state_file::default(server.cluster())?),
    };
    let journal = Journal::open(file.as_deref(), &plan).map_err(|error| unusable(&error))?;
    if args.dry_run {
        return args.format.print(&plan);
    }
    say(&plan.to_string());
    let room = room(&args, &server, &plan).await?;
    if let (Some((pass, done)), Some(file)) = (journal.resumed(), journal.file()) {
        say(&format!("goes on in pass {pass} after {done} objects, as {} says", file.display()));
    }
    if !args.yes {
        return Err(Failure::new("nothing was done yet").hint("run it again with --yes".to_owned()));
    }
    let run = carry_out(&args, &server, &plan, journal, room).await?;
    args.format.print(&run.report)?;
    finished(&run)
}

/// How full etcd is decides when to wait, where etcd can be reached: on a kubeadm host, and where options say how.
async fn room(args: &ReencryptArgs, server: &ApiServer, plan: &Plan) -> Result<Option<Room>, Failure> {
    if !args.etcd.is_known() {
        return Ok(None);
    }
    let looked = async {
        let etcd = args.etcd.connect().await?;
        let failed = |error: ReadError| Failure::from_error(&error).exit(error.class().exit());
        let is_of_cluster = match is_of_cluster(&etcd, &args.etcd_prefix, server.cluster()).await {
            Err(error) if error.class() == ErrorClass::Denied => return Ok(None),
            found => found.map_err(failed)?,
        };
        if !is_of_cluster {
            return Err(Failure::new(format!(
                "etcd at {} does not hold this cluster below {}",
                etcd.endpoint(),
                args.etcd_prefix
            ))
            .hint("check --endpoints and --etcd-prefix, and --kubeconfig".to_owned()));
        }
        let room = Room::of(etcd);
        match room.forecast(plan, &args.etcd_prefix).await {
            Err(error) if error.class() == ErrorClass::Denied => Ok(None),
            told => Ok(Some((room, told.map_err(failed)?))),
        }
    };
    match looked.await {
        Ok(Some((room, told))) => {
            told.iter().for_each(|it| say(it));
            Ok(Some(room))
        }
        Ok(None) => {
            say(
                "how full etcd is will not be watched: this user may not ask it, which takes etcd's role root",
            );
            Ok(None)
        }
        Err(failure) if args.etcd.is_given() => Err(failure),
        Err(failure) => {
            say(&format!("how full etcd is will not be watched: {failure}"));
            Ok(None)
        }
    }
}

async fn carry_out(
    args: &ReencryptArgs,
    server: &ApiServer,
    plan: &Plan,
    journal: Journal,
    room: Option<Room>,
) -> Result<Run, Failure> {
    let signal = termination().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
    let control = Control {
        concurrency_max: args.concurrency_max.into(),
        patience: args.patience.get(),
        room,
        ..Control::default()
    };
    let stop = control.stop.clone();
    let mut bar = Bar::new();
    let mut observer = |progress: &_| bar.show(progress);
    let mut work = pin!(rewrite(server, plan, journal, control, &mut observer));
    let run = tokio::select! {
        run = &mut work => return Ok(run),
        signal = signal => {
            say(&format!("{signal}: stops after what is under way"));
            stop.cancel();
            work.await
        }
    };
    Ok(run)
}

fn finished(run: &Run) -> Result<(), Failure> {
    let Run { report, interrupted } = run;
    if let Some(interrupted) = interrupted {
        return Err(broken_off(interrupted));
    }
    let text = match report.ending {
        Ending::AllCurrent => return Ok(()),
        Ending::Refused => report.what_is_left(),
        Ending::StillRewriting => format!("{} passes were not enough", report.passes.len()),
        Ending::Stopped | Ending::Interrupted => stopped(report),
    };
    Err(Failure::new(text).hint(report.next_step()).exit(Exit::Partly))
}

fn stopped(report: &Report) -> String {
    format!("stopped in pass {} after {} objects", report.passes.len(), report.objects_sent)
}

fn broken_off(error: &Interrupted) -> Failure {
    Failure::from_error(error).hint(error.hint()).exit(error.class().exit())
}

pub(super) fn not_connected(error: &ConnectError) -> Failure {
    let hint = match error {
        ConnectError::Credentials { .. } => {
            "run the plugin, or look into the token file, that the kubeconfig names for the user".to_owned()
        }
        ConnectError::None => "name one with --kubeconfig or KUBECONFIG".to_owned(),
        ConnectError::Call { source, .. } => match source.class() {
            ErrorClass::Unauthenticated => {
                "renew the credentials of the kubeconfig, or choose another context".to_owned()
            }
            ErrorClass::Denied => {
                "grant the verb get on the namespace kube-system: its uid is the cluster's".to_owned()
            }
            _ => "check that the API server runs, and that the kubeconfig is that of this cluster".to_owned(),
        },
        _ => "check --kubeconfig, KUBECONFIG and --context".to_owned(),
    };
    Failure::from_error(error).hint(hint).exit(exit(error.class()))
}

fn no_plan(error: &PlanError) -> Failure {
    let failure = Failure::from_error(error).exit(exit(error.class()));
    match error {
        PlanError::Nothing(left_out) => left_out
            .iter()
            .take(10)
            .fold(failure, |failure, it| failure.caused_by(format!("{}: {}", it.resource, it.reason))),
        PlanError::NoMigration(error) => failure.hint(error.hint()),
        PlanError::Call { source, .. } if source.class() == ErrorClass::Denied => {
            failure.hint("grant the verbs list and patch on it".to_owned())
        }
        _ => failure,
    }
}

fn unusable(error: &JournalError) -> Failure {
    Failure::from_error(error).hint(error.hint())
}

/// What was given is usage or configuration text.
pub(super) fn exit(class: ErrorClass) -> Exit {
    match class {
        ErrorClass::Invalid => Exit::Usage,
        class => class.exit(),
    }
}
