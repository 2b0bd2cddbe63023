//! Tests of the suite: a good plugin passes, and each broken one is caught by the check that is meant for it.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod good;
#[cfg(test)]
mod model;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod serve;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use keystead_conformance::{Options, Report, Socket, Verdict, run};

/// Options for quick tests against a model over `dir`.
fn options(socket: &Path) -> Options {
    let mut options = Options::new(Socket::Path(socket.to_owned()));
    // Long, because other tests share the processors; a call that hangs on purpose takes this long.
    options.timeout = Duration::from_secs(6);
    // The least that shows a key id that comes again.
    options.rotations = 2;
    options.rotate_limit = Duration::from_secs(1);
    options.start_limit = Duration::from_secs(2);
    options.heal_limit = Duration::from_secs(1);
    options.outage = Duration::from_millis(400);
    options
}

/// The hooks of a model whose state is in `dir`.
fn with_hooks(mut options: Options, dir: &Path) -> Options {
    let dir = dir.display();
    options.hooks.rotate = Some(format!("printf x >>'{dir}/versions'"));
    options.hooks.backend_down = Some(format!("touch '{dir}/down'"));
    options.hooks.backend_up = Some(format!("rm '{dir}/down'"));
    options
}

async fn check(options: &Options) -> Report {
    run(options, |_| {}).await
}

/// The ids with this verdict. How fast a debug build on a busy machine is says nothing: those warnings are left out.
fn ids(report: &Report, verdict: Verdict) -> BTreeSet<&str> {
    let found = report.findings.iter().filter(|it| it.verdict == verdict);
    let timing = |id: &str| id.ends_with("-time");
    found.map(|it| it.id).filter(|id| verdict != Verdict::Warn || !timing(id)).collect()
}
