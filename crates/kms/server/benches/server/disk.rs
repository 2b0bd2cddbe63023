//! How often the disk syncs one record: what one client at a time cannot be faster than.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What an audit record of Encrypt takes.
const RECORD: usize = 900;

pub(crate) fn syncs_per_second(directory: &Path) -> Result<f64> {
    let path = directory.join("syncs");
    let mut file = File::create(&path)?;
    // Room first: the audit log writes into room that it has, too.
    file.write_all(&vec![0; 16 << 20])?;
    file.sync_all()?;
    let mut file = File::options().write(true).open(&path)?;
    let (started, mut written) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&[b'x'; RECORD])?;
        file.sync_data()?;
        written += 1;
    }
    std::fs::remove_file(path)?;
    Ok(f64::from(written) / started.elapsed().as_secs_f64())
}
