//! Tasks on the files of a host. Nothing runs there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use keystead_cluster::host::{Answer, Change, HostError, LocalHost, Preparation, PreparedFile, Report, Task};
use keystead_cluster::kms_way::KmsWay;
use keystead_cluster::owned_file::{OwnedFileError, Places};
use keystead_cluster::provider_order::KmsPlugin;
use keystead_cluster::rollout::{Configuration, Order, Provider};
use tempfile::TempDir;

/// A port that nobody's API server has: the tests of this machine take those above.
const PORT: u16 = 1;

pub(crate) struct Scene {
    directory: TempDir,
    pub(crate) host: LocalHost,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["manifests", "pki", "staging"] {
            fs::create_dir(path(name)).expect("a directory");
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        let manifest = path("manifests/kube-apiserver.yaml");
        let pki = path("pki").display().to_string();
        fs::write(
            &manifest,
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver # ours\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --advertise-address=10.0.0.7\n    - --secure-port={PORT}\n    image: registry.k8s.io/kube-apiserver:v1.37.2\n    name: kube-apiserver\n    volumeMounts:\n    - mountPath: {pki}\n      name: k8s-certs\n  volumes:\n  - hostPath:\n      path: {pki}\n    name: k8s-certs\n"
            ),
        )
        .expect("written");
        let host = LocalHost {
            name: "cp-1".into(),
            manifest,
            unit: None,
            configuration: path("pki/encryption.yaml"),
            places: Places { staging: path("staging"), previous: path("previous") },
            reloads: true,
        };
        Self { directory, host }
    }

    pub(crate) async fn look(&self) -> Report {
        let task = Task::Look { resources: vec!["secrets".into()], plugins: vec![self.plugin("kms")] };
        match self.host.perform(&task).await {
            Ok(Answer::Report(report)) => *report,
            other => panic!("{other:?}"),
        }
    }

    async fn change(&self, change: Change) -> Result<(), HostError> {
        let seen = self.look().await.seen;
        self.host.perform(&Task::Change { change, seen }).await.map(drop)
    }

    pub(crate) fn plugin(&self, name: &str) -> KmsPlugin {
        let socket = self.directory.path().join("run").join(name);
        KmsPlugin {
            provider: Provider::KmsV2 { name: name.into() },
            endpoint: format!("unix://{}", socket.display()),
            timeout: None,
        }
    }

    pub(crate) fn write(&self, names: &[&str], plugins: Vec<KmsPlugin>) -> Change {
        let order = order(names);
        Change::Write { resources: vec!["secrets".into()], order, plugins }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.host.manifest).expect("a manifest")
    }
}

fn remove() -> Change {
    Change::RemoveFlag { resources: vec!["secrets".into()] }
}

fn order(names: &[&str]) -> Order {
    let mut names = names.iter().map(|it| it.parse().expect("a provider"));
    Order { writer: names.next().expect("a writer"), readers: names.collect() }
}

/// Only what is not there is absent: what cannot be looked at may be an API server.
#[tokio::test]
async fn a_manifest_that_cannot_be_looked_for_is_not_absent() {
    let scene = Scene::new();
    assert!(scene.host.has_api_server().expect("it is there"));
    let of = |manifest: PathBuf| LocalHost { manifest, ..scene.host.clone() };
    let absent = of(scene.directory.path().join("manifests/other.yaml"));
    assert!(!absent.has_api_server().expect("it is not there"));
    // A file is no directory.
    let unseen = of(scene.host.manifest.join("kube-apiserver.yaml"));
    assert!(matches!(unseen.has_api_server(), Err(HostError::Unseen { .. })));
    let task = Task::Look { resources: Vec::new(), plugins: Vec::new() };
    assert!(matches!(unseen.perform(&task).await, Err(HostError::Unseen { .. })));
}

/// Both places are judged before anything is written to either.
#[tokio::test]
async fn nothing_is_written_if_the_manifest_cannot_be() {
    let mut scene = Scene::new();
    scene.host.configuration = scene.directory.path().join("pki/new/encryption.yaml");
    fs::set_permissions(&scene.host.manifest, fs::Permissions::from_mode(0o400)).expect("a mode");
    let write = scene.write(&["kms:v2:kms", "identity"], vec![scene.plugin("kms")]);
    let refused = scene.change(write).await;
    assert!(matches!(refused, Err(HostError::File(OwnedFileError::ReadOnly(_)))), "{refused:?}");
    assert!(!scene.directory.path().join("pki/new").exists());
}

