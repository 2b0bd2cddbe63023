//! Another date for the tests: Debian's libfaketime moves the wall clock of a program and of what it starts.
//!
//! Programs made by Go ask the kernel without libc and keep the real date, so this is for the quick tests, which have
//! none.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::{packages, process};

/// What a program must have in its environment to read the date `date` (as `date --date` takes it, in UTC) now. The date
/// is given as a distance, so that whatever is started later reads the same clock; monotonic clocks are left alone.
pub fn environment(date: &str) -> Result<Vec<(&'static str, PathBuf)>> {
    let library = packages::faketime()?;
    let seconds = process::output(Command::new("date").args(["--utc", "--date", date, "+%s"]))
        .with_context(|| format!("{date} is no date; give one such as 2028-02-29"))?;
    let then: i64 = seconds.trim().parse().with_context(|| format!("date answered {seconds}"))?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    ensure!(then > now, "{date} is over; a test may rely on a date in the past, so give one to come");
    Ok(vec![
        ("LD_PRELOAD", library),
        ("FAKETIME", format!("+{}", then - now).into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ])
}

/// The next 29 February: a day that exists in few years, a while ahead.
pub const LEAP_DAY: &str = "2028-02-29 12:00";
