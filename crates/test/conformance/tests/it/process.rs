//! The model in a process of its own, to be killed and started again. The process is this test binary: a test that serves when the
//! environment says so.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::Fault;
use crate::model::Model;
use crate::serve::{accept, bind};

/// Commands that start and kill the model over the state in `dir`.
pub(crate) fn hooks(dir: &std::path::Path, fault: Fault) -> (String, String) {
    let dir = dir.display();
    let program = std::env::current_exe().unwrap();
    let start = format!(
        "{DIR}='{dir}' {FAULT}={fault:?} '{}' --exact process::serves_when_asked --nocapture >'{dir}/log' 2>&1 & echo $! >'{dir}/pid'",
        program.display()
    );
    let kill = format!("kill -9 $(cat '{dir}/pid')");
    (start, kill)
}

/// Kills the process that the last start left.
pub(crate) struct Reaper(pub(crate) PathBuf);

impl Drop for Reaper {
    fn drop(&mut self) {
        let (_, kill) = hooks(&self.0, Fault::None);
        drop(std::process::Command::new("sh").args(["-c", &format!("{kill} 2>/dev/null")]).status());
    }
}

/// Not a test by itself, and instantly over, unless a hook of another test starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_when_asked() {
    let (Ok(dir), Ok(fault)) = (std::env::var(DIR), std::env::var(FAULT)) else { return };
    let (dir, fault) = (PathBuf::from(dir), Fault::named(&fault));
    OpenOptions::new().create(true).append(true).open(dir.join("starts")).unwrap().write_all(b"x").unwrap();
    let model = Arc::new(Model::new(dir.clone(), fault, Duration::from_secs(1)));
    accept(bind(&dir.join("kms.sock"), fault).unwrap(), model).await;
}

const DIR: &str = "KEYSTEAD_CONFORMANCE_MODEL_DIR";
const FAULT: &str = "KEYSTEAD_CONFORMANCE_MODEL_FAULT";