/// The files of a control-plane host, as kubeadm and a person leave them.
#[tokio::test]
async fn a_kms_inside_of_the_cluster_is_told_by_files() {
    let scene = Scene::new();
    let range = format!("--secure-port={PORT}\n    - --service-cluster-ip-range=10.96.0.0/12");
    let text = scene.text().replace(&format!("--secure-port={PORT}"), &range);
    fs::write(&scene.host.manifest, text).expect("written");
    let manifests = scene.directory.path().join("manifests");
    let write = |name: &str, text: String| fs::write(manifests.join(name), text).expect("written");
    write(
        "kube-controller-manager.yaml",
        "spec: {containers: [{command: [kube-controller-manager, --cluster-cidr=10.244.0.0/16]}]}".into(),
    );
    let pod = |address: &str| {
        let socket = scene.plugin("kms").endpoint;
        format!(
            "spec: {{containers: [{{args: ['--listen={socket}'], env: [{{name: VAULT_ADDR, value: 'http://{address}'}}]}}]}}"
        )
    };
    let way = async || scene.look().await.plugins[0].way.clone();
    for (address, why) in [
        ("10.96.4.5:8200", "10.96.4.5, which is in the cluster's --service-cluster-ip-range 10.96.0.0/12"),
        ("10.244.2.2:8200", "10.244.2.2, which is in the cluster's --cluster-cidr 10.244.0.0/16"),
        ("vault.vault.svc:8200", "vault.vault.svc, the name of a Service"),
    ] {
        write("vault-kms.yaml", pod(address));
        let evidence = way().await.behind_cluster.expect(address);
        assert!(evidence.contains(why) && evidence.contains("vault-kms.yaml"), "{evidence}");
    }
    write("vault-kms.yaml", pod("vault.example.com:8200"));
    // The kubelet passes over it too.
    write(".vault-kms.yaml", pod("vault.vault.svc:8200"));
    assert_eq!(way().await, KmsWay::default());
    write("vault-kms.yaml", pod("vault.vault.svc.home:8200"));
    let seen = way().await;
    assert_eq!((seen.behind_cluster, seen.doubts.len()), (None, 1));
}

#[tokio::test]
async fn kube_apiserver_follows_its_file_unless_a_host_wants_restarts() {
    for reloads in [true, false] {
        let mut scene = Scene::new();
        scene.host.reloads = reloads;
        scene
            .change(scene.write(&["identity", "kms:v2:kms"], vec![scene.plugin("kms")]))
            .await
            .expect("written");
        let text = scene.text();
        assert!(text.contains("--encryption-provider-config="), "{text}");
        assert_eq!(text.contains("automatic-reload"), reloads, "{text}");
        assert_eq!(scene.look().await.automatic_reload, reloads);
    }
}

#[tokio::test]
async fn encryption_comes_and_goes_and_what_a_person_wrote_stays() {
    let scene = Scene::new();
    let before = scene.text();
    let report = scene.look().await;
    assert_eq!(report.address, format!("https://10.0.0.7:{PORT}"));
    assert_eq!((report.minor, report.process), (Some(37), None));
    assert_eq!(report.on_disk, Ok(Configuration::NoEncryption));
    assert!(report.plugins[0].probe.is_err(), "nobody is at the socket");

    let first = ["identity", "kms:v2:kms"];
    scene.change(scene.write(&first, vec![scene.plugin("kms")])).await.expect("written");
    let text = scene.text();
    for part in ["# ours", "--encryption-provider-config=", "automatic-reload=true", "kms-plugin-socket"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("mountPath").count(), 2, "the configuration's directory is mounted already");
    let report = scene.look().await;
    assert_eq!(report.on_disk, Ok(Configuration::Providers(order(&first))));
    let mode = fs::metadata(&scene.host.configuration).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let digest = report.seen.configuration.expect("a configuration");
    let second = ["kms:v2:kms", "identity"];
    scene.change(scene.write(&second, Vec::new())).await.expect("written");
    let report = scene.look().await;
    assert_eq!(report.on_disk, Ok(Configuration::Providers(order(&second))));
    assert_eq!(report.earlier.get(&digest), Some(&Configuration::Providers(order(&first))));

    scene.change(remove()).await.expect("removed");
    assert_eq!(scene.text(), before);
    scene.change(remove()).await.expect("twice is once");
    // The file that is left over is no longer in use, and is kept when it is replaced.
    scene.change(scene.write(&first, vec![scene.plugin("kms")])).await.expect("written");
    assert_eq!(scene.look().await.earlier.len(), 2);
}

