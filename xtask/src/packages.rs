//! What the tests need from package managers: system packages, a Python environment, Node modules. Kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::apt::install;
use crate::process::{run_quietly, succeeds};
use crate::{go, workspace};

/// The Python with the packages of `tests/python/requirements.txt`.
pub fn python() -> Result<PathBuf> {
    let requirements = workspace::root().join("tests/python/requirements.txt");
    let folder = folder("python", &[&requirements])?;
    let python = folder.join("bin/python3");
    if folder.join(COMPLETE).exists() {
        return Ok(python);
    }
    // Debian's Python comes without the part that puts pip into an environment.
    if !succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        install(&["python3", "python3-venv"])?;
    }
    eprintln!("installing Python clients into {} (usually under a minute)", folder.display());
    run_quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run_quietly(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&requirements),
    )?;
    complete(&folder)?;
    Ok(python)
}

/// The folder with `node_modules` of `tests/node/package-lock.json`.
pub fn node() -> Result<PathBuf> {
    let source = workspace::root().join("tests/node");
    let (package, lock) = (source.join("package.json"), source.join("package-lock.json"));
    let folder = folder("node", &[&package, &lock])?;
    let modules = folder.join("node_modules");
    if folder.join(COMPLETE).exists() {
        return Ok(modules);
    }
    if !succeeds(Command::new("node").arg("--version")) || !succeeds(Command::new("npm").arg("--version")) {
        install(&["nodejs", "npm"])?;
    }
    eprintln!("installing Node clients into {} (usually under a minute)", folder.display());
    fs::create_dir_all(&folder)?;
    for file in [&package, &lock] {
        fs::copy(file, folder.join(file.file_name().context("a file has a name")?))?;
    }
    run_quietly(
        Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&folder),
    )?;
    complete(&folder)?;
    Ok(modules)
}

/// Chromium, and letters of Korean: without them every one of its pages is drawn in boxes.
pub fn browser() -> Result<PathBuf> {
    let (browsers, fonts) =
        (["chromium", "chromium-browser", "google-chrome"], "/usr/share/fonts/opentype/noto");
    let found = || browsers.into_iter().find_map(on_path);
    if found().is_none() || !Path::new(fonts).exists() {
        eprintln!("installing Chromium (usually under two minutes)");
        install(&["chromium", "fonts-noto-cjk"])?;
    }
    found().context("chromium is installed, and not on PATH")
}

/// The library that moves a program's wall clock. Debian puts it into a folder that is named after the machine.
pub fn faketime() -> Result<PathBuf> {
    if let Some(library) = faketime_library()? {
        return Ok(library);
    }
    install(&["libfaketime"])?;
    faketime_library()?
        .context("libfaketime is installed, and there is no /usr/lib/*/faketime/libfaketimeMT.so.1")
}

fn faketime_library() -> Result<Option<PathBuf>> {
    for folder in fs::read_dir("/usr/lib")? {
        let library = folder?.path().join("faketime/libfaketimeMT.so.1");
        if library.is_file() {
            return Ok(Some(library));
        }
    }
    Ok(None)
}

/// Prometheus' check of rules, out of Debian's package, which is not installed: that would start a server.
pub fn promtool() -> Result<PathBuf> {
    if let Some(program) = on_path("promtool") {
        return Ok(program);
    }
    Ok(taken_out("promtool", &["prometheus"], "usr/bin/promtool")?.join("usr/bin/promtool"))
}

/// The folder with `containerd`, its shim and `ctr`, out of Debian's packages, which are not installed: that would start a
/// server. `runc` is in `../sbin` of it, or on PATH.
pub fn containerd() -> Result<PathBuf> {
    if on_path("runc").is_some()
        && let Some(folder) = on_path("containerd").as_deref().and_then(Path::parent)
    {
        return Ok(folder.to_owned());
    }
    Ok(taken_out("containerd", &["containerd", "runc"], "usr/bin/containerd")?.join("usr/bin"))
}

/// A folder of the cache with the files of Debian's `packages`, among them `program`.
fn taken_out(name: &str, packages: &[&str], program: &str) -> Result<PathBuf> {
    let folder = go::cache()?.join(name);
    if folder.join(COMPLETE).exists() {
        return Ok(folder);
    }
    let advice =
        || format!("{name} is not on PATH; packages that have it: {} (as in Debian)", packages.join(", "));
    eprintln!("taking {name} out of its package (usually under a minute)");
    fs::create_dir_all(&folder)?;
    let download = || {
        run_quietly(Command::new("apt-get").args(["--quiet", "download"]).args(packages).current_dir(&folder))
    };
    if download().is_err() {
        run_quietly(Command::new("apt-get").args(["--quiet", "update"])).with_context(advice)?;
        download().with_context(advice)?;
    }
    for entry in fs::read_dir(&folder)? {
        let package = entry?.path();
        if package.extension().is_some_and(|it| it == "deb") {
            run_quietly(Command::new("dpkg-deb").arg("--extract").args([&package, &folder]))
                .with_context(advice)?;
            fs::remove_file(package)?;
        }
    }
    ensure!(folder.join(program).is_file(), "{} holds no {program}", packages.join(", "));
    complete(&folder)?;
    Ok(folder)
}

/// OpenSSH's program for keys and signatures.
pub fn ssh_keygen() -> Result<PathBuf> {
    if on_path("ssh-keygen").is_none() {
        install(&["openssh-client"])?;
    }
    on_path("ssh-keygen").context("openssh-client is installed, and ssh-keygen is not on PATH")
}

/// systemd and the bus on which it answers: what runs most hosts, and is in no container.
pub fn systemd() -> Result<PathBuf> {
    const PROGRAM: &str = "/lib/systemd/systemd";
    let is_there = |path: &str| Path::new(path).exists();
    if !is_there(PROGRAM) || !is_there("/usr/bin/dbus-daemon") {
        install(&["systemd", "dbus"])?;
    }
    Ok(PathBuf::from(PROGRAM))
}

/// Google's own command. Nobody else may distribute it, so it is used where it is and not installed.
pub fn gcloud() -> Result<PathBuf> {
    on_path("gcloud").context("gcloud is not on PATH; https://cloud.google.com/sdk has it")
}

/// Kubernetes' own command, from whoever packages it.
pub fn kubectl() -> Result<PathBuf> {
    on_path("kubectl").context("kubectl is not on PATH; https://kubernetes.io/docs/tasks/tools has it")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|program| program.is_file())
}

/// Written last, so that an installation that was interrupted is begun again.
const COMPLETE: &str = ".complete";

fn folder(kind: &str, files: &[&Path]) -> Result<PathBuf> {
    let mut digest = Sha256::new();
    for file in files {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        digest.update((content.len() as u64).to_be_bytes());
        digest.update(content);
    }
    let short: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(go::cache()?.join(format!("{kind}-{short}")))
}

fn complete(folder: &Path) -> Result<()> {
    fs::write(folder.join(COMPLETE), "").with_context(|| format!("cannot write in {}", folder.display()))
}
