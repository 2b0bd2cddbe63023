//! One record as a line, and the chain from line to line.
//!
//! `{"sequence":N,"previous":"HASH", ... ,"hash":"HASH"}`, where `hash` is the SHA-256 of the line up to the comma before
//! `"hash"`, and `previous` is the `hash` of the line before.

use std::io::Write;

use aws_lc_rs::digest::{SHA256, digest};

use crate::Hash;

const SEQUENCE: &[u8] = b"{\"sequence\":";
const PREVIOUS: &[u8] = b",\"previous\":\"";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";
/// Hexadecimal digits of a hash.
const HEX: usize = 64;
/// What stands after the bytes that a line's hash covers.
const TAIL: usize = HASH.len() + HEX + END.len();

/// A line that was read and whose own hash is right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// All of it, without its line feed.
    pub text: &'a [u8],
    pub sequence: u64,
    pub previous: Hash,
    /// The record's fields, without braces.
    pub content: &'a [u8],
    pub hash: Hash,
}

/// What is wrong with a line in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("is not a record")]
    Form,
    #[error("does not have the hash that stands in it: it was altered or damaged")]
    Hash,
    #[error("is longer than any record")]
    Long,
    #[error("zero bytes stand where a record was, or where a power cut tore a write that nobody was told of")]
    Zeros,
}

/// Appends a line with its line feed to `out`, and returns its hash.
pub(crate) fn write(out: &mut Vec<u8>, sequence: u64, previous: Hash, content: &[u8]) -> Hash {
    let start = out.len();
    out.extend_from_slice(SEQUENCE);
    // Writing to memory does not fail.
    write!(out, "{sequence}").unwrap_or_default();
    out.extend_from_slice(PREVIOUS);
    out.extend_from_slice(&previous.to_hex());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(content);
    let hash = hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(HASH);
    out.extend_from_slice(&hash.to_hex());
    out.extend_from_slice(END);
    out.push(b'\n');
    hash
}

/// Reads a line, given without its line feed, and checks its own hash. It accepts only what [`write`] writes.
pub(crate) fn read(line: &[u8]) -> Result<Line<'_>, LineError> {
    let (covered, tail) = line.split_at_checked(line.len().wrapping_sub(TAIL)).ok_or(LineError::Form)?;
    let written = tail.strip_prefix(HASH).and_then(|it| it.strip_suffix(END)).and_then(Hash::from_hex);
    let written = written.ok_or(LineError::Form)?;
    let (sequence, previous, rest) = beginning(covered).ok_or(LineError::Form)?;
    let content = rest.strip_prefix(b"\",").ok_or(LineError::Form)?;
    if hash(covered) != written {
        return Err(LineError::Hash);
    }
    Ok(Line { text: line, sequence, previous, content, hash: written })
}

/// Sequence and previous hash of a line of which only the beginning is there.
pub(crate) fn start(bytes: &[u8]) -> Option<(u64, Hash)> {
    beginning(bytes).map(|(sequence, previous, _)| (sequence, previous))
}

fn beginning(bytes: &[u8]) -> Option<(u64, Hash, &[u8])> {
    let rest = bytes.strip_prefix(SEQUENCE)?;
    let digits = rest.iter().take_while(|it| it.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    // One number has one text: no zero before it.
    let sequence = str::from_utf8(number).ok().filter(|text| !text.starts_with('0'))?.parse().ok()?;
    let (previous, rest) = rest.strip_prefix(PREVIOUS)?.split_at_checked(HEX)?;
    Some((sequence, Hash::from_hex(previous)?, rest))
}

fn hash(bytes: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Hash(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_that_was_written_is_read(sequence in 1..u64::MAX, previous: [u8; 32], content in "[ -~]{0,200}") {
            let mut out = b"before".to_vec();
            let hash = write(&mut out, sequence, Hash(previous), content.as_bytes());
            let line = out[6..].strip_suffix(b"\n").expect("ends in a line feed");
            let read = read(line).expect("a good line");
            prop_assert_eq!(read, Line { text: line, sequence, previous: Hash(previous), content: content.as_bytes(), hash });
        }

        #[test]
        fn a_line_with_one_other_byte_is_refused(at: prop::sample::Index, to: u8, content in "[ -~]{0,60}") {
            let mut out = Vec::new();
            write(&mut out, 7, Hash([1; 32]), content.as_bytes());
            out.pop();
            let at = at.index(out.len());
            prop_assume!(out[at] != to);
            out[at] = to;
            prop_assert!(read(&out).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