/// Several plugins have their sockets in directories below one.
#[tokio::test]
async fn a_socket_below_a_mounted_directory_needs_no_mount() {
    let scene = Scene::new();
    let below = |name: &str| {
        let plugin = scene.plugin(name);
        KmsPlugin { endpoint: format!("{}/kms.sock", plugin.endpoint), ..plugin }
    };
    let write =
        async |names: &[&str], plugins| scene.change(scene.write(names, plugins)).await.expect("written");
    let before = scene.text();
    write(&["kms:v2:kms", "identity"], vec![scene.plugin("kms")]).await;
    let mounted = scene.text();
    write(&["kms:v2:new", "kms:v2:kms", "identity"], vec![below("new")]).await;
    write(&["kms:v2:new", "identity"], Vec::new()).await;
    assert_eq!(scene.text(), mounted);
    // kubeadm's configuration gets the same, and nothing of it stays.
    let settings = scene.look().await.settings.expect("the same on each host");
    let paths: Vec<String> = settings.directories.into_iter().map(|it| it.path).collect();
    let path = |name: &str| scene.directory.path().join(name).display().to_string();
    assert_eq!(paths, [path("run"), path("pki")]);
    scene.change(remove()).await.expect("removed");
    assert_eq!(scene.text(), before);

    // Somebody's own mount serves as well, and is not ours to take away.
    let own = format!(
        "    - mountPath: {0}/\n      name: plugins\n  volumes:\n  - hostPath:\n      path: {0}\n    name: plugins\n",
        path("run")
    );
    fs::write(&scene.host.manifest, before.replace("  volumes:\n", &own)).expect("written");
    let theirs = scene.text();
    write(&["kms:v2:new", "identity"], vec![below("new")]).await;
    assert_eq!(scene.text().matches("mountPath").count(), theirs.matches("mountPath").count());
    scene.change(remove()).await.expect("removed");
    assert_eq!(scene.text(), theirs);

    // One that brings another directory there does not.
    let other = theirs.replace(&format!("path: {}\n", path("run")), &format!("path: {}\n", path("else")));
    fs::write(&scene.host.manifest, other).expect("written");
    write(&["kms:v2:new", "identity"], vec![below("new")]).await;
    assert!(scene.text().contains(&format!("mountPath: {}\n", path("run/new"))), "{}", scene.text());
}

/// The next plugin's socket is seen without another start.
#[tokio::test]
async fn of_sockets_below_a_directory_of_ours_that_directory_is_mounted() {
    let scene = Scene::new();
    let at = |name: &str| {
        let socket = scene.directory.path().join("keystead").join(name).join("kms.sock");
        KmsPlugin { endpoint: format!("unix://{}", socket.display()), ..scene.plugin(name) }
    };
    let write =
        async |names: &[&str], plugins| scene.change(scene.write(names, plugins)).await.expect("written");
    let before = scene.text();
    write(&["kms:v2:one", "identity"], vec![at("one")]).await;
    let mounted = scene.text();
    let path = scene.directory.path().join("keystead");
    assert!(mounted.contains(&format!("mountPath: {}\n", path.display())), "{mounted}");
    write(&["kms:v2:other", "kms:v2:one", "identity"], vec![at("other")]).await;
    write(&["kms:v2:other", "identity"], Vec::new()).await;
    assert_eq!(scene.text(), mounted);
    scene.change(remove()).await.expect("removed");
    assert_eq!(scene.text(), before);
}

#[tokio::test]
async fn a_restart_is_asked_for_once() {
    let scene = Scene::new();
    let restart = |process: &str| scene.change(Change::Restart { process: process.into() });
    restart("7-1").await.expect("asked");
    let text = scene.text();
    assert!(text.contains("keystead.io/restart-after: 7-1") && text.contains("# ours"), "{text}");
    restart("7-1").await.expect("asked");
    assert_eq!(scene.text(), text);
    restart("8-1").await.expect("asked");
    assert_eq!(scene.text(), text.replace("7-1", "8-1"));
}

