//! Faults that are in files of a host, beside a real plugin. No API server and no etcd answer, which keeps none of them from being found.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::host::{Host, STATIC_KEY, TOKEN};
use super::{follow, listed};
use crate::rollout::fleet::make_key;

/// A fault, and what its advice says.
pub(super) struct Fault {
    pub(super) id: &'static str,
    make: fn(&Host),
    mend: Mend,
}

/// How an advice is followed.
enum Mend {
    /// By the commands that it names, until nothing is found any more.
    Commands,
    /// By what it says in words.
    By(fn(&Host)),
}

use Mend::{By, Commands};

pub(super) const FAULTS: [Fault; 18] = [
    Fault {
        id: "manifest-unreadable",
        make: |host| host.write("manifests/kube-apiserver.yaml", "kind: [\n"),
        mend: By(Host::reset),
    },
    Fault {
        id: "api-server-twice",
        make: |host| host.write("manifests/kube-apiserver.yaml.bak", &host.manifest()),
        mend: Commands,
    },
    Fault {
        id: "configuration-unreadable",
        make: |host| fs::remove_file(host.path("pki/encryption.yaml")).expect("removed"),
        mend: By(|host| host.write("pki/encryption.yaml", &host.configuration())),
    },
    Fault {
        id: "configuration-mounted-alone",
        make: |host| {
            let (directory, file) = (host.text("pki"), host.text("pki/encryption.yaml"));
            let text = host
                .manifest()
                .replace(&format!("mountPath: {directory}\n"), &format!("mountPath: {file}\n"));
            let text =
                text.replace(&format!("path: {directory}\n"), &format!("path: {file}\n      type: File\n"));
            host.write("manifests/kube-apiserver.yaml", &text);
        },
        mend: By(|host| host.write("manifests/kube-apiserver.yaml", &host.manifest())),
    },
    Fault {
        id: "configuration-refused",
        make: |host| {
            let text = host.configuration().replace("[secrets]", "[secrets, secrets]");
            host.write("pki/encryption.yaml", &text);
        },
        mend: By(|host| host.write("pki/encryption.yaml", &host.configuration())),
    },
    Fault {
        id: "kms-name-twice",
        make: |host| {
            let entry = format!(
                "      - kms: {{apiVersion: v2, name: keystead, endpoint: 'unix://{}'}}\n",
                host.socket().display()
            );
            host.write("pki/encryption.yaml", &host.providers(&entry.repeat(2)));
        },
        mend: By(|host| {
            let entry = |name: &str| {
                format!(
                    "      - kms: {{apiVersion: v2, name: {name}, endpoint: 'unix://{}'}}\n",
                    host.socket().display()
                )
            };
            host.write("pki/encryption.yaml", &host.providers(&(entry("keystead") + &entry("other"))));
        }),
    },
    Fault {
        id: "kms-v1-gate",
        make: |host| {
            let entry =
                format!("      - kms: {{name: old, endpoint: 'unix://{}'}}\n", host.socket().display());
            host.write("pki/encryption.yaml", &(host.configuration() + &entry));
        },
        mend: By(|host| {
            let text = host
                .manifest()
                .replace("    - --secure-port", "    - --feature-gates=KMSv1=true\n    - --secure-port");
            host.write("manifests/kube-apiserver.yaml", &text);
        }),
    },
    Fault {
        id: "kms-socket-shared",
        make: |host| {
            host.write_pod("a.yaml", "");
            host.write_pod("b.yaml", "");
        },
        mend: By(|host| fs::remove_file(host.path("manifests/b.yaml")).expect("removed")),
    },
    Fault {
        id: "socket-hidden",
        make: |host| {
            let mount = format!("    - mountPath: {}\n      name: kms-plugin-socket\n", host.text("plugin"));
            host.write("manifests/kube-apiserver.yaml", &host.manifest().replace(&mount, ""));
        },
        mend: By(|host| host.write("manifests/kube-apiserver.yaml", &host.manifest())),
    },
    Fault {
        id: "socket-closed",
        make: |host| {
            let text = host.manifest() + "  securityContext: {runAsUser: 2000, runAsGroup: 2000}\n";
            host.write("manifests/kube-apiserver.yaml", &text);
        },
        mend: Commands,
    },
    Fault {
        id: "socket-open",
        make: |host| {
            host.set_mode("", 0o755);
            host.set_mode("plugin", 0o755);
            host.set_mode("plugin/kms.sock", 0o666);
        },
        mend: Commands,
    },
    Fault {
        id: "key-file-not-used",
        make: |host| fs::remove_file(host.path("plugin/key")).expect("removed"),
        mend: By(Host::reset),
    },
    Fault {
        id: "key-file-not-used",
        make: |host| {
            make_key(&host.path("plugin/another"));
            fs::rename(host.path("plugin/another"), host.path("plugin/key")).expect("renamed");
        },
        mend: By(Host::reset),
    },
    Fault {
        id: "secret-in-manifest",
        make: |host| {
            host.write_pod("a.yaml", &format!("    env:\n    - {{name: KMS_USER_ID, value: {TOKEN}}}\n    - {{name: KEYSTEAD_ALLOW_TOKEN_IN_ENV, value: 'true'}}\n"));
        },
        mend: By(|host| host.write_pod("a.yaml", "    env:\n    - {name: KMS_USER_ID, value: doctor-1}\n")),
    },
    Fault {
        id: "kms-behind-cluster",
        make: |host| {
            host.write_pod("a.yaml", "    - --kms-endpoint=https://10.104.3.7:8443\n    - --kms-key=projects/p/locations/l/keyRings/r/cryptoKeys/k\n")
        },
        mend: By(|host| host.write_pod("a.yaml", "    - --kms-endpoint=https://192.0.2.7:8443\n")),
    },
    Fault {
        id: "private-key-readable",
        make: |host| host.set_mode("pki/apiserver.key", 0o644),
        mend: Commands,
    },
    Fault {
        id: "configuration-readable",
        make: |host| host.set_mode("pki/encryption.yaml", 0o644),
        mend: Commands,
    },
    Fault {
        id: "certificate-ends",
        make: |host| host.write_certificate(-1),
        mend: By(|host| host.write_certificate(365)),
    },
];

