//! Files that nobody else can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Reads a file of at most `longest` bytes. Refuses one that others can read, or that is a link.
pub(crate) fn read(path: &Path, longest: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = OpenOptions::new()
        .read(true)
        // The open of a FIFO would wait for somebody.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    check(&file)?;
    // One allocation: growing would leave secrets behind in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(longest + 1));
    (&file).take(longest as u64 + 1).read_to_end(&mut text)?;
    if text.len() > longest {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok(text)
}

/// Opens a file for reading and writing; makes it with mode 0600 where there is none.
pub(crate) fn open_for_writing(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    check(&file)?;
    Ok(file)
}

/// Writes a file by rename, so that a crash leaves the old one or the new one, synced before and after.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // Left by a crash; whoever else could write here could replace the file itself.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = renamed {
        // What was half written may be half of a secret.
        fs::remove_file(&temporary).or_else(|_| file.set_len(0))?;
        return Err(error);
    }
    sync_directory_of(path)
}

/// Makes the name of a file outlive a power cut.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn check(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let refused = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    if !metadata.is_file() {
        return refused("it is not a regular file".to_owned());
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return refused(format!("it has mode {mode:04o}, so that others can use it"));
    }
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != ours && metadata.uid() != 0 {
        return refused(format!("it belongs to user {}, and the server runs as user {ours}", metadata.uid()));
    }
    Ok(())
}
