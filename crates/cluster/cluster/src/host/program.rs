//! Programs that are asked something: for a limited time, and so much of what they say.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Bytes that are taken of each of the two outputs: a command line may be long, and what systemd says of one is not ten times as long.
const LONGEST: u64 = 16 << 20;
/// Between two looks whether a program that has closed its outputs has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// What a program prints, which must succeed within `limit`. It is ended if it does not, or if it prints more than 16 MiB, with all that it
/// started.
///
/// # Errors
///
/// In words: it does not start, fails, is late, prints too much or no UTF-8.
pub(super) fn told(command: &mut Command, limit: Duration) -> Result<String, String> {
    let deadline = Instant::now() + limit;
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, with whatever it starts.
    let command = command.process_group(0);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (output, errors) = (child.stdout.take().map(read), child.stderr.take().map(read));
    let answer = answer(&mut child, output, errors, deadline, limit);
    if answer.is_err() {
        // Nothing that it does later counts. Its number is nobody else's before it was waited for. It may have ended already.
        kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
        drop(child.wait());
    }
    let (status, output, errors) = answer?;
    if !status.success() {
        return Err(String::from_utf8_lossy(&errors).trim().to_owned());
    }
    String::from_utf8(output).map_err(|_| "what it prints is no UTF-8".to_owned())
}

type Bytes = Result<Vec<u8>, String>;

/// In a thread, which ends with the last process that has the other end.
fn read(from: impl Read + Send + 'static) -> Receiver<Bytes> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = from.take(LONGEST + 1).read_to_end(&mut bytes);
        let bytes = match read {
            Ok(len) if len as u64 > LONGEST => Err(format!("it prints more than {LONGEST} bytes")),
            Ok(_) => Ok(bytes),
            Err(error) => Err(error.to_string()),
        };
        // Nobody waits for it any more.
        drop(sender.send(bytes));
    });
    receiver
}

fn answer(
    child: &mut Child,
    output: Option<Receiver<Bytes>>,
    errors: Option<Receiver<Bytes>>,
    deadline: Instant,
    limit: Duration,
) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), String> {
    let late = || format!("it did not end within {} s", limit.as_secs_f64());
    let all = |receiver: Option<Receiver<Bytes>>| match receiver {
        None => Ok(Vec::new()),
        Some(receiver) => match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) => Err(late()),
            Err(RecvTimeoutError::Disconnected) => Err("what it prints was not read".to_owned()),
        },
    };
    let (output, errors) = (all(output)?, all(errors)?);
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => return Ok((status, output, errors)),
            None if Instant::now() >= deadline => return Err(late()),
            None => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::{LONGEST, PAUSE, told};

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(text: &str, limit: Duration) -> Result<String, String> {
        told(Command::new("sh").args(["-c", text]), limit)
    }

    #[test]
    fn a_program_is_believed_if_it_succeeds() {
        assert_eq!(shell("echo yes; echo no >&2", LIMIT), Ok("yes\n".to_owned()));
        assert_eq!(shell("echo yes; echo no >&2; exit 1", LIMIT), Err("no".to_owned()));
        assert!(told(&mut Command::new("/nowhere"), LIMIT).is_err());
        assert_eq!(shell(r"printf '\377'", LIMIT), Err("what it prints is no UTF-8".to_owned()));
    }

    #[test]
    fn a_program_that_does_not_end_or_prints_without_end_is_ended() {
        // Each would run for an hour, also with its outputs closed.
        for text in ["exec sleep 3600", "exec sleep 3600 >&- 2>&-", "sleep 3600 & sleep 3600"] {
            let late = shell(text, Duration::from_millis(100)).expect_err("it is late");
            assert!(late.starts_with("it did not end within 0.1 s"), "{late}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let number = directory.path().join("number");
        let text = format!("sleep 3600 & echo $! > {}; exec yes", number.display());
        shell(&text, LIMIT).expect_err("it prints without end");
        let number = fs::read_to_string(&number).expect("it has begun");
        let goes_on = || {
            let state = fs::read_to_string(format!("/proc/{}/stat", number.trim()));
            state.is_ok_and(|it| !it.contains(") Z "))
        };
        let start = Instant::now();
        while goes_on() {
            assert!(start.elapsed() < LIMIT, "what it started goes on");
            thread::sleep(PAUSE);
        }
        for text in ["exec yes", "exec yes >&2"] {
            assert_eq!(shell(text, LIMIT), Err(format!("it prints more than {LONGEST} bytes")));
        }
    }
}
