//! `keystead audit ...`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use keystead_audit::{Head, Problems, Reader, SignedHead, Verified, VerifyError};
use keystead_crypto::PublicKey;
use keystead_model::Exit;
use keystead_runtime::{Failure, print_result};
use serde_json::{Value, json};

use crate::output::visible;

use crate::output::say;
use crate::report_format::ReportFormat;

/// How often `--follow` looks for more.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Check every record of an audit log, and that it holds a head that was kept elsewhere. Exit code 6 when it does not
    Verify(VerifyArgs),
    /// Show the newest records
    Tail(TailArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The directory of the audit log
    dir: PathBuf,
    /// A signed head that was kept elsewhere: only with it a log that was cut off or rewritten is found
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// The public key in PEM that the head must be signed with
    #[arg(long, value_name = "FILE", requires = "head")]
    public_key: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TailArgs {
    /// The directory of the audit log
    dir: PathBuf,
    /// How many records
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    lines: u64,
    /// Go on with records as they come
    #[arg(short, long)]
    follow: bool,
    /// `json`: the records as they are, one a line
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    format: ReportFormat,
}

pub(crate) fn run(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::Tail(args) => tail(args),
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let signed: Option<SignedHead> = args.head.as_deref().map(read).transpose()?;
    let key: Option<PublicKey> = args.public_key.as_deref().map(read).transpose()?;
    let head = match (&signed, &key) {
        (Some(signed), Some(key)) => {
            Some(signed.verify(key).map_err(|error| Failure::from_error(&error).exit(Exit::Problem))?)
        }
        (Some(signed), None) => Some(signed.unverified()),
        (None, _) => None,
    };
    let verified = keystead_audit::verify(&args.dir, head.as_ref()).map_err(|error| match error {
        VerifyError::Problems(problems) => found(&problems),
        VerifyError::Unreadable(_) => Failure::from_error(&error),
    })?;
    if verified.segments == 0 {
        return Err(Failure::new(format!("there is no audit log in {}", args.dir.display())));
    }
    print_result(&match args.format {
        ReportFormat::Table => report(&verified, head.as_ref(), key.is_some()),
        ReportFormat::Json => {
            let Verified { records, first, head: Head { sequence, hash, time }, segments, .. } = &verified;
            let kept = head.map(|it| json!({"sequence": it.sequence, "found": verified.head_found}));
            let newest = json!({"sequence": sequence, "hash": hash.to_string(), "time": time.to_string()});
            let torn = verified.torn;
            let object = json!({
                "records": records, "first": first, "last": sequence, "segments": segments, "head": newest,
                "keptHead": kept, "signatureChecked": key.is_some(), "tornBytes": torn,
            });
            format!("{object}\n")
        }
    })
}

/// All problems, one a line, and how much is good beside them.
fn found(problems: &Problems) -> Failure {
    let Problems { problems: kept, others, verified } = problems;
    let count = kept.len() as u64 + others;
    let text = match count {
        1 => format!("the log has a problem; {} records are good", verified.records),
        _ => format!("the log has {count} problems; {} records are good", verified.records),
    };
    let failure = kept.iter().fold(Failure::new(text), |it, problem| it.caused_by(problem.to_string()));
    let more = (*others > 0).then(|| format!("{others} more problems are not shown"));
    failure.hint(more).exit(Exit::Problem)
}

fn report(verified: &Verified, kept: Option<&Head>, signature: bool) -> String {
    let Verified { records, first, head, segments, head_found, torn } = verified;
    let mut text = format!("good: {records} records, {first} to {}, in {segments} segments\n", head.sequence);
    text.push_str(&format!("head: {} {} {}\n", head.sequence, head.hash, head.time));
    if *first > 1 {
        text.push_str(&format!(
            "records before {first} were deleted when their time was over; the log says so\n"
        ));
    }
    match kept {
        None => text.push_str("no head was given (--head): nobody can see whether the end was cut off\n"),
        Some(kept) if *head_found => text.push_str(&format!("kept head: {} is in the log\n", kept.sequence)),
        Some(kept) => {
            text.push_str(&format!("kept head: {} is older than the oldest record\n", kept.sequence));
        }
    }
    if kept.is_some() && !signature {
        text.push_str("the signature of the kept head was not checked (--public-key)\n");
    }
    if *torn > 0 {
        text.push_str(&format!("{torn} bytes at the end are no whole record: never acknowledged\n"));
    }
    text
}

fn read<T: FromStr<Err: std::error::Error>>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    text.parse().map_err(|error: T::Err| {
        Failure::new(format!("{} cannot be used", path.display())).caused_by(error.to_string()).usage()
    })
}

fn tail(args: &TailArgs) -> Result<(), Failure> {
    let failure = |error: keystead_audit::AuditError| Failure::from_error(&error);
    let mut reader = Reader::newest(&args.dir, args.lines).map_err(failure)?;
    let mut out = std::io::stdout().lock();
    loop {
        while let Some(record) = reader.next_record().map_err(failure)? {
            warn(&mut reader);
            let line = match args.format {
                ReportFormat::Json => record.text,
                ReportFormat::Table => row(&record.text),
            };
            // Whoever reads has gone away.
            if writeln!(out, "{line}").is_err() {
                return Ok(());
            }
        }
        warn(&mut reader);
        if out.flush().is_err() || !args.follow {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}

/// Names what was stepped over.
fn warn(reader: &mut Reader) {
    for problem in reader.take_problems() {
        say(&format!("warning: {problem}"));
    }
}

/// One record for people: time, outcome, method, principal, resource. A record of the log itself: its type and the rest.
fn row(text: &str) -> String {
    let record: Value = serde_json::from_str(text).unwrap_or_default();
    let field = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let time = field("/timestamp");
    let row = match record.get("jsonPayload") {
        Some(Value::Object(payload)) => {
            let rest: Vec<String> = payload
                .iter()
                .filter(|(name, _)| *name != "@type")
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{time:<30} {:>6} {} {}", field("/severity"), field("/jsonPayload/@type"), rest.join(" "))
        }
        _ => {
            let code = record.pointer("/protoPayload/status/code").and_then(Value::as_i64);
            let outcome = code.map_or_else(|| "ok".to_owned(), |code| format!("code {code}"));
            let message = record.pointer("/protoPayload/status/message").and_then(Value::as_str);
            format!(
                "{time:<30} {outcome:>7} {:<26} {} {}{}",
                field("/protoPayload/methodName"),
                field("/protoPayload/authenticationInfo/principalEmail"),
                field("/protoPayload/resourceName"),
                message.map(|it| format!(": {it}")).unwrap_or_default()
            )
        }
    };
    // What a caller sent must not steer a terminal.
    visible(&row)
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn a_row_says_who_did_what_and_steers_no_terminal() {
        let text = r#"{"sequence":1,"timestamp":"2026-01-31T12:00:00.5Z","protoPayload":{"methodName":"Encrypt",
            "resourceName":"projects/p\u001b[2J\u202e","authenticationInfo":{"principalEmail":"ann@example.com"},
            "status":{"code":7,"message":"no\nreally"}}}"#;
        assert_eq!(
            row(text),
            "2026-01-31T12:00:00.5Z          code 7 Encrypt                    ann@example.com projects/p\\u{1b}[2J\\u{202e}: no\\nreally"
        );
        let own = r#"{"timestamp":"2026-01-31T12:00:00Z","severity":"INFO","jsonPayload":{"@type":"x.Footer","records":3}}"#;
        assert_eq!(row(own), "2026-01-31T12:00:00Z             INFO x.Footer records=3");
    }
}
