//! The text of a key file:
//!
//! ```text
//! keystead-key-file 2
//! # Losing this file loses every Secret that was encrypted with it.
//! id 0123456789abcdef0123456789abcdef
//! activation 3
//! primary 2
//! next 4
//! version 1 2026-01-31T12:00:00Z <base64 of 32 bytes>
//! version 2 2026-04-30T12:00:00Z <base64 of 32 bytes> <fingerprint: 16 hexadecimal digits>
//! removed 3 <fingerprint>
//! sha256 <64 hexadecimal digits: digest of everything above>
//! ```
//!
//! Format 1 had neither fingerprints nor removed versions. A file that holds neither is still written in it, so that nothing
//! changes before somebody changes the key.
//!
//! A file that is not, byte for byte, what would be written for its content is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use keystead_crypto::{CryptoFailed, Secret32, sha256};
use zeroize::Zeroizing;

use super::{Fingerprint, KeyFile, MAX_REMOVED, MAX_VERSIONS, Version, fingerprint};

const FORMAT_1: &str = "keystead-key-file 1";
const FORMAT_2: &str = "keystead-key-file 2";
const WARNING: &str = "# Losing this file loses every Secret that was encrypted with it.";

/// Longest key file that is read, in bytes. 256 versions take 26 KiB at most, 1,000 removed ones 35 KiB.
pub(crate) const MAX_LEN: usize = 64 * 1024;
/// Base64 of 32 bytes with a line's other words is under 110 bytes.
const LINE_CAPACITY: usize = 128;

impl KeyFile {
    /// The file's text.
    pub fn print(&self) -> Zeroizing<String> {
        // Allocated once: growing would leave keys behind in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(LINE_CAPACITY * self.lines()));
        let _infallible = write!(
            text,
            "{}\n{WARNING}\nid {}\nactivation {}\nprimary {}\nnext {}\n",
            self.format(),
            self.id(),
            self.activation,
            self.primary,
            self.next
        );
        for (number, version) in &self.versions {
            let key = Zeroizing::new(BASE64.encode(version.key.expose()));
            let _infallible = write!(text, "version {number} {} {}", version.created, *key);
            if version.in_key_id {
                let _infallible = write!(text, " {}", hex::encode(version.fingerprint));
            }
            text.push('\n');
        }
        for (number, fingerprint) in &self.removed {
            let _infallible = writeln!(text, "removed {number} {}", hex::encode(fingerprint));
        }
        let digest = hex::encode(sha256(text.as_bytes()));
        let _infallible = writeln!(text, "sha256 {digest}");
        text
    }

    fn format(&self) -> &'static str {
        let is_new = !self.removed.is_empty() || self.versions.values().any(|version| version.in_key_id);
        if is_new { FORMAT_2 } else { FORMAT_1 }
    }

    /// With the six lines before the versions and the digest.
    fn lines(&self) -> usize {
        self.versions.len() + self.removed.len() + 8
    }

    /// Reads a file's text, which is hostile.
    pub fn parse(text: &[u8]) -> Result<Self, KeyFileError> {
        if text.len() > MAX_LEN {
            return Err(KeyFileError::TooLong(text.len()));
        }
        let text = std::str::from_utf8(text).map_err(|_| KeyFileError::NotText)?;
        if !text.lines().next().is_some_and(|line| [FORMAT_1, FORMAT_2].contains(&line)) {
            return Err(KeyFileError::NotAKeyFile);
        }
        check_digest(text)?;

        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line)).skip(2);
        let id = parse_id(&field(lines.next(), "id")?)?;
        let activation = parse_number(&field(lines.next(), "activation")?)?;
        let primary = parse_number(&field(lines.next(), "primary")?)?;
        let next = parse_number(&field(lines.next(), "next")?)?;
        let (mut versions, mut removed) = (BTreeMap::new(), BTreeMap::new());
        for (line, text) in lines.take_while(|(_, text)| !text.starts_with("sha256 ")) {
            let (number, is_new) = if text.starts_with("removed ") {
                let (number, fingerprint) = parse_removed(line, text)?;
                (number, removed.insert(number, fingerprint).is_none() && !versions.contains_key(&number))
            } else {
                let (number, version) = parse_version(line, text, &id)?;
                (number, versions.insert(number, version).is_none())
            };
            if !is_new {
                return Err(KeyFileError::Twice { line, number });
            }
        }
        let file = Self { id, activation, primary, next, versions, removed };
        file.check(text)?;
        Ok(file)
    }

    fn check(&self, text: &str) -> Result<(), KeyFileError> {
        if !self.versions.contains_key(&self.primary) {
            return Err(KeyFileError::NoPrimary(self.primary));
        }
        if self.known().any(|(number, _)| number >= self.next) {
            return Err(KeyFileError::Next(self.next));
        }
        let is_full = self.versions.len() > MAX_VERSIONS || self.removed.len() > MAX_REMOVED;
        if is_full || self.print().as_str() != text {
            return Err(KeyFileError::NotCanonical);
        }
        Ok(())
    }
}

