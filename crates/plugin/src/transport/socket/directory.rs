//! Who could put another socket in the place of ours.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::SocketError;

/// The real directory behind `given`, made with mode 0700 when only its last part is missing.
///
/// kube-apiserver does not check who answers, so whoever can replace the socket, or any directory or symbolic link on
/// the way to it, gets every new seed. Each of them must belong to root or to `own_uid`, and nobody else may write to
/// it; a sticky directory such as `/tmp` may be on the way, because there only owners replace what is theirs.
pub(super) fn prepare(given: &Path, own_uid: u32) -> Result<PathBuf, SocketError> {
    let mut real = PathBuf::from("/");
    let mut todo: VecDeque<OsString> = parts(given).collect();
    let mut links = 0;
    let mut last = examine(&real, own_uid)?;

    while let Some(part) = todo.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => real = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                real.pop();
            }
            Some(Component::Normal(name)) => {
                let next = real.join(name);
                if !exists(&next)? {
                    create(&next, todo.is_empty())?;
                }
                let found = examine(&next, own_uid)?;
                if !found.is_symlink() {
                    real = next;
                    last = found;
                    continue;
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(SocketError::TooManyLinks { path: given.to_owned() });
                }
                let target = fs::read_link(&next).map_err(|source| SocketError::io("read", &next, source))?;
                for part in parts(&target).rev() {
                    todo.push_front(part);
                }
                continue;
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => continue,
        }
        last = examine(&real, own_uid)?;
    }
    if last.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(SocketError::DirectoryWritable { path: real, mode: last.mode() & 0o7777 });
    }
    Ok(real)
}

/// Refuses what somebody else could change; the directory that holds `path` was examined before.
fn examine(path: &Path, own_uid: u32) -> Result<Metadata, SocketError> {
    let found = fs::symlink_metadata(path).map_err(|source| SocketError::io("examine", path, source))?;
    let (uid, mode) = (found.uid(), found.mode());
    if uid != 0 && uid != own_uid {
        return Err(SocketError::ForeignOwner { path: path.to_owned(), uid, own_uid });
    }
    // The mode of a symbolic link means nothing: it cannot be written to, only replaced.
    if found.is_symlink() {
        return Ok(found);
    }
    if !found.is_dir() {
        return Err(SocketError::NotADirectory { path: path.to_owned() });
    }
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(SocketError::DirectoryWritable { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(found)
}

fn exists(path: &Path) -> Result<bool, SocketError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SocketError::io("examine", path, source)),
    }
}

/// Only the last directory is made: a whole missing path is more likely a typing error or a missing mount.
fn create(path: &Path, is_last: bool) -> Result<(), SocketError> {
    if !is_last {
        return Err(SocketError::NoDirectory { path: path.to_owned() });
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Made by somebody else in this moment: it is examined next.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|source| SocketError::io("create", path, source)),
    }
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().map(|part| part.as_os_str().to_owned())
}

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// As many as the kernel follows.
const MOST_LINKS: usize = 40;