/// Their API servers would never be ready with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_1_28_does_not_take_is_found() {
    let host = Host::start().await;
    host.write("manifests/kube-apiserver.yaml", &host.manifest().replace("v1.36.3", "v1.28.15"));
    let found = host.doctor().findings("plugin-unhealthy");
    assert!(found.iter().any(|it| it.evidence.contains("--status-version=v2beta1")), "{found:?}");
}

/// Beside [`FAULTS`], because nothing is checked of it while all is well: an opaque token does not say when it ends.
pub(super) const TOKEN_ENDS: &str = "token-ends";

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_in_files_is_found_and_gone_after_its_advice() {
    let host = Host::start().await;
    let well = host.doctor();
    let down = ["api-server-down", "etcd-down"];
    assert_eq!(well.found(), down.into(), "{:#}", well.report);
    assert_eq!(well.code, Some(6), "{}", well.stderr);
    let path = std::env::var("PATH").unwrap_or_default();
    for Fault { id, make, mend } in FAULTS {
        make(&host);
        let sick = host.doctor();
        assert!(!sick.findings(id).is_empty(), "{id} was not found: {:#}", sick.report);
        assert_eq!(sick.code, Some(6), "{id}: {}", sick.stderr);
        for it in sick.findings(id) {
            assert_eq!(it.severity, "error", "{it:?}");
        }
        match mend {
            By(mend) => mend(&host),
            Commands => {
                // One directory after the other may stand in the way.
                for _ in 0..8 {
                    let left = host.doctor().findings(id);
                    if left.is_empty() {
                        break;
                    }
                    left.iter().for_each(|it| follow(&it.advice, &path));
                }
            }
        }
        let mended = host.doctor();
        assert!(mended.findings(id).is_empty(), "{id} is still there: {:#}", mended.report);
        assert_eq!(mended.state(id), "ok", "{id}: {:#}", mended.check(id));
        host.reset();
    }
    assert_eq!(host.doctor().found(), down.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_soon_is_a_warning() {
    let host = Host::start().await;
    host.write_certificate(10);
    let warned = host.doctor();
    assert_eq!(warned.state("certificate-ends"), "warning");
    assert_eq!(warned.state(TOKEN_ENDS), "not_checked");
    host.write_kubeconfig(Some(-1));
    let ended = host.doctor();
    assert_eq!(ended.state(TOKEN_ENDS), "error", "{:#}", ended.check(TOKEN_ENDS));
    host.write_kubeconfig(Some(400));
    assert_eq!(host.doctor().state(TOKEN_ENDS), "ok");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_key_of_somebody_else_is_found_and_given_back() {
    let host = Host::start().await;
    chown(host.path("pki/apiserver.key"), Some(2000), None).expect("root");
    let told = host.doctor();
    let findings = told.findings("private-key-readable");
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].evidence.contains("belongs to user 2000"), "{findings:?}");
    follow(&findings[0].advice, &std::env::var("PATH").unwrap_or_default());
    assert_eq!(host.doctor().state("private-key-readable"), "ok");
}

/// One part that is away keeps nothing else from being looked at, and is never taken to be well.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_away_is_told() {
    let host = Host::start().await;
    let told = host.doctor();
    for id in ["configuration-overwritten", "stored-plain", "etcd-alarm", "clock-off", "kubeadm-without-flag"]
    {
        assert_eq!(told.state(id), "not_checked", "{id}");
        assert!(!told.check(id)["not_checked"].as_array().expect("reasons").is_empty(), "{id}");
    }
    for id in ["plugin-unhealthy", "socket-hidden", "identity-first", "private-key-readable"] {
        assert_eq!(told.state(id), "ok", "{id}: {:#}", told.check(id));
    }
    assert_eq!(told.report["checks"].as_array().expect("checks").len(), listed().len());
}

