//! `keystead-plugin`, as a command.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use keystead_crypto::{Random, Secret32, SystemRandom};
use keystead_model::{ErrorChain, ErrorClass, Exit};
use keystead_provider::{Guard, GuardSettings, Provider as _, ProviderError};
use keystead_runtime::{Drained, Failure, harden, print_result, start_logs, termination};

use crate::app::{App, refused_socket};
use crate::providers;
use crate::settings::{PartialSettings, Settings};
use crate::transport::{Listener, inherited_listener};

/// Serve Kubernetes KMS v1 and v2 on one UNIX socket.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration file; flags and the environment win over it
    #[arg(long, env = "KEYSTEAD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings and what they name, print the result, and end
    #[arg(long)]
    check_config: bool,
    /// The same, and have the provider wrap something and unwrap it again
    #[arg(long, conflicts_with = "check_config")]
    check_provider: bool,
    /// Print the JSON schema of the configuration file, and end
    #[arg(long)]
    print_config_schema: bool,
    #[command(flatten)]
    given: PartialSettings,
}

/// Runs until SIGTERM or SIGINT. Called before any other thread exists.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    if args.print_config_schema {
        return print_result(&crate::settings::schema());
    }
    let settings = args.settings()?;
    if args.check_config {
        check(&settings)?;
        return print_result("the settings are good\n");
    }
    if args.check_provider {
        check(&settings)?;
        ask(&settings)?;
        return print_result("the settings are good, and the provider wraps and unwraps\n");
    }
    start_logs(settings.log_level, settings.log_format);
    if let Err(error) = harden() {
        tracing::warn!(error = %ErrorChain(&error), "not fully hardened");
    }
    let inherited = inherited_listener().map_err(|error| refused_socket(&error))?;
    // Two workers do what one connection can use; more would only cost memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let termination =
            termination().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
        let running = App::build(settings, inherited).await?.spawn()?;
        tracing::info!(
            socket = running.socket(),
            admin = running.admin().map(tracing::field::display),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        tokio::select! {
            signal = termination => tracing::info!(signal, "stopping"),
            () = running.stopping() => {}
        }
        match running.stop().await {
            Drained::Clean => Ok(()),
            Drained::Crashed => Err(Failure::new("a task crashed; the log says which").exit(Exit::Bug)),
            Drained::TimedOut => Err(Failure::new("calls under way did not end in time")),
        }
    })
}

/// What can be judged without touching the socket's place, so that it can be run beside a plugin that serves.
fn check(settings: &Settings) -> Result<(), Failure> {
    // A socket that is handed over is taken as it is, so only the setting is judged.
    let (handed_over, _other_end) =
        UnixStream::pair().map_err(|error| Failure::new(format!("cannot make a socket: {error}")))?;
    let handed_over = UnixListener::from(OwnedFd::from(handed_over));
    Listener::bind(&settings.socket, Some(handed_over)).map_err(|error| refused_socket(&error))?;
    providers::check(&settings.provider)
}

/// One wrap and its unwrap, bounded as those of a plugin that serves.
fn ask(settings: &Settings) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let opened = providers::open(&settings.provider, &random)?;
        let guarded = Guard::new(opened.provider, GuardSettings::default());
        let asked = async {
            let key = Secret32::generate(&*random)
                .map_err(|error| ProviderError::new(ErrorClass::Bug, error.to_string()))?;
            let wrapped = guarded.wrap(&key).await?;
            if guarded.unwrap(&wrapped.version, &wrapped.bytes).await?.is_same(&key) {
                return Ok(());
            }
            Err(ProviderError::new(ErrorClass::Corrupt, "it did not unwrap what it had just wrapped"))
        };
        asked.await.map_err(|error: ProviderError| {
            Failure::new("the settings are good, but the provider cannot be used")
                .caused_by(ErrorChain(&error).to_string())
                .exit(error.class().exit())
        })
    })
}

impl RunArgs {
    fn settings(&self) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map(PartialSettings::read).transpose()?;
        let manifest = PartialSettings::of_manifest(|name| std::env::var(name).ok());
        self.given.clone().or(manifest).or(file.unwrap_or_default()).complete()
    }
}
