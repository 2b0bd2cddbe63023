//! Records in another file, one a line, exactly as in the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::RecordLine;

pub(super) struct FileSink {
    path: PathBuf,
    open: Option<File>,
}

impl FileSink {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    pub(super) fn send(&mut self, batch: &[RecordLine]) -> io::Result<()> {
        let mut file = match self.open.take() {
            // Somebody may have moved it away and wants a new one.
            Some(file) if is_at(&file, &self.path) => file,
            _ => open(&self.path)?,
        };
        let lines: String = batch.iter().flat_map(|it| [it.text.as_str(), "\n"]).collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.open = Some(file);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() > 0 {
        // Half a line of a process that died; its records come again, each on a line of its own.
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |it: io::Result<fs::Metadata>| it.map(|it| (it.dev(), it.ino())).ok();
    let ours = identity(file.metadata());
    ours.is_some() && ours == identity(fs::metadata(path))
}
