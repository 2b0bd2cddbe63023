//! A host joins the cluster on the server, with the token that the server left for it.

use std::path::Path;
use std::time::Duration;

use crate::files;
use crate::launcher::{Launcher, Program};
use crate::layout::{HostLayout, Layout};
use crate::report::{Trouble, say};
use crate::service;

/// When a host tries again: by then the server may have written another token.
const AGAIN: Duration = Duration::from_secs(5);
/// How often the token is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// The command's own limit for its one call is 60 s.
const LONGEST: Duration = Duration::from_secs(90);

const TOKEN: &str = "join-token";

/// Returns when the host has joined. `server` gives the server's present address.
pub(crate) async fn join(
    layout: &Layout,
    host: &HostLayout,
    launcher: &Launcher,
    server: impl Fn() -> String,
) {
    let token = host.path(TOKEN);
    let mut trouble = Trouble::default();
    loop {
        if host.has_joined() {
            // It counts once, and has.
            if let Err(failure) = files::remove(&token) {
                say(&failure.to_string());
            }
            return;
        }
        if !token.exists() {
            trouble.say(&format!("{} waits for {}", host.name, token.display()));
            tokio::time::sleep(LOOK).await;
            continue;
        }
        match attempt(layout, host, launcher, &server(), &token).await {
            Ok(()) => say(&format!("{} has joined", host.name)),
            Err(reason) => {
                trouble.say(&format!("{} could not join, and tries again: {reason}", host.name));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn attempt(
    layout: &Layout,
    host: &HostLayout,
    launcher: &Launcher,
    server: &str,
    token: &Path,
) -> Result<(), String> {
    let mut args: Vec<String> =
        ["agent", "join", "--server", server, "--token-file"].map(str::to_owned).into();
    args.push(token.display().to_string());
    let authority = layout.path("server-ca.pem");
    if authority.exists() {
        args.extend(["--ca-file".to_owned(), authority.display().to_string()]);
    }
    args.extend(["--config".to_owned(), host.text("agent.yaml")]);
    let log = host.log("join");
    files::remove(&log).map_err(|failure| failure.to_string())?;
    let program = Program {
        path: launcher.keystead().to_owned(),
        args,
        environment: Vec::new(),
        directory: host.directory.clone(),
        log: log.clone(),
        grace: service::GRACE,
    };
    let mut running = launcher.start(&program).map_err(|error| error.to_string())?;
    match tokio::time::timeout(LONGEST, running.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(_)) => Err(std::fs::read_to_string(&log).unwrap_or_default()),
        Ok(Err(error)) => Err(error.to_string()),
        // It ends when `running` is dropped.
        Err(_) => Err(format!("no answer within {} s", LONGEST.as_secs())),
    }
}
