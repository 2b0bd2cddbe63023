//! A report and its signature as a file of two lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keystead_crypto::{PublicKey, SigningKey};
use serde::Deserialize;

use super::{Evidence, FORMAT, StoredEvidence, TYPE};

/// Bytes of the longest file that is checked. A report has some kilobytes: a hundred resources in ten ways each are 100 KiB.
pub const MAX_LEN: usize = 4 << 20;

/// What a key is called: the SHA-256 of its DER form.
pub fn fingerprint(key: &PublicKey) -> String {
    format!("SHA256:{}", hex::encode(key.fingerprint()))
}

/// Why a file is not the evidence that a key vouches for.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Something else altogether.
    #[error("this is no evidence of keystead: line {line} is not JSON of that kind")]
    NotEvidence {
        /// 1: the report, 2: the signature.
        line: u8,
    },
    /// The end is missing.
    #[error(
        "the file was cut off: it must be two lines, a report and its signature, each ended by a line feed"
    )]
    CutOff,
    /// There is more than two lines.
    #[error("{0} bytes follow the signature, which it does not cover")]
    More(usize),
    /// Another version wrote it.
    #[error(
        "its format is {0}, and this program knows {FORMAT}: check it with the version that made it or a later one"
    )]
    OtherFormat(u64),
    /// Another key signed it, as it says.
    #[error("it says that {signed} signed it, and the key that was given is {given}")]
    OtherKey {
        /// The fingerprint in the report.
        signed: String,
        /// That of the key that was given.
        given: String,
    },
    /// Not a byte may differ.
    #[error(
        "the signature does not fit: the report was changed after it was signed, or this key never signed it"
    )]
    Changed,
    /// It was signed, and is not as the format has it.
    #[error("the signature is good, and the report is not as format {FORMAT} has it")]
    Report(#[source] serde_json::Error),
    /// It was signed, and says two things at once.
    #[error("the signature is good, and the report contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// The file: the report as one line of JSON, and its signature as another one.
///
/// # Errors
///
/// The report cannot be written as JSON.
pub fn sign(mut evidence: Evidence, key: &SigningKey) -> Result<String, serde_json::Error> {
    evidence.signer = fingerprint(&key.public_key());
    let mut text = serde_json::to_string(&evidence)?;
    text.push('\n');
    let signature = signature_line(&key.sign(text.as_bytes()));
    text.push_str(&signature);
    Ok(text)
}

/// The report of a file, if this key signed it and every byte is as it was.
///
/// # Errors
///
/// Whatever else it is. What such a file says is not to be believed.
pub fn check(file: &[u8], key: &PublicKey) -> Result<Evidence, EvidenceError> {
    let (report, rest) = first_line(file).ok_or_else(|| unfinished(file, 1))?;
    let Ok(Claim { kind, format, signer }) = serde_json::from_slice(report) else {
        return Err(EvidenceError::NotEvidence { line: 1 });
    };
    if kind != TYPE {
        return Err(EvidenceError::NotEvidence { line: 1 });
    }
    if format != u64::from(FORMAT) {
        return Err(EvidenceError::OtherFormat(format));
    }
    let (line, more) = first_line(rest).ok_or_else(|| unfinished(rest, 2))?;
    if !more.is_empty() {
        return Err(EvidenceError::More(more.len()));
    }
    let signature = signature_of(line).ok_or(EvidenceError::NotEvidence { line: 2 })?;
    if !key.verifies(report, &signature) {
        let given = fingerprint(key);
        return Err(match signer == given {
            true => EvidenceError::Changed,
            false => EvidenceError::OtherKey { signed: signer, given },
        });
    }
    let evidence: Evidence = serde_json::from_slice(report).map_err(EvidenceError::Report)?;
    if evidence.signer != fingerprint(key) {
        return Err(EvidenceError::Contradiction("another key is named as the signer"));
    }
    let uncounted = |it: &StoredEvidence| it.not_counted.is_some() || it.unreadable > 0;
    if evidence.holds && evidence.stored.iter().any(uncounted) {
        return Err(EvidenceError::Contradiction("it holds only if everything was counted and can be read"));
    }
    if evidence.holds != evidence.findings.is_empty() {
        return Err(EvidenceError::Contradiction("it holds only if there are no findings"));
    }
    Ok(evidence)
}

/// What is read of a report before its signature is known to be good: enough to say what is wrong.
#[derive(Deserialize)]
struct Claim {
    #[serde(rename = "type")]
    kind: String,
    format: u64,
    #[serde(default)]
    signer: String,
}

/// With its line feed, and what follows.
fn first_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|it| *it == b'\n')?;
    text.split_at_checked(end + 1)
}

/// A line without its end. What begins like ours was cut off.
fn unfinished(text: &[u8], line: u8) -> EvidenceError {
    let begin: &[u8] = if line == 1 { REPORT_BEGIN.as_bytes() } else { SIGNATURE_BEGIN.as_bytes() };
    let common = text.len().min(begin.len());
    match text.get(..common) == begin.get(..common) {
        true => EvidenceError::CutOff,
        false => EvidenceError::NotEvidence { line },
    }
}

const REPORT_BEGIN: &str = "{\"type\":\"keystead-cluster-evidence\",";
const SIGNATURE_BEGIN: &str = "{\"signature\":\"";
const SIGNATURE_END: &str = "\"}\n";

fn signature_line(signature: &[u8]) -> String {
    let text = STANDARD.encode(signature);
    format!("{SIGNATURE_BEGIN}{text}{SIGNATURE_END}")
}

/// One signature has one line.
fn signature_of(line: &[u8]) -> Option<Vec<u8>> {
    let text = line.strip_prefix(SIGNATURE_BEGIN.as_bytes())?.strip_suffix(SIGNATURE_END.as_bytes())?;
    STANDARD.decode(text).ok()
}
