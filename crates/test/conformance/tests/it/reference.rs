//! A plugin of another make, Kubernetes' own service helper in Go, and what is to be said of it today.

use keystead_conformance::Verdict;

use crate::process::Reaper;
use crate::{check, ids, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go programs: cargo xtask test"]
async fn v2_reference_plugin() {
    let (fails, warns) = findings("v2").await;
    // Its mode is that of the umask; a stale socket makes it exit with 1, "address already
    // in use".
    assert_eq!(fails, ["restart-stale-socket"]);
    assert_eq!(warns, ["restart-socket-kept", "socket-mode", "v2-decrypt-extra-annotations"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go programs: cargo xtask test"]
async fn v1_reference_plugin() {
    let (fails, warns) = findings("v1").await;
    assert_eq!(fails, ["restart-stale-socket"]);
    assert_eq!(warns, ["restart-socket-kept", "socket-mode"]);
}

/// The ids that fail and those that warn.
async fn findings(kms: &str) -> (Vec<String>, Vec<String>) {
    let program = std::env::var("KEYSTEAD_GO_REFERENCE_PLUGIN").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let _reaper = Reaper(folder.path().to_owned());
    let dir = folder.path().display();
    let start = format!(
        "umask 022; '{program}' -socket '{dir}/kms.sock' -kms {kms} >'{dir}/log' 2>&1 & echo $! >'{dir}/pid'"
    );
    assert!(std::process::Command::new("sh").args(["-c", &start]).status().unwrap().success());
    let mut options = options(&folder.path().join("kms.sock"));
    crate::broken::until_served(&options).await;
    options.hooks.start = Some(start);
    options.hooks.kill = Some(format!("kill -9 $(cat '{dir}/pid')"));
    let report = check(&options).await;
    assert!(ids(&report, Verdict::Pass).len() > 20, "{report}");
    let found = |verdict| ids(&report, verdict).into_iter().map(str::to_owned).collect();
    (found(Verdict::Fail), found(Verdict::Warn))
}
