//! A real containerd takes the archives in and runs the image. The program is one of the Go clients: static like ours, and there
//! in every full test run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// How long containerd may take to answer for the first time: it does in under a second on an idle machine.
const READY: Duration = Duration::from_secs(60);

const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

#[test]
#[ignore = "needs containerd, kms-client and root"]
fn containerd_imports_the_image_under_our_digest_and_runs_it() {
    let containerd = Containerd::start();
    let program =
        PathBuf::from(std::env::var_os("KEYSTEAD_GO_KMS_CLIENT").expect("the full test run sets it"));
    let commit = Commit { revision: "0".repeat(40), time: 0, date: "1970-01-01T00:00:00Z".to_owned() };
    let description = describe(&commit).expect("a description");
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
    let words = expected.split_whitespace().last().expect("it says something");
    assert!(said.contains(words), "in the container: {said}\nhere: {expected}");
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
        Command::new(self.programs.join("ctr"))
            .arg("--address")
            .arg(self.folder.path().join("socket"))
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .env("PATH", search_path(&self.programs))
            .output()
            .expect("ctr starts")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
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
