//! The scanner never panics, never changes a length, and never changes a byte outside header blocks, whatever comes
//! and however it is cut.

#![no_main]

use keystead_plugin::transport::authority::Scanner;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (chunk, with_preface, bytes) = input;
    let mut sent = Vec::new();
    if with_preface {
        sent.extend_from_slice(PREFACE);
    }
    sent.extend_from_slice(bytes);

    let in_one = pass(&sent, sent.len().max(1));
    let in_pieces = pass(&sent, usize::from(chunk).max(1));
    // After an error the connection is closed, so how much came through before does not matter.
    assert_eq!(in_one.is_some(), in_pieces.is_some());
    let (Some(received), Some(again)) = (in_one, in_pieces) else { return };
    assert_eq!(received, again);
    assert_eq!(received.len(), sent.len());
    let in_block = header_blocks(&sent);
    for (at, (before, after)) in sent.iter().zip(&received).enumerate() {
        assert!(before == after || in_block[at], "byte {at}");
    }
});

/// What comes through, with what is held back at the end; `None` after an error.
fn pass(sent: &[u8], chunk: usize) -> Option<Vec<u8>> {
    let mut scanner = Scanner::default();
    let (mut held, mut received) = (Vec::new(), Vec::new());
    for part in sent.chunks(chunk) {
        held.extend_from_slice(part);
        let safe = scanner.scan(&mut held).ok()?;
        assert!(safe <= held.len());
        assert!(scanner.midway() || safe == held.len(), "held back, and not in the middle of anything");
        received.extend(held.drain(..safe));
    }
    received.extend(held);
    Some(received)
}

/// Which bytes are the payload of HEADERS and CONTINUATION frames.
fn header_blocks(sent: &[u8]) -> Vec<bool> {
    let mut marks = vec![false; sent.len()];
    let mut at = PREFACE.len();
    while let Some(&[a, b, c, kind]) = sent.get(at..at + 4) {
        let begin = at + 9;
        at = begin + u32::from_be_bytes([0, a, b, c]) as usize;
        if kind == 1 || kind == 9 {
            let end = at.min(sent.len());
            marks.get_mut(begin..end).unwrap_or_default().fill(true);
        }
    }
    marks
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
