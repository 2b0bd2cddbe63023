//! What is written, and a real containerd that takes the archives in and runs the image.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// How long containerd may take to answer for the first time: it does in under a second on an idle machine.
const READY: Duration = Duration::from_secs(60);

const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

fn some_commit() -> Commit {
    let date = "1970-01-01T00:00:00Z".to_owned();
    Commit { revision: "0".repeat(40), modified: false, time: 0, date }
}

/// The checkout of this test is at another commit, and often changed.
#[test]
fn an_image_names_the_commit_that_was_built_and_replaces_what_was_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    fs::write(&program, "program").expect("written");
    let oci = folder.path().join("oci");
    // As a run leaves it that was killed while it unpacked, or between two renames.
    let unfinished = folder.path().join("oci.unfinished");
    for (number, interrupted) in
        [None, Some("new/blobs/sha256/0123"), Some("old/oci-layout")].into_iter().enumerate()
    {
        if let Some(name) = interrupted {
            let file = unfinished.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, "half").expect("written");
        }
        if number == 2 {
            fs::remove_dir_all(&oci).expect("removed");
        }
        write(&[(Architecture::Amd64, program.clone())], &some_commit(), folder.path()).expect("an image");
        assert!(!unfinished.exists() && !oci.join("blobs/sha256/0123").exists());
        let read = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&fs::read(oci.join(name)).expect(name)).expect("JSON")
        };
        assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
        let digest =
            read("index.json")["manifests"][0]["digest"].as_str().expect("a digest").replace(':', "/");
        let index = read(&format!("blobs/{digest}"));
        assert_eq!(index["annotations"]["org.opencontainers.image.revision"], "0".repeat(40));
    }
}

/// A folder of somebody else's stays as it is.
#[test]
fn a_folder_that_no_run_has_made_is_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let (program, oci) = (folder.path().join("program"), folder.path().join("oci"));
    fs::write(&program, "program").expect("written");
    fs::create_dir(&oci).expect("made");
    fs::write(oci.join("theirs"), "kept").expect("written");
    let refused = write(&[(Architecture::Amd64, program)], &some_commit(), folder.path());
    assert!(refused.is_err_and(|error| error.to_string().contains("is no OCI image layout: move it away")));
    assert_eq!(fs::read(oci.join("theirs")).expect("there"), b"kept");
}

#[test]
fn a_checkout_that_was_changed_during_the_build_is_not_what_was_built() {
    assert!(some_commit().is_still(&some_commit()).is_ok());
    let changed =
        Commit { revision: format!("{}-modified", "0".repeat(40)), modified: true, ..some_commit() };
    assert!(some_commit().is_still(&changed).is_err() && changed.is_still(&some_commit()).is_err());
}

/// The program is one of the Go clients: static like ours, and there in every full test run.
#[test]
#[ignore = "needs containerd, kms-client and root"]
fn k11_containerd_imports_the_image_under_our_digest_and_runs_it() {
    let containerd = Containerd::start();
    let program =
        PathBuf::from(std::env::var_os("KEYSTEAD_GO_KMS_CLIENT").expect("the full test run sets it"));
    let description = describe(&some_commit()).expect("a description");
    let files = files(&program).expect("files");
    let image = |architecture| Image::new(&description, architecture, &files).expect("an image");

    // The archive of one architecture is known by the digest of its manifest.
    let single = layout::docker_archive(&description, &image(ARCHITECTURE)).expect("an archive");
    let digest = containerd.import(&single, &description.name);
    assert_eq!(digest, image(ARCHITECTURE).digest());

    // That of all architectures by the digest of its index; the name moves to it.
    let (both, expected) = layout::layout(&description, &[image("amd64"), image("arm64")]).expect("a layout");
    let digest = containerd.import(&both, &description.name);
    assert_eq!(digest, expected);

    // No shell, no library, no /etc/passwd: the program starts as root and says how it is used.
    let output = containerd.ctr(&["run", "--rm", "--snapshotter", "native", &description.name, "smoke"]);
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let alone = Command::new(&program).output().expect("it runs here");
    let expected =
        String::from_utf8_lossy(&alone.stderr).into_owned() + &String::from_utf8_lossy(&alone.stdout);
    let expected = expected.trim();
    assert!(!expected.is_empty() && said.contains(expected), "in the container: {said}\nhere: {expected}");
}