#[tokio::test]
async fn what_somebody_else_changed_is_left_alone() {
    let scene = Scene::new();
    let seen = scene.look().await.seen;
    let stranger = scene.text().replace("# ours", "# theirs");
    fs::write(&scene.host.manifest, &stranger).expect("written");
    let change = scene.write(&["identity", "kms:v2:kms"], vec![scene.plugin("kms")]);
    let error = scene.host.perform(&Task::Change { change, seen }).await.expect_err("refused");
    assert!(matches!(error, HostError::Changed(_)), "{error}");
    assert_eq!(scene.text(), stranger);
    assert!(!scene.host.configuration.exists(), "nothing is half done");
}

/// It decided before the later one looked, and comes after it.
#[tokio::test]
async fn a_driver_that_was_overtaken_changes_nothing() {
    let scene = Scene::new();
    let seen = scene.look().await.seen;
    let before = scene.text();
    let under = |tenure, asked| Task::Under { tenure, asked: Box::new(asked) };
    let look = || Task::Look { resources: vec!["secrets".into()], plugins: Vec::new() };
    let change = || Task::Change {
        change: scene.write(&["identity", "kms:v2:kms"], vec![scene.plugin("kms")]),
        seen: seen.clone(),
    };
    scene.host.perform(&under(7, look())).await.expect("the first one");
    scene.host.perform(&under(8, look())).await.expect("the later one");
    for late in [look(), change()] {
        let error = scene.host.perform(&under(7, late)).await.expect_err("refused");
        assert!(matches!(error, HostError::Overtaken(_)), "{error}");
    }
    assert_eq!(scene.text(), before);
    scene.host.perform(&under(8, change())).await.expect("the later one goes on");
    assert_ne!(scene.text(), before);
}

/// Noted once, its number would keep every true driver away.
#[tokio::test]
async fn a_driver_whose_number_cannot_be_is_not_followed() {
    let scene = Scene::new();
    let seen = scene.look().await.seen;
    let before = scene.text();
    let under = |tenure, asked| Task::Under { tenure, asked: Box::new(asked) };
    let look = || Task::Look { resources: vec!["secrets".into()], plugins: Vec::new() };
    let change = Task::Change {
        change: scene.write(&["identity", "kms:v2:kms"], vec![scene.plugin("kms")]),
        seen: seen.clone(),
    };
    let now: u64 = jiff::Timestamp::now().as_second().try_into().expect("after 1970");
    for asked in [look(), change] {
        let error = scene.host.perform(&under(now + 2 * 24 * 60 * 60, asked)).await.expect_err("refused");
        assert!(matches!(error, HostError::Ahead(_)), "{error}");
    }
    assert_eq!(scene.text(), before);
    scene.host.perform(&under(now + 8, look())).await.expect("a true one");
    let late = scene.host.perform(&under(now + 7, look())).await.expect_err("refused").to_string();
    assert!(late.contains(&scene.host.places.staging.join("driver").display().to_string()), "{late}");
}

#[tokio::test]
async fn the_flag_stays_as_long_as_others_need_it() {
    let scene = Scene::new();
    scene.change(scene.write(&["identity", "kms:v2:kms"], vec![scene.plugin("kms")])).await.expect("written");
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let other = format!(
        "  - resources: [configmaps]\n    providers:\n      - aescbc: {{keys: [{{name: k, secret: {key}}}]}}\n      - identity: {{}}\n"
    );
    let text = fs::read_to_string(&scene.host.configuration).expect("a file");
    fs::write(&scene.host.configuration, format!("{text}{other}")).expect("written");
    assert_eq!(scene.look().await.others, ["configmaps"]);
    let manifest = scene.text();
    let error = scene.change(remove()).await.expect_err("ConfigMaps could not be read");
    assert!(matches!(&error, HostError::OthersNeedFlag(others) if others == &["configmaps"]), "{error}");
    assert_eq!(scene.text(), manifest);
}

