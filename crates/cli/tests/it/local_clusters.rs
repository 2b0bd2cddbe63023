//! A local cluster as a server has it run: a real server, and the supervisor with real programs of Kubernetes. Played is what the server writes into
//! the cluster's directory.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use keystead_testkit::control_plane::DEFAULT_VERSION;
use reqwest::{Certificate, Client, Identity};
use serde_json::{Value, json};

use crate::scene::{LOCATION, Scene};
use crate::{keystead, stderr};

/// Far more than a start takes: test machines are busy.
const START: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// A cluster on a server, and its directory.
struct LocalCluster {
    scene: Scene,
    directory: PathBuf,
    /// What creates it on the server.
    operation: String,
    _place: tempfile::TempDir,
}

/// The directory with all four programs.
fn programs() -> String {
    std::env::var("KEYSTEAD_KUBERNETES_PROGRAMS").expect("set by cargo xtask test --tools")
}

impl LocalCluster {
    async fn create(hosts: usize, more: &str) -> Self {
        let scene = Scene::new().await;
        scene.works("services enable container.googleapis.com");
        scene.works(&format!("container clusters create prod-a --location {LOCATION} --async{more}"));
        let operation = scene.works("container operations list --format value(name)").trim().to_owned();
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("c");
        fs::DirBuilder::new().mode(0o700).create(&directory).expect("made");
        let cluster = json!({
            "cluster": format!("projects/of-keystead/locations/{LOCATION}/clusters/prod-a"),
            "apiServers": hosts,
            "programs": programs(),
            "server": scene.endpoint(),
        });
        fs::write(directory.join("cluster.json"), cluster.to_string()).expect("written");
        fs::write(directory.join("server-ca.pem"), scene.authority()).expect("written");
        for index in 0..hosts {
            let host = directory.join(format!("host-{index}"));
            fs::DirBuilder::new().mode(0o700).create(&host).expect("made");
            scene.works(&format!(
                "container clusters hosts invite host-{index} --cluster prod-a --location {LOCATION} --output-file {}",
                host.join("join-token").display()
            ));
        }
        Self { scene, directory, operation, _place: place }
    }

    fn supervise(&self) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log"));
        let log = log.expect("opened");
        let errors = log.try_clone().expect("cloned");
        let mut command = keystead();
        command.args(["local-clusters", "run"]).arg(&self.directory).stdin(Stdio::null());
        command.stdout(log).stderr(errors).spawn().expect("started")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + START;
        while !is_so().await {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn ready(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.directory.join("ready.json")).ok()?).ok()
    }

    /// The administrator, by the kubeconfig: a client, and the address.
    fn administrator(&self) -> (Client, String) {
        let text = fs::read_to_string(self.directory.join("kubeconfig")).expect("a kubeconfig");
        let read: Value = serde_saphyr::from_str(&text).expect("YAML");
        let data = |value: &Value| {
            let text = value.as_str().expect("data");
            base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
        };
        let (cluster, user) = (&read["clusters"][0]["cluster"], &read["users"][0]["user"]);
        let mut identity = data(&user["client-certificate-data"]);
        identity.extend(data(&user["client-key-data"]));
        let authority = Certificate::from_pem(&data(&cluster["certificate-authority-data"])).expect("one");
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .identity(Identity::from_pem(&identity).expect("an identity"));
        (client.build().expect("a client"), cluster["server"].as_str().expect("an address").to_owned())
    }

    /// Processes that have to do with the directory.
    fn processes(&self) -> Vec<String> {
        let name = self.directory.display().to_string();
        let entries = fs::read_dir("/proc").expect("processes").flatten();
        let commands = entries.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
        let commands = commands.map(|it| String::from_utf8_lossy(&it).replace('\0', " "));
        commands.filter(|it| it.contains(&name)).collect()
    }

    async fn ends_well(&self, operation: &str) {
        let words = format!("container operations wait {operation} --location {LOCATION}");
        let ended = tokio::task::block_in_place(|| self.scene.keystead(&words));
        assert!(ended.status.success(), "{}\n{}", stderr(&ended), self.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local clusters: cargo xtask test --tools"]
async fn a_local_cluster_joins_survives_a_kill_and_is_deleted() {
    let cluster = LocalCluster::create(1, "").await;
    let mut supervisor = cluster.supervise();
    cluster.until("ready.json", async || cluster.ready().is_some()).await;
    let ready = cluster.ready().expect("ready");
    assert_eq!(ready["version"], format!("v{DEFAULT_VERSION}"));
    cluster.ends_well(&cluster.operation).await;
    assert!(!cluster.directory.join("host-0/join-token").exists());
    let (client, address) = cluster.administrator();
    assert_eq!(address, format!("https://{}", ready["endpoint"].as_str().expect("an endpoint")));
    let secrets = format!("{address}/api/v1/namespaces/default/secrets");
    let kept = json!({ "metadata": { "name": "kept" }, "stringData": { "a": "canary" } });
    // The controller manager makes what every namespace has.
    cluster
        .until("a Secret", async || {
            client.post(&secrets).json(&kept).send().await.is_ok_and(|it| it.status().is_success())
        })
        .await;
    let account = format!("{address}/api/v1/namespaces/default/serviceaccounts/default");
    cluster
        .until("the controller manager", async || {
            client.get(&account).send().await.is_ok_and(|it| it.status().is_success())
        })
        .await;
    let binding = format!("{address}/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/keystead-admins");
    assert!(client.get(&binding).send().await.expect("answered").status().is_success());

    // A second one is refused while the first one lives.
    let second = keystead().args(["local-clusters", "run"]).arg(&cluster.directory).output().expect("runs");
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("runs the cluster"), "{}", stderr(&second));

    // It is killed, and everything with it; the next one has the same port and the same data.
    supervisor.kill().expect("killed");
    supervisor.wait().expect("ended");
    cluster.until("all are gone", async || cluster.processes().is_empty()).await;
    fs::remove_file(cluster.directory.join("ready.json")).expect("removed");
    let mut supervisor = cluster.supervise();
    cluster.until("ready.json again", async || cluster.ready().is_some()).await;
    assert_eq!(cluster.ready().expect("ready"), ready);
    let found = client.get(format!("{secrets}/kept")).send().await.expect("answered");
    assert!(found.status().is_success(), "{}", found.status());

    // A person stops all clusters, and the data stays.
    let parent = cluster.directory.parent().expect("a parent");
    let stopped = keystead().args(["local-clusters", "stop"]).arg(parent).output().expect("runs");
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    assert!(stderr(&stopped).contains("c: stopped"), "{}", stderr(&stopped));
    assert!(supervisor.wait().expect("ended").success());
    assert_eq!(cluster.processes(), Vec::<String>::new());
    assert!(cluster.directory.join("etcd/member").exists());

    // The server starts it once more, and deletes it.
    fs::remove_file(cluster.directory.join("stop")).expect("removed");
    let mut supervisor = cluster.supervise();
    cluster
        .until("the API server", async || client.get(format!("{secrets}/kept")).send().await.is_ok())
        .await;
    fs::write(cluster.directory.join("delete"), "").expect("written");
    assert!(supervisor.wait().expect("ended").success());
    assert!(!cluster.directory.exists());
    assert_eq!(cluster.processes(), Vec::<String>::new());
}
