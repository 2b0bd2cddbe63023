//! The plugin's socket on a host: its directory, who has it already, and the wait until it answers.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keystead_cluster::encryption_configuration::KmsVersion;
use keystead_cluster::kms_socket::KmsSocket;
use keystead_runtime::Failure;
use rustix::process::geteuid;

/// Where a plugin listens that is not told where.
pub(super) const IN_RUN: &str = "/run/keystead/kms.sock";
/// `sun_path` has 108 bytes, the last of them NUL.
const LONGEST: usize = 107;
/// A look at the socket costs next to nothing.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// Directories that hold more than one thing.
const SHARED: [&str; 6] = ["/", "/tmp", "/run", "/var/tmp", "/var/run", "/etc"];

/// A socket's path, with or without `unix://`.
pub(super) fn parse(given: &str) -> Result<PathBuf, String> {
    let path = Path::new(given.strip_prefix("unix://").unwrap_or(given));
    let directory = path.parent().map(|it| it.display().to_string()).unwrap_or_default();
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if !path.is_absolute() || !plain || path.file_name().is_none() || given.ends_with('/') {
        return Err("a socket is an absolute path, such as /tmp/keystead/kms.sock".to_owned());
    }
    if SHARED.contains(&directory.as_str()) {
        return Err(format!(
            "the socket must be in a directory of its own, which only root can enter, such as /tmp/keystead/kms.sock; {directory} is shared"
        ));
    }
    if path.as_os_str().len() > LONGEST {
        return Err(format!("the path of a socket has {LONGEST} bytes at most"));
    }
    Ok(path.to_owned())
}

/// Refuses a socket at which somebody answers.
pub(super) fn refuse_taken(socket: &Path) -> Result<(), Failure> {
    if UnixStream::connect(socket).is_err() {
        return Ok(());
    }
    Err(Failure::new(format!("a plugin answers at {} already", socket.display())).hint(
        "exactly one plugin serves a socket: stop that one first, or choose another with --socket".to_owned(),
    ))
}

/// Whether the directory can be, or is, for root alone. Those of instances are below one more: whoever may change that one can put another
/// directory in the place of ours.
pub(super) fn check_directory(socket: &Path, is_of_instance: bool) -> Result<(), Failure> {
    let directory = directory_of(socket);
    let is_shared = |it: &&Path| SHARED.iter().any(|shared| *it == Path::new(shared));
    let above = directory.parent().filter(|it| is_of_instance && !is_shared(it));
    for directory in above.into_iter().chain([directory]) {
        let Ok(found) = fs::symlink_metadata(directory) else { continue };
        if !found.is_dir() {
            return Err(Failure::new(format!("{} is no directory", directory.display()))
                .hint("remove it, or choose another place with --socket".to_owned()));
        }
        if found.uid() != 0 && found.uid() != geteuid().as_raw() {
            return Err(Failure::new(format!(
                "{} belongs to uid {}, who could put another plugin in the place of ours",
                directory.display(),
                found.uid()
            ))
            .hint("find out whose it is and remove it, or choose another place with --socket".to_owned()));
        }
        // The directory itself will be closed.
        if above == Some(directory) && found.mode() & 0o022 != 0 {
            return Err(Failure::new(format!(
                "others may write to {}, and could put another plugin in the place of ours",
                directory.display()
            ))
            .hint(format!(
                "run `chmod go-w {}`, or choose another place with --socket",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// Makes the directory, or closes it to everybody but its owner.
pub(super) fn make_directory(socket: &Path) -> Result<(), Failure> {
    let directory = directory_of(socket);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let closed = made.and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)));
    closed.map_err(|error| {
        Failure::new(format!("cannot make {} for root alone: {error}", directory.display()))
            .hint("run it as root".to_owned())
    })
}

/// Has systemd make the directory at each boot, before anybody else can, and keep its cleaning of old files away from it.
pub(super) fn tmpfiles(socket: &Path) -> Option<String> {
    let directory = directory_of(socket);
    let is_emptied = ["/tmp", "/var/tmp", "/run"].iter().any(|it| directory.starts_with(it));
    let text = directory.to_str().filter(|it| !it.contains(char::is_whitespace) && !it.contains('%'))?;
    is_emptied.then(|| format!("d {text} 0700 root root -\n"))
}

/// What tells one socket file from the next one under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketFile {
    inode: u64,
    changed: (i64, i64),
}

impl SocketFile {
    pub(super) fn at(socket: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(socket).ok()?;
        Some(Self { inode: found.ino(), changed: (found.ctime(), found.ctime_nsec()) })
    }
}

/// Waits until a plugin wraps and unwraps at the socket, one that made the socket after `before`; the answer is its key id.
pub(super) async fn until_it_answers(
    socket: &Path,
    before: Option<SocketFile>,
    patience: Duration,
) -> Result<String, Failure> {
    let end = Instant::now() + patience;
    loop {
        let problem = if before.is_some() && SocketFile::at(socket) == before {
            "the plugin that ran before has not ended yet".to_owned()
        } else {
            let asked = KmsSocket::new(&socket.display().to_string(), KmsVersion::V2);
            match asked.probe(None).await {
                Ok(wrapped) => return Ok(wrapped.key_id),
                Err(problem) => problem.to_string(),
            }
        };
        if Instant::now() >= end {
            let waited = patience.as_secs();
            return Err(Failure::new(format!("no plugin answers at {} after {waited} s", socket.display()))
                .caused_by(problem));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Waits until nobody answers any more.
pub(super) async fn until_it_is_silent(socket: &Path, patience: Duration) -> Result<(), Failure> {
    let end = Instant::now() + patience;
    while UnixStream::connect(socket).is_ok() {
        if Instant::now() >= end {
            let waited = patience.as_secs();
            return Err(Failure::new(format!(
                "a plugin still answers at {} after {waited} s",
                socket.display()
            )));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}

fn directory_of(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_directory_of_its_own() {
        for good in ["/tmp/keystead/kms.sock", IN_RUN, "unix:///tmp/keystead/kms.sock"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["kms.sock", "/tmp/kms.sock", "/kms.sock", "/tmp/keystead/", "/tmp/a/../kms.sock"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("/tmp/{}/kms.sock", "a".repeat(100))).is_err(), "too long");
    }

    #[test]
    fn only_what_a_boot_empties_is_made_at_each_boot() {
        let in_tmp = tmpfiles(Path::new("/tmp/keystead/kms.sock"));
        assert_eq!(in_tmp.as_deref(), Some("d /tmp/keystead 0700 root root -\n"));
        assert_eq!(tmpfiles(Path::new("/var/lib/keystead/kms.sock")), None);
    }
}
