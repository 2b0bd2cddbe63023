//! `keystead-server`, as a command.

use std::path::PathBuf;
use std::time::Duration;

use keystead_model::{ErrorChain, Exit};
use keystead_runtime::{Drained, Failure, harden, print_result, start_logs, termination};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

use crate::app::{App, Running};
use crate::check::check;
use crate::settings::{PartialSettings, Settings, schema};
use crate::webhooks;

/// Descriptors besides connections: database, log, listeners, files that are read.
const OTHER_DESCRIPTORS: u64 = 256;
/// What is left to do on a disk when everything else has ended.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Serve the key management service on one TLS port.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration file; flags and the environment win over it
    #[arg(long, env = "KEYSTEAD_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings and what they name, print the result, and end
    #[arg(long)]
    check_config: bool,
    /// Send a test notice to each webhook of the settings, print what became of it, and end
    #[arg(long)]
    test_webhooks: bool,
    /// Print the JSON schema of the configuration file, and end
    #[arg(long)]
    print_config_schema: bool,
    /// Go on with a database that is older than its witness; the refusal names the commit
    #[arg(long, value_name = "COMMIT")]
    confirm_rollback: Option<u64>,
    /// Make another token of admin@keystead.local and grant it roles/keystead.admin, for when nobody has a token that works
    ///
    /// It is in the file `admin-token` of the data directory and works for 24 hours: make others with it, and start without
    /// this again. While that file is there nothing is made: remove it first.
    #[arg(long)]
    new_admin_token: bool,
    #[command(flatten)]
    given: PartialSettings,
}

/// Runs until SIGTERM or SIGINT; a second one ends at once. Called before any other thread exists.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    if args.print_config_schema {
        return print_result(&schema());
    }
    let (check_only, test_webhooks) = (args.check_config, args.test_webhooks);
    let settings = args.settings()?;
    let hardened = harden();
    if check_only {
        check(&settings)?;
        return print_result("the settings are good\n");
    }
    if test_webhooks {
        return runtime()?.block_on(webhooks::test(&settings.webhooks));
    }
    start_logs(settings.log_level, settings.log_format);
    // Whatever is written from here on is for us alone, unless its mode is set.
    umask(Mode::RWXG | Mode::RWXO);
    if let Err(error) = hardened {
        tracing::warn!(error = %ErrorChain(&error), "not fully hardened");
    }
    raise_descriptor_limit(settings.limits.total as u64 + OTHER_DESCRIPTORS);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(settings));
    // A thread that waits for a file system which does not answer does not hold up the end.
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    served
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::new(format!("cannot start: {error}")))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let no_signals = |error| Failure::new(format!("cannot wait for signals: {error}"));
    let first = termination().map_err(no_signals)?;
    let running = App::build(settings).await?.spawn()?;
    running.greet();
    tokio::select! {
        signal = first => tracing::info!(signal, "stopping; once more ends at once"),
        () = running.stopping() => {}
    }
    let second = termination().map_err(no_signals)?;
    tokio::select! {
        drained = running.stop() => ended(drained),
        signal = second => Err(Failure::new(format!("{signal} once more: calls under way were cut off"))),
    }
}

fn ended(drained: Drained) -> Result<(), Failure> {
    match drained {
        Drained::Clean => Ok(()),
        Drained::Crashed => Err(Failure::new("a task crashed; the log says which").exit(Exit::Bug)),
        Drained::TimedOut => Err(Failure::new("something did not end in time; the log says what")),
    }
}

/// Each connection is a descriptor, and the usual limit of 1,024 is far below ours.
fn raise_descriptor_limit(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    if raised < wanted || set.is_err() {
        tracing::warn!(
            limit = raised,
            wanted,
            "the limit of open files is lower than the limit of connections needs (ulimit -n, LimitNOFILE=)"
        );
    }
}

impl RunArgs {
    fn settings(self) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map(PartialSettings::read).transpose()?;
        let settings = self.given.or(file.unwrap_or_default()).complete()?;
        let (confirm_rollback, new_admin_token) = (self.confirm_rollback, self.new_admin_token);
        Ok(Settings { confirm_rollback, new_admin_token, ..settings })
    }
}

impl Running {
    /// What a person needs to go on, once: paths, and nothing of what is in them.
    fn greet(&self) {
        tracing::info!(
            endpoint = self.endpoint(),
            console = format!("{}/console", self.endpoint()),
            plain_http = ?self.plain_http(),
            admin = self.admin().map(tracing::field::display),
            data = %self.data_dir().display(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        let data = self.data_dir().display();
        if self.has_admin_token() {
            let token_file = self.token_file();
            tracing::info!(token_file = %token_file.display(), r#"next: eval "$(keystead env --data-dir {data})""#);
        } else {
            // Of a database that was restored, or of an administrator who has deleted the file.
            tracing::info!(
                r#"next, with a token that is in use already: eval "$(keystead env --data-dir {data} --token-file FILE)""#
            );
        }
    }
}
