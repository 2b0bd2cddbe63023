//! What the disk takes: how often it syncs one record, which one client at a time cannot be faster than, and the least that
//! many clients need to share syncs.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::oneshot;

/// What an audit record of Encrypt takes.
const RECORD: usize = 900;
/// More than a run writes of records.
const ROOM: usize = 1 << 30;

/// A thread that writes a record for each of those who wait, with one sync for all of them.
#[derive(Clone)]
pub(crate) struct Syncs(mpsc::Sender<oneshot::Sender<()>>);

impl Syncs {
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let mut file = with_room(path, ROOM)?;
        let (sender, waiting) = mpsc::channel::<oneshot::Sender<()>>();
        std::thread::spawn(move || {
            while let Ok(first) = waiting.recv() {
                let together: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
                let records = vec![b'x'; RECORD * together.len()];
                if file.write_all(&records).and_then(|()| file.sync_data()).is_err() {
                    return;
                }
                // Whoever has gone away does not want to know.
                for caller in together {
                    let _ = caller.send(());
                }
            }
        });
        Ok(Self(sender))
    }

    /// Until a record is on the disk.
    pub(crate) async fn one(&self) -> Result<()> {
        let (done, waiting) = oneshot::channel();
        self.0.send(done)?;
        Ok(waiting.await?)
    }
}

pub(crate) fn syncs_per_second(directory: &Path) -> Result<f64> {
    let path = directory.join("syncs");
    let mut file = with_room(&path, 16 << 20)?;
    let (started, mut written) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&[b'x'; RECORD])?;
        file.sync_data()?;
        written += 1;
    }
    std::fs::remove_file(path)?;
    Ok(f64::from(written) / started.elapsed().as_secs_f64())
}

/// A file of zeros, to be written from its start: the audit log writes into room that it has, too.
fn with_room(path: &Path, len: usize) -> Result<File> {
    let mut file = File::create(path)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..len.div_ceil(zeros.len()) {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    Ok(File::options().write(true).open(path)?)
}