#[tokio::test]
async fn two_commands_do_not_change_one_host_at_a_time() {
    let scene = Scene::new();
    let lock = fs::File::create(scene.host.places.staging.join("lock")).expect("a file");
    lock.lock().expect("locked");
    let error = scene.change(Change::Restart { process: "7-1".into() }).await.expect_err("it is busy");
    assert!(matches!(error, HostError::Busy(_)), "{error}");
    drop(lock);
    scene.change(Change::Restart { process: "7-1".into() }).await.expect("asked");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let scene = Scene::new();
    let error = scene.change(scene.write(&["identity", "kms:v2:nowhere"], Vec::new())).await;
    assert!(error.expect_err("refused").to_string().contains("name its plugin's socket"));
    assert!(!scene.host.configuration.exists());

    scene.change(scene.write(&["identity", "kms:v2:kms"], vec![scene.plugin("kms")])).await.expect("written");
    let text = fs::read_to_string(&scene.host.configuration).expect("a file");
    let mut hidden = scene.plugin("other");
    hidden.endpoint = "unix:///somewhere/else/kms.sock".into();
    let change = scene.write(&["identity", "kms:v2:kms", "kms:v2:other"], vec![hidden]);
    let error = scene.change(change).await.expect_err("refused");
    assert!(error.to_string().contains("/somewhere/else"), "{error}");
    assert_eq!(fs::read_to_string(&scene.host.configuration).expect("a file"), text);

    fs::write(&scene.host.configuration, text.replace("identity: {}", "identity: {key: c2VjcmV0}"))
        .expect("written");
    let on_disk = scene.look().await.on_disk.expect_err("kube-apiserver does not take it");
    assert!(on_disk.contains("encryption.yaml") && !on_disk.contains("c2VjcmV0"), "{on_disk}");
    let missing =
        LocalHost { manifest: PathBuf::from("/nonexistent/kube-apiserver.yaml"), ..scene.host.clone() };
    let task = Task::Look { resources: vec!["secrets".into()], plugins: Vec::new() };
    let error = missing.perform(&task).await.expect_err("there is none");
    assert!(error.to_string().contains("/nonexistent"), "{error}");
}

fn preparation(path: &std::path::Path, text: &str) -> Task {
    let preparation = Preparation {
        path: path.to_owned(),
        digest: hex::encode(keystead_crypto::sha256(text.as_bytes())),
        plugins: Vec::new(),
    };
    let text = serde_json::from_value(serde_json::Value::from(text)).expect("a text");
    Task::Prepare { preparation, text: Some(text) }
}

const TEXT: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - kms: {apiVersion: v2, name: canary, endpoint: 'unix:///run/k.sock'}\n  - identity: {}\n";

#[tokio::test]
async fn a_host_that_joins_gets_the_file_where_it_belongs_and_nowhere_else() {
    let scene = Scene::new();
    fs::remove_file(&scene.host.manifest).expect("it has not joined");
    let at = |name: &str| scene.directory.path().join(name);
    std::os::unix::fs::symlink(at("staging"), at("pki/link")).expect("a link");
    fs::create_dir(at("pki/open")).expect("a directory");
    fs::set_permissions(at("pki/open"), fs::Permissions::from_mode(0o777)).expect("a mode");
    for (path, reason) in [
        (at("manifests/evil.yaml"), "neither below"),
        (at("pki/../manifests/evil.yaml"), "without `..`"),
        (PathBuf::from("pki/encryption.yaml"), "absolute"),
        (at("pki/link/encryption.yaml"), "is a link"),
        (at("pki/open/encryption.yaml"), "others may write"),
        (PathBuf::from("/etc/profile.d/encryption.sh"), "neither below"),
    ] {
        let error = scene.host.perform(&preparation(&path, TEXT)).await.expect_err("refused");
        assert!(error.to_string().contains(reason), "{}: {error}", path.display());
        assert!(!path.exists());
    }
    let path = at("pki/new/encryption.yaml");
    for bad in ["a: b", &TEXT.replace("[secrets]", "['*']"), &TEXT.replace("unix://", "tcp://")] {
        let error = scene.host.perform(&preparation(&path, bad)).await.expect_err("refused");
        assert!(error.to_string().contains("no EncryptionConfiguration"), "{error}");
    }
    let task = preparation(&path, TEXT);
    assert!(!format!("{task:?}").contains("canary"));
    for _ in 0..2 {
        match scene.host.perform(&task).await {
            Ok(Answer::Prepared(prepared)) => assert_eq!(prepared.file, PreparedFile::Same),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fs::read_to_string(&path).expect("written"), TEXT);
    assert_eq!(fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
    match scene.host.perform(&preparation(&path, &TEXT.replace("canary", "other"))).await {
        Err(error) => assert!(error.to_string().contains("exists already"), "{error}"),
        other => panic!("{other:?}"),
    }
}
