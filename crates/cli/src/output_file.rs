//! Files that commands write: complete or not at all. What is there is neither emptied nor changed before all bytes are on the disk.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Result, Seek, Write};
use std::path::{Path, PathBuf};

use keystead_runtime::whole_file::{self, Readers, beside, sync_directory_of};
use tempfile::NamedTempFile;

/// Secrets are readable by their owner only, from the first byte on.
const OWNER_ONLY: u32 = 0o600;
/// More than a token or a key file has, in whole blocks of most disks.
const RESERVED: usize = 8 * 1024;
/// What any program asks for; the umask takes away from it.
const AS_UMASK_SAYS: u32 = 0o666;

/// A place for a secret that can be fetched only once. It is prepared before the server is asked, so that no secret is made
/// that cannot be kept. Dropped without `finish` it leaves nothing behind.
pub(crate) enum NewSecretFile {
    Beside {
        file: NamedTempFile,
        target: PathBuf,
    },
    /// A pipe or a device, which holds nothing that could be lost, or what this process has open.
    Stream(Box<dyn Write>),
}

impl NewSecretFile {
    /// Fails if the file exists, even as a link that leads nowhere, or if its directory cannot be written.
    pub(crate) fn prepare(target: &Path) -> Result<Self> {
        if let Some(stream) = stream(target)? {
            return Ok(Self::Stream(stream));
        }
        if target.symlink_metadata().is_ok() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "it exists already; name another file or remove it",
            ));
        }
        let mut file = beside(target, OWNER_ONLY)?;
        // A full disk is found out now, and not when the secret is there.
        file.write_all(&[0; RESERVED])?;
        file.as_file().sync_all()?;
        file.rewind()?;
        Ok(Self::Beside { file, target: target.to_owned() })
    }

    /// Puts the complete file in its place, and never over one that came in between. What is complete and cannot be put there
    /// is kept beside it, and the error names it: nobody can ask for the secret again.
    pub(crate) fn finish(self, data: &[u8]) -> Result<()> {
        match self {
            Self::Stream(mut stream) => stream.write_all(data).and_then(|()| stream.flush()),
            Self::Beside { mut file, target } => {
                file.write_all(data)?;
                file.as_file().set_len(data.len() as u64)?;
                file.as_file().sync_all()?;
                let Err(refused) = file.persist_noclobber(&target) else { return sync_directory_of(&target) };
                let (_, kept) = refused.file.keep()?;
                Err(Error::new(
                    refused.error.kind(),
                    format!("{}; the complete file is kept as {}", refused.error, kept.display()),
                ))
            }
        }
    }
}

/// Writes a file that only its owner can read, over one that is there.
pub(crate) fn replace_secret(target: &Path, data: &[u8]) -> Result<()> {
    match stream(target)? {
        Some(mut stream) => stream.write_all(data).and_then(|()| stream.flush()),
        None => whole_file::replace(&behind_links(target), data, Readers::Owner),
    }
}

/// Writes a file, over one that is there, whose permissions stay.
pub(crate) fn replace_public(target: &Path, data: &[u8]) -> Result<()> {
    if let Some(mut stream) = stream(target)? {
        return stream.write_all(data).and_then(|()| stream.flush());
    }
    let target = behind_links(target);
    let mut file = beside(&target, AS_UMASK_SAYS)?;
    if let Ok(there) = target.metadata() {
        file.as_file().set_permissions(there.permissions())?;
    }
    file.write_all(data)?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    sync_directory_of(&target)
}

/// A link stays a link: what it leads to is replaced. One that leads nowhere is replaced itself.
fn behind_links(target: &Path) -> PathBuf {
    target.canonicalize().unwrap_or_else(|_| target.to_owned())
}

/// What is written as it comes. Standard output may lead to a file: opened anew it would be written from its start, or replaced.
fn stream(target: &Path) -> Result<Option<Box<dyn Write>>> {
    Ok(match target.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => Some(Box::new(std::io::stdout())),
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => Some(Box::new(std::io::stderr())),
        _ if target.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir()) => {
            Some(Box::new(OpenOptions::new().write(true).open(target)?))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_whose_place_was_taken_meanwhile_is_kept_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("token");
        let place = NewSecretFile::prepare(&target).expect("prepared");
        std::fs::write(&target, b"another").expect("written");
        let error = place.finish(b"the secret").expect_err("it is taken").to_string();
        assert_eq!(std::fs::read(&target).expect("read"), b"another");
        let (_, kept) = error.rsplit_once("is kept as ").expect("it is named");
        assert_eq!(std::fs::read(kept).expect("read"), b"the secret");
        let mode = Path::new(kept).metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, OWNER_ONLY);
    }
}
