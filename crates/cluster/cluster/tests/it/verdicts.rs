//! Our verdict and kube-apiserver's own.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keystead_cluster::encryption_configuration::{ApiServer, EncryptionConfiguration};
use keystead_testkit::control_plane::Binaries;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cases::{CANARY, Case, Verdict, cases};

/// What kube-apiserver reads right after the encryption configuration. It does not exist, and that ends a kube-apiserver that was
/// content so far: no etcd, no port and no waiting.
const NEXT_FILE: &str = "/keystead/next-file-that-is-read";

#[test]
fn every_case_is_judged_as_it_says() {
    for minor in Binaries::versions().map(minor) {
        for case in cases() {
            assert_eq!(ours(&case, minor), (case.verdict)(minor), "{} on 1.{minor}", case.name);
        }
    }
}

#[test]
fn no_error_repeats_a_key() {
    let mut refused = 0;
    for case in cases() {
        // Damage that moves keys to where names are, and names to where keys are.
        for text in [
            case.text.clone(),
            case.text.replace("secret: ", ""),
            case.text.replace("secret: ", "secret: x, "),
            case.text.replace("secret:", "? "),
            case.text.replace("keys:", ""),
            case.text.replace("name: k, secret:", "'name"),
            case.text.replace("secret: M", "secret: [M"),
        ] {
            let said = match EncryptionConfiguration::read(text.as_bytes()) {
                Ok(configuration) => {
                    format!("{:?}{:?}", configuration.entries(), configuration.known_names())
                }
                Err(error) => {
                    refused += 1;
                    format!("{error} {error:?}")
                }
            };
            assert!(!said.contains(CANARY), "{}: {said}", case.name);
        }
    }
    assert!(refused > 100, "{refused}");
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn kube_apiserver_says_the_same() -> Result<()> {
    // As many as there are cores on a small machine: each needs one for a third of a second.
    let places = Arc::new(Semaphore::new(2));
    let keys = Arc::new(Keys::write()?);
    let mut runs = JoinSet::new();
    // The older ones only where they differ: a run takes a third of a second.
    let newest = Binaries::versions().map(minor).into_iter().max().context("no version")?;
    for version in Binaries::versions() {
        let minor = minor(version);
        let differs = |case: &Case| minor == newest || (case.verdict)(minor) != (case.verdict)(newest);
        for case in cases().into_iter().filter(differs) {
            let (places, keys) = (places.clone(), keys.clone());
            runs.spawn(async move {
                let _place = places.acquire().await?;
                let said = kube_apiserver(version, &case, &keys).await.with_context(|| case.name)?;
                let taken = (case.verdict)(minor) != Verdict::Bad;
                let agrees = taken == said.is_ok();
                Ok::<_, anyhow::Error>((!agrees).then(|| format!("{} on {version}: {said:?}", case.name)))
            });
        }
    }
    let mut wrong = Vec::new();
    while let Some(run) = runs.join_next().await {
        wrong.extend(run??);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The y of `1.y.z`.
fn minor(version: &str) -> u32 {
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    minor.expect("a version has three numbers")
}

fn ours(case: &Case, minor: u32) -> Verdict {
    let server = ApiServer { minor, automatic_reload: case.automatic_reload, kms_v1: case.kms_v1 };
    let expected = (case.verdict)(minor);
    // What kube-apiserver would say is not known here: only the other test can tell `Bad` from `Stricter`.
    let refused = if expected == Verdict::Stricter { Verdict::Stricter } else { Verdict::Bad };
    match EncryptionConfiguration::read(case.text.as_bytes()) {
        Err(_) => refused,
        Ok(configuration) => match configuration.check(&server).as_slice() {
            [] => Verdict::Good,
            findings if findings.iter().any(|it| it.problem.is_refused()) => refused,
            _ => Verdict::Warned,
        },
    }
}

/// What it says to a configuration: nothing, or why not.
async fn kube_apiserver(version: &str, case: &Case, keys: &Keys) -> Result<std::result::Result<(), String>> {
    let binaries = Binaries::find(None, version)?;
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    std::fs::write(file.path(), &case.text)?;
    let key = |name: &str| keys.0.path().join(name);
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let mut command = Command::new(&binaries.kube_apiserver);
    command
        .args([
            "--etcd-servers=http://127.0.0.1:1",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
        ])
        // Nothing is served; all runs may name the same port.
        .args([
            "--secure-port=16443",
            "--permit-port-sharing=true",
            "--service-cluster-ip-range=10.96.0.0/16",
        ])
        .args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"])
        .arg(flag("cert-dir", keys.0.path()))
        .arg(flag("tls-cert-file", &key("certificate.pem")))
        .arg(flag("tls-private-key-file", &key("key.pem")))
        .arg(flag("service-account-key-file", &key("public-key.pem")))
        .arg(flag("service-account-signing-key-file", &key("key.pem")))
        .arg(flag("encryption-provider-config", file.path()))
        .arg(format!("--encryption-provider-config-automatic-reload={}", case.automatic_reload))
        .arg(format!("--token-auth-file={NEXT_FILE}"))
        .args(case.kms_v1.map(|on| format!("--feature-gates=KMSv1={on}")))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Some errors are several lines long.
    let last = said.rsplit_once("command failed").map(|(_, last)| last).unwrap_or_default();
    if last.contains(NEXT_FILE) {
        Ok(Ok(()))
    } else if last.contains("error while parsing file") || last.contains("error while building transformers")
    {
        Ok(Err(last.to_owned()))
    } else {
        bail!("kube-apiserver ended with neither: {said}")
    }
}

/// Keys that kube-apiserver wants before it reads anything else.
struct Keys(tempfile::TempDir);

impl Keys {
    fn write() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        std::fs::write(directory.path().join("certificate.pem"), cert.pem())?;
        std::fs::write(directory.path().join("key.pem"), signing_key.serialize_pem())?;
        std::fs::write(directory.path().join("public-key.pem"), signing_key.public_key_pem())?;
        Ok(Self(directory))
    }
}