/// A FIFO is not opened, whoever names it: the kubeconfig, and a flag.
#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_not_waited_for() {
    let host = Host::start().await;
    fs::remove_file(host.path("kubeconfig")).expect("removed");
    let fifo = host.path("kubeconfig");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    host.write_pod("a.yaml", &format!("    - --kms-ca-file={}\n", fifo.display()));
    let told = host.doctor();
    let reasons = told.check("clock-off")["not_checked"].to_string();
    assert!(reasons.contains("no regular file"), "{reasons}");
    assert_eq!(told.state("plugin-unhealthy"), "ok");
}

/// Links are followed by the kubelet, and keys beside a kubeconfig by kubectl.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_elsewhere_is_looked_at() {
    let host = Host::start().await;
    host.write("copy.yaml", &host.manifest());
    symlink(host.path("copy.yaml"), host.path("manifests/copy.yaml")).expect("a link");
    host.write("client.key", &fs::read_to_string(host.path("pki/apiserver.key")).expect("a key"));
    host.set_mode("client.key", 0o644);
    let kubeconfig = fs::read_to_string(host.path("kubeconfig")).expect("a kubeconfig");
    host.write("kubeconfig", &kubeconfig.replace("{token: opaque-canary}", "{client-key: client.key}"));
    let told = host.doctor();
    assert_eq!(told.findings("api-server-twice").len(), 1, "{:#}", told.report);
    let found = told.findings("private-key-readable");
    assert!(found.len() == 1 && found[0].evidence.contains("client.key"), "{found:?}");
}