fn check_digest(text: &str) -> Result<(), KeyFileError> {
    let body_len = text.rfind("sha256 ").ok_or(KeyFileError::Truncated)?;
    let (body, last) = text.split_at(body_len);
    let last = last.strip_prefix("sha256 ").and_then(|digest| digest.strip_suffix('\n'));
    let digest = last.filter(|digest| digest.len() == 64).ok_or(KeyFileError::Truncated)?;
    if hex::encode(sha256(body.as_bytes())) != digest {
        return Err(KeyFileError::Digest);
    }
    Ok(())
}

/// A line number and what stands behind the line's first word.
struct Field<'a> {
    line: usize,
    name: &'static str,
    value: &'a str,
}

fn field<'a>(line: Option<(usize, &'a str)>, name: &'static str) -> Result<Field<'a>, KeyFileError> {
    let (line, text) = line.ok_or(KeyFileError::Truncated)?;
    let value = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
    value.map(|value| Field { line, name, value }).ok_or(KeyFileError::Line { line, expected: name })
}

fn parse_id(field: &Field<'_>) -> Result<[u8; 16], KeyFileError> {
    let mut id = [0; 16];
    hex::decode_to_slice(field.value, &mut id)
        .map_err(|_| KeyFileError::Line { line: field.line, expected: "id and 32 hexadecimal digits" })?;
    Ok(id)
}

fn parse_number(field: &Field<'_>) -> Result<u32, KeyFileError> {
    field.value.parse().map_err(|_| KeyFileError::Line { line: field.line, expected: field.name })
}

fn parse_version(line: usize, text: &str, id: &[u8; 16]) -> Result<(u32, Version), KeyFileError> {
    let wrong = KeyFileError::Line { line, expected: "version NUMBER TIME BASE64" };
    let mut words = text.split(' ');
    let (Some("version"), Some(number), Some(created), Some(key), recorded, None) =
        (words.next(), words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(wrong);
    };
    let key = BASE64.decode(key).map(Zeroizing::new).ok().and_then(|bytes| Secret32::from_slice(&bytes));
    match (number.parse(), key) {
        (Ok(number), Some(key)) if is_time(created) => {
            let fingerprint = fingerprint(id, &key)?;
            // That it is the one that was written is seen when the file is printed again.
            let in_key_id = recorded.is_some();
            Ok((number, Version { created: created.to_owned(), key, fingerprint, in_key_id }))
        }
        _ => Err(wrong),
    }
}

fn parse_removed(line: usize, text: &str) -> Result<(u32, Fingerprint), KeyFileError> {
    let wrong = KeyFileError::Line { line, expected: "removed NUMBER FINGERPRINT" };
    let mut words = text.split(' ').skip(1);
    let (Some(number), Some(digits), None) = (words.next(), words.next(), words.next()) else {
        return Err(wrong);
    };
    let mut fingerprint = [0; 8];
    match (number.parse(), hex::decode_to_slice(digits, &mut fingerprint)) {
        (Ok(number), Ok(())) => Ok((number, fingerprint)),
        _ => Err(wrong),
    }
}

/// `2026-01-31T12:00:00Z`: it is shown to people and never computed with, so its shape is enough.
pub(super) fn is_time(text: &str) -> bool {
    let shape = "0000-00-00T00:00:00Z";
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            fixed => byte == fixed,
        })
}

/// Why a key file's text is refused. No variant holds text from the file: it may be key material.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoFailed),
    /// The digest in the last line is to something else.
    #[error("the key file was changed or damaged: its last line does not fit the rest")]
    Digest,
    /// The last line is not a digest.
    #[error("the key file is truncated: its last line must start with `sha256`")]
    Truncated,
    /// A line is not what must stand there.
    #[error("line {line} of the key file: expected `{expected}`")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What must stand there.
        expected: &'static str,
    },
    /// `next` is not above every version.
    #[error("the key file says that the next version is {0}, but that number is taken")]
    Next(u32),
    /// The primary is missing.
    #[error("the key file says that version {0} is primary, but holds no such version")]
    NoPrimary(u32),
    /// It starts with something else.
    #[error("not a key file of this program: the first line must be `{FORMAT_1}` or `{FORMAT_2}`")]
    NotAKeyFile,
    /// Other spaces, order or line ends.
    #[error("the key file is not in the form in which it is written")]
    NotCanonical,
    /// Not UTF-8.
    #[error("not a key file: it is not text")]
    NotText,
    /// Over 64 KiB.
    #[error("not a key file: it has {0} bytes, and a key file has at most {MAX_LEN}")]
    TooLong(usize),
    /// Two keys with one number.
    #[error("line {line} of the key file: version {number} is there twice")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// The version.
        number: u32,
    },
}
