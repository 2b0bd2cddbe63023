//! What the documents of Kubernetes advise: `kubectl get secrets -A -o json | kubectl replace -f -`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

use crate::report::{Report, Row};
use crate::stage::Stage;

/// Adds a row, or says why there is none.
pub(crate) async fn measure(stage: &Stage, limit: Duration, report: &mut Report) -> Result<()> {
    let program = program();
    let version = Command::new(&program).args(["version", "--client", "--output=json"]).output().await;
    let Ok(version) = version else {
        report
            .notes
            .push("kubectl was not measured: it is neither in $KEYSTEAD_KUBECTL nor on PATH.".to_owned());
        return Ok(());
    };
    let version: serde_json::Value = serde_json::from_slice(&version.stdout)?;
    let start = Instant::now();
    let ended = pipe(stage, &program, limit).await?;
    let took = start.elapsed();
    let secrets = stage.rewritten().await?;
    let until = if ended { String::new() } else { format!(", cut after {} s", limit.as_secs()) };
    let what = format!("`kubectl get secrets -A -o json \\| kubectl replace -f -`{until}");
    report.rows.push(Row { what, secrets, took });
    report.notes.push(format!(
        "kubectl {}, from the start of both processes.",
        version["clientVersion"]["gitVersion"].as_str().unwrap_or("of an unknown version")
    ));
    Ok(())
}

fn program() -> PathBuf {
    let of_node = || std::env::var_os("KEYSTEAD_NODE").map(|it| PathBuf::from(it).join("kubectl"));
    let named = std::env::var_os("KEYSTEAD_KUBECTL").map(PathBuf::from);
    named.or_else(|| of_node().filter(|it| it.is_file())).unwrap_or_else(|| "kubectl".into())
}

/// Whether both came to their end. They are killed when `limit` is over, and also if this process gives up.
async fn pipe(stage: &Stage, program: &Path, limit: Duration) -> Result<bool> {
    let control_plane = &stage.scene.control_plane;
    let kubeconfig = stage.scene.kubeconfig("kubectl", control_plane.api_servers[0].token())?;
    let command = |args: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(&kubeconfig);
        command.arg("--cache-dir").arg(control_plane.directory().join("kubectl"));
        command.args(args).kill_on_drop(true);
        command
    };
    let mut get = command(&["get", "secrets", "-A", "-o", "json"]).stdout(Stdio::piped()).spawn()?;
    let read: Stdio = get.stdout.take().context("its output is piped")?.try_into()?;
    let mut replace = command(&["replace", "-f", "-"]).stdin(read).stdout(Stdio::null()).spawn()?;
    let ended = tokio::time::timeout(limit, async { (get.wait().await, replace.wait().await) }).await;
    match ended {
        Ok((get, replace)) => {
            ensure!(get?.success() && replace?.success(), "kubectl failed");
            Ok(true)
        }
        Err(_) => {
            end(get).await?;
            end(replace).await?;
            Ok(false)
        }
    }
}

async fn end(mut child: Child) -> Result<()> {
    Ok(child.kill().await?)
}