#[test]
#[ignore = "needs plugin image, containerd, kms-client and root"]
fn k11_the_plugin_serves_kubernetes_from_its_image() {
    let containerd = Containerd::start();
    let image = PathBuf::from(std::env::var_os("KEYSTEAD_PLUGIN_IMAGE").expect("`test --tools` sets it"));
    let client = std::env::var_os("KEYSTEAD_GO_KMS_CLIENT").expect("the full test run sets it");
    let imported =
        containerd.ctr(&["image", "import", "--snapshotter", "native", &image.display().to_string()]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));

    let name = format!("keystead.io/{}:{}", PLUGIN.name, workspace::version().expect("a version"));
    let host = containerd.folder.path().join("host");
    fs::create_dir(&host).expect("a folder");
    let mount = format!("type=bind,src={},dst=/host,options=rbind:rw", host.display());
    // As a careful manifest has it: nothing of the image can be written, and no privilege can be gained.
    let run = |id: &str, arguments: &[&str]| {
        let common = ["run", "--rm", "--snapshotter", "native", "--read-only", "--mount", &mount];
        let mut command = containerd.command(&common);
        command.args([&name, id, "keystead-plugin"]).args(arguments);
        command
    };
    let made = run("key", &["key", "create", "--key-file", "/host/key"]).output().expect("ctr starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let serve = ["--socket", "/host/kms.sock", "--key-file", "/host/key", "--admin", "off"];
    let log = host.join("log");
    let file = fs::File::create(&log).expect("a log");
    let mut plugin = run("serve", &serve)
        .stdout(file.try_clone().expect("a log"))
        .stderr(file)
        .spawn()
        .expect("ctr starts");
    let socket = host.join("kms.sock");
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        let said = || fs::read_to_string(&log).unwrap_or_default();
        assert!(plugin.try_wait().expect("a child").is_none(), "it has ended: {}", said());
        assert!(started.elapsed() < READY, "no socket: {}", said());
        std::thread::yield_now();
    }
    // Every way in which kube-apiserver has asked since 1.27; the answers are compared with those of a plugin in Go.
    let asked = Command::new(client).arg("-socket").arg(&socket).output().expect("it runs here");
    let killed = containerd.ctr(&["task", "kill", "--signal", "SIGTERM", "serve"]);
    let ended = plugin.wait().expect("a child");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let scenarios: serde_json::Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let status = scenarios[1]["ours"][0].as_str().unwrap_or_default();
    assert!(status.starts_with("ok v2 ok "), "{status}");
    assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
    assert!(ended.success(), "{ended}: {}", fs::read_to_string(&log).unwrap_or_default());
}

/// A containerd of this test's own; ended, with its files, when dropped.
struct Containerd {
    folder: tempfile::TempDir,
    programs: PathBuf,
    process: Child,
}

impl Containerd {
    fn start() -> Self {
        let programs =
            PathBuf::from(std::env::var_os("KEYSTEAD_CONTAINERD").expect("the full test run sets it"));
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let configuration = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n",
            at("root"),
            at("state"),
            at("socket"),
            at("socket.ttrpc"),
            at("opt"),
        );
        std::fs::write(at("config.toml"), configuration).expect("written");
        let process = Command::new(programs.join("containerd"))
            .args(["--config", &at("config.toml")])
            // It looks for its shim and runc there.
            .env("PATH", search_path(&programs))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log")).expect("a log"))
            .spawn()
            .expect("containerd starts");
        let containerd = Self { folder, programs, process };
        let started = Instant::now();
        while !containerd.ctr(&["version"]).status.success() {
            assert!(started.elapsed() < READY, "containerd: {}", containerd.log());
            // Each attempt starts a process, which paces the loop.
            std::thread::yield_now();
        }
        containerd
    }

    /// Imports `files` as `ctr image import` does in the documentation; the digest of `name` afterwards.
    fn import(&self, files: &Files, name: &str) -> String {
        let path = self.folder.path().join("image.tar");
        std::fs::write(&path, archive::tar(files, 0).expect("an archive")).expect("written");
        let path = path.display().to_string();
        let output = self.ctr(&["image", "import", "--snapshotter", "native", &path]);
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
        let list = self.ctr(&["image", "list"]);
        let list = String::from_utf8(list.stdout).expect("text");
        let line =
            list.lines().find(|it| it.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {list}"));
        line.split_whitespace().find(|it| it.starts_with("sha256:")).expect("a digest").to_owned()
    }

    fn ctr(&self, arguments: &[&str]) -> std::process::Output {
        self.command(arguments).output().expect("ctr starts")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("ctr"));
        command
            .arg("--address")
            .arg(self.folder.path().join("socket"))
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .env("PATH", search_path(&self.programs));
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // What a test that failed has left running.
        self.ctr(&["task", "remove", "--force", "serve"]);
        // SIGTERM, so that it unmounts what it mounted; then it is gone before its folder is.
        let stopped = Command::new("kill").arg(self.process.id().to_string()).status();
        if !stopped.is_ok_and(|it| it.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn search_path(programs: &Path) -> std::ffi::OsString {
    let mut folders = vec![programs.to_owned(), programs.join("../sbin")];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(folders).expect("a path without colons")
}