/// One pod that has the directory too, such as one that looks at its metrics, serves no socket. Where a pod's key file is, its mounts say.
#[tokio::test(flavor = "multi_thread")]
async fn mounts_of_pods_are_taken_as_they_are() {
    let host = Host::start().await;
    host.write_pod(
        "a.yaml",
        "    - --key-file=/keys/key\n    volumeMounts: [{name: kms-plugin-socket, mountPath: /keys}]\n",
    );
    let watcher = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: b}}\nspec:\n  containers:\n  - {{name: b, image: b, command: [b]}}\n  volumes:\n  - {{name: s, hostPath: {{path: {}}}}}\n",
        host.text("plugin")
    );
    host.write("manifests/b.yaml", &watcher);
    let told = host.doctor();
    for id in ["kms-socket-shared", "key-file-not-used"] {
        assert_eq!(told.state(id), "ok", "{id}: {:#}", told.check(id));
    }
    host.write_pod("a.yaml", "    - --key-file=/inside/key\n");
    assert_eq!(host.doctor().state("key-file-not-used"), "not_checked");
}

/// What was found is shown, wherever it cannot be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_cannot_be_written_takes_no_report_away() {
    let host = Host::start().await;
    let output = host.command().arg("--bundle").arg(host.path("nowhere/b.json")).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(crate::stdout(&output).contains("etcd-down"), "{}", crate::stdout(&output));
}

/// Keys, tokens and passwords are read, and never told.
#[tokio::test(flavor = "multi_thread")]
async fn neither_output_nor_bundle_has_a_secret() {
    let host = Host::start().await;
    let environment = format!(
        "    env:\n    - {{name: KMS_USER_ID, value: {TOKEN}}}\n    - {{name: VAULT_TOKEN, value: hvs.canary-in-a-manifest}}\n    - {{name: PIN, value: pin-canary}}\n"
    );
    host.write_pod("a.yaml", &format!("    - --anything={TOKEN}\n    - --pin=pin-canary\n    - --kms-endpoint=https://user:url-canary@kms.example:1\n{environment}"));
    let pem = "-----BEGIN EC PRIVATE KEY-----canary=";
    host.write_pod("b.yaml", &format!("    - --client-key\n    - '{pem}'\n    - '{pem}'\n"));
    let manifest = host.manifest().replace("http://127.0.0.1:1", "http://root:etcd-canary@127.0.0.1:1");
    host.write("manifests/kube-apiserver.yaml", &manifest);
    host.write_kubeconfig(Some(-1));
    let kubeconfig = fs::read_to_string(host.path("kubeconfig")).expect("a kubeconfig");
    let kubeconfig = kubeconfig.replace("https://127.0.0.1:1", "https://root:server-canary@127.0.0.1:1");
    host.write("kubeconfig", &kubeconfig);
    let bundle = host.path("bundle.json");
    let key = fs::read_to_string(host.path("plugin/key")).expect("the key");
    let key = key.lines().find_map(|it| it.strip_prefix("version 1 ")).expect("a version");
    let pem = fs::read_to_string(host.path("pki/apiserver.key")).expect("a key");
    let (_, token) = kubeconfig.split_once("token: ").expect("a token");
    let secrets = [
        TOKEN,
        STATIC_KEY,
        "canary",
        key.split(' ').nth(1).expect("a key"),
        pem.lines().nth(1).expect("base64"),
        token.split('}').next().expect("its end"),
    ];
    for format in ["table", "json"] {
        let mut command = host.command();
        let output = command.args(["--format", format, "--bundle"]).arg(&bundle).output().expect("runs");
        let bundle = fs::read_to_string(&bundle).expect("the bundle");
        assert!(bundle.contains("\"secret-in-manifest\"") && bundle.contains("the variable PIN"), "{bundle}");
        for text in [crate::stdout(&output), crate::stderr(&output), bundle] {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} stands in {text}");
            }
        }
    }
}
