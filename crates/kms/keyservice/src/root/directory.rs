use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use keystead_audit::HeadSigner;
use keystead_crypto::{Random, SecretBytes};
use keystead_model::ErrorClass;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::private_file;

/// Longest file of a signing key, in bytes: PKCS #8 of Ed25519 has about 83, in hexadecimal digits.
const MAX_SIGNING_KEY_LEN: usize = 512;

/// The name of a server, in bytes: two of a million servers have the same one with a chance of one in 10^7.
const SERVER_ID_LEN: usize = 8;
/// Its file: hexadecimal digits and a line feed, and what an editor may have added is seen as damage.
const MAX_SERVER_ID_LEN: usize = 64;

/// Refuses what others can use. Links are not followed: whoever can change a link above can choose the root key.
fn judge(path: &Path) -> Result<(), RootError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| failed("read", path, error))?;
    if !metadata.is_dir() {
        return Err(RootError::NotADirectory(path.to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(RootError::Mode { path: path.to_owned(), mode });
    }
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != ours {
        return Err(RootError::Owner { path: path.to_owned(), owner: metadata.uid(), ours });
    }
    Ok(())
}

/// An open root directory. One process has it.
#[derive(Debug)]
pub struct RootDirectory {
    path: PathBuf,
    /// The directory itself, and its file `lock`.
    _locks: [File; 2],
}

impl RootDirectory {
    /// Opens it, or makes it with mode 0700. Refuses one that others can use, or that another process has open.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => private_file::sync_directory_of(path).map_err(|error| failed("sync", path, error))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make", path, error)),
        }
        judge(path)?;
        let directory = File::open(path).map_err(|error| failed("open", path, error))?;
        // A file can be removed and made anew, and then two servers would each have one. NFS locks no directories: there the file
        // has to do.
        if flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(RootError::InUse(path.to_owned()));
        }
        let lock_path = path.join("lock");
        let lock =
            private_file::open_for_writing(&lock_path).map_err(|error| failed("open", &lock_path, error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _locks: [directory, lock] }),
            Err(Errno::WOULDBLOCK) => Err(RootError::InUse(path.to_owned())),
            Err(error) => Err(failed("lock", &lock_path, error.into())),
        }
    }

    /// Whether it could be opened, as far as that can be said without making or locking anything.
    pub fn check(path: &Path) -> Result<(), RootError> {
        // A first start makes it.
        if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        judge(path)
    }

    /// Where the root key is when it is a key file.
    pub fn root_key_path(&self) -> PathBuf {
        Self::root_key_in(&self.path)
    }

    /// The same of a directory that is not open.
    pub fn root_key_in(path: &Path) -> PathBuf {
        path.join("root-key")
    }

    /// What signs heads of the audit log; its key is made when there is none.
    pub fn audit_signer(&self) -> Result<HeadSigner, RootError> {
        let path = self.path.join("audit-signing-key");
        let damaged = || RootError::Damaged { path: path.clone(), problem: "it holds no Ed25519 key" };
        let key = match private_file::read(&path, MAX_SIGNING_KEY_LEN) {
            Ok(text) => {
                let digits = text.strip_suffix(b"\n").unwrap_or(&text);
                SecretBytes::from(hex::decode(digits).map_err(|_| damaged())?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = HeadSigner::generate().map_err(|_| RootError::Random)?;
                let text = Zeroizing::new(hex::encode(key.expose()));
                private_file::replace(&path, text.as_bytes())
                    .map_err(|error| failed("write", &path, error))?;
                key
            }
            Err(error) => return Err(failed("read", &path, error)),
        };
        HeadSigner::from_pkcs8(&key).map_err(|_| damaged())
    }

    /// The name of this server among all that ever use its store: 16 hexadecimal digits, made when there is none.
    pub(crate) fn server_id(&self, random: &dyn Random) -> Result<String, RootError> {
        let path = self.path.join("server-id");
        match private_file::read(&path, MAX_SERVER_ID_LEN) {
            Ok(text) => {
                let text = text.strip_suffix(b"\n").unwrap_or(&text);
                let id = hex::decode(text).ok().filter(|id| id.len() == SERVER_ID_LEN);
                let problem = "it holds no name of a server";
                id.map(hex::encode).ok_or(RootError::Damaged { path, problem })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut id = [0; SERVER_ID_LEN];
                random.fill(&mut id).map_err(|_| RootError::Random)?;
                let id = hex::encode(id);
                private_file::replace(&path, format!("{id}\n").as_bytes())
                    .map_err(|error| failed("write", &path, error))?;
                Ok(id)
            }
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> RootError {
    RootError::Io { action, path: path.to_owned(), source }
}

/// Why the root directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// What is in a file is not what was written.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Another process has it.
    #[error("{} is in use by another process; two servers may not share a root directory", .0.display())]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can use it.
    #[error("{} has mode {mode:04o}: others can use it; chmod 0700 {}", path.display(), path.display())]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file, a link, ...
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Somebody else's.
    #[error("{} belongs to user {owner}, and the server runs as user {ours}", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The thread that writes the witness cannot be started, or has ended.
    #[error("the witness cannot be written: {0}")]
    Writer(#[source] io::Error),
}

impl RootError {
    /// `Misconfigured` for what somebody must put right, `Unavailable` for what may pass.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Damaged { .. } => ErrorClass::Corrupt,
            Self::Io { .. } | Self::Random | Self::Writer(_) => ErrorClass::Unavailable,
            Self::InUse(_) | Self::Mode { .. } | Self::NotADirectory(_) | Self::Owner { .. } => {
                ErrorClass::Misconfigured
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_is_for_nobody_but_us_and_one_process() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("root");
        let root = RootDirectory::open(&path).expect("opens");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o700);
        assert!(matches!(RootDirectory::open(&path), Err(RootError::InUse(_))));
        drop(root);
        RootDirectory::open(&path).expect("opens again");
    }

    #[test]
    fn one_that_others_can_read_is_refused() {
        let temp = tempfile::tempdir().expect("a directory");
        for mode in [0o750, 0o701, 0o777] {
            let path = temp.path().join(format!("root-{mode:o}"));
            fs::create_dir(&path).expect("made");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            let refused = RootDirectory::open(&path).expect_err("others can use it");
            assert!(matches!(refused, RootError::Mode { mode: found, .. } if found == mode), "{refused}");
        }
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(temp.path(), &link).expect("a link");
        assert!(matches!(RootDirectory::open(&link), Err(RootError::NotADirectory(_))));
    }

    #[test]
    fn the_signing_key_is_made_once_and_private() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = RootDirectory::open(&temp.path().join("root")).expect("opens");
        let made = root.audit_signer().expect("made").public_key();
        assert_eq!(root.audit_signer().expect("read").public_key(), made);
        let file = root.path().join("audit-signing-key");
        assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
        fs::write(&file, "0".repeat(64)).expect("written");
        assert!(matches!(root.audit_signer(), Err(RootError::Damaged { .. })));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(root.audit_signer(), Err(RootError::Io { .. })));
    }
}
