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
        // Tests that take many random turns take more of them in CI. Those of the run at today's date are enough.
        ("CI", "false".into()),
    ])
}

/// The next 29 February: a day that exists in few years, and at most eight ahead.
pub fn next_leap_day() -> Result<String> {
    let today = process::output(Command::new("date").args(["--utc", "+%Y%m%d"]))?;
    let today: u32 = today.trim().parse().with_context(|| format!("date answered {today}"))?;
    Ok(leap_day_after(today))
}

/// `today` as in 20261127.
fn leap_day_after(today: u32) -> String {
    let is_leap =
        |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = today / 10_000;
    while !is_leap(year) || year * 10_000 + 229 <= today {
        year += 1;
    }
    format!("{year}-02-29 12:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_leap_day_ahead() {
        for (today, next) in [
            (20261127, "2028-02-29 12:00"),
            (20280228, "2028-02-29 12:00"),
            (20280229, "2032-02-29 12:00"),
            (20280301, "2032-02-29 12:00"),
            (20961231, "2104-02-29 12:00"),
            (23990101, "2400-02-29 12:00"),
        ] {
            assert_eq!(leap_day_after(today), next, "{today}");
        }
    }
}
