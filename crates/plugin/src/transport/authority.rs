//! Makes the `:authority` that kube-apiserver sends legal before h2 sees it.
//!
//! kube-apiserver (grpc-go) names the socket path as `:authority`, for KMS v1 always and for KMS v2 before 1.32. h2 takes
//! that for a broken request and resets the stream. The [`Scanner`] walks the bytes that a client sends and
//! overwrites the value of each `:authority` literal with letters, keeping its encoded length (frames stay as they
//! are) and its decoded length (both sides' HPACK tables stay in step). No other byte changes.
//!
//! This module does no I/O. It can go the day h2 relaxes (hyperium/h2 #487).

mod hpack;

pub use hpack::HpackError;
use std::ops::Range;

/// Follows one connection's bytes from client to server.
///
/// It fails closed: after an error the connection must be closed, because h2 may understand the rest otherwise than
/// this scanner did.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes of the connection preface seen so far.
    preface: usize,
    settings_seen: bool,
    /// Payload bytes still to come of a frame that is passed on unread.
    skip: usize,
    /// Whether the bytes seen so far end inside a frame or a header block.
    midway: bool,
    finished: u64,
    /// Gathers the fragments of a header block that comes in several frames.
    scratch: Vec<u8>,
}

impl Scanner {
    /// Edits `bytes` in place and answers how many of them, from the start, may be passed on.
    ///
    /// `bytes` begins with what earlier calls held back. Held back is only an unfinished frame header (at most 8
    /// bytes) or an unfinished header block (at most 64 KiB and its frame headers).
    pub fn scan(&mut self, bytes: &mut [u8]) -> Result<usize, AuthorityError> {
        let mut safe = self.scan_preface(bytes)?;
        while let Some(rest) = bytes.get_mut(safe..) {
            if self.skip > 0 {
                let skipped = self.skip.min(rest.len());
                self.skip -= skipped;
                safe += skipped;
                if self.skip > 0 {
                    break;
                }
                self.finished += 1;
                continue;
            }
            match self.scan_frame(rest)? {
                Some(passed) => safe += passed,
                None => break,
            }
        }
        self.midway = safe < bytes.len() || self.skip > 0;
        Ok(safe)
    }

    /// Whether the preface and the first SETTINGS frame have come.
    pub fn greeted(&self) -> bool {
        self.settings_seen
    }

    /// Whether the client stopped inside a frame or a header block.
    pub fn midway(&self) -> bool {
        self.midway
    }

    /// Frames and header blocks that are complete; a client that makes progress makes this grow.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Preface bytes are passed on as they come, as long as they are the right ones.
    fn scan_preface(&mut self, bytes: &[u8]) -> Result<usize, AuthorityError> {
        let missing = PREFACE.get(self.preface..).unwrap_or_default();
        let seen = missing.len().min(bytes.len());
        if missing.get(..seen) != bytes.get(..seen) {
            return Err(AuthorityError::Preface);
        }
        self.preface += seen;
        Ok(seen)
    }

    /// One frame, or one header block with all its frames; `None` when more bytes are needed.
    fn scan_frame(&mut self, bytes: &mut [u8]) -> Result<Option<usize>, AuthorityError> {
        let Some(head) = FrameHead::parse(bytes) else { return Ok(None) };
        match head.kind {
            HEADERS => self.scan_block(head, bytes),
            CONTINUATION => Err(AuthorityError::StrayContinuation),
            kind => {
                self.settings_seen |= kind == SETTINGS && head.flags & ACK == 0;
                self.skip = head.length;
                // An empty frame ends with its head.
                self.finished += u64::from(head.length == 0);
                Ok(Some(FRAME_HEAD))
            }
        }
    }

    /// The header block that begins at the start of `bytes`; `None` while its last frame is not complete.
    fn scan_block(&mut self, first: FrameHead, bytes: &mut [u8]) -> Result<Option<usize>, AuthorityError> {
        let mut fragments: [Range<usize>; MAX_BLOCK_FRAMES] = Default::default();
        let mut head = first;
        let mut at = 0;
        let mut payload = 0;
        for (index, fragment) in fragments.iter_mut().enumerate() {
            if index > 0 {
                let Some(next) = bytes.get(at..).and_then(FrameHead::parse) else { return Ok(None) };
                if next.kind != CONTINUATION || next.stream != first.stream {
                    return Err(AuthorityError::BrokenBlock { kind: next.kind });
                }
                head = next;
            }
            payload += head.length;
            if payload > MAX_BLOCK_BYTES {
                return Err(AuthorityError::BlockTooLarge);
            }
            let start = at + FRAME_HEAD;
            at = start + head.length;
            let Some(content) = bytes.get(start..at) else { return Ok(None) };
            *fragment = if index == 0 { fragment_of_headers(head.flags, content, start)? } else { start..at };
            if head.flags & END_HEADERS != 0 {
                self.edit(bytes, fragments.get(..=index).unwrap_or_default())?;
                self.finished += 1;
                return Ok(Some(at));
            }
        }
        Err(AuthorityError::BlockTooManyFrames)
    }

    /// Edits the block whose bytes lie in `fragments`.
    fn edit(&mut self, bytes: &mut [u8], fragments: &[Range<usize>]) -> Result<(), AuthorityError> {
        if let [only] = fragments {
            let block = bytes.get_mut(only.clone()).unwrap_or_default();
            return Ok(hpack::overwrite_authority(block)?);
        }
        self.scratch.clear();
        for fragment in fragments {
            self.scratch.extend_from_slice(bytes.get(fragment.clone()).unwrap_or_default());
        }
        hpack::overwrite_authority(&mut self.scratch)?;
        let mut edited = self.scratch.as_slice();
        for fragment in fragments {
            let target = bytes.get_mut(fragment.clone()).unwrap_or_default();
            let Some((part, rest)) = edited.split_at_checked(target.len()) else { break };
            target.copy_from_slice(part);
            edited = rest;
        }
        Ok(())
    }
}

/// Why a connection cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The client does not speak HTTP/2 with prior knowledge.
    #[error("the connection does not begin with the HTTP/2 preface")]
    Preface,
    /// A CONTINUATION frame without a HEADERS frame before it.
    #[error("a CONTINUATION frame outside a header block")]
    StrayContinuation,
    /// Something else than the CONTINUATION that must follow.
    #[error("a frame of type {kind} inside a header block")]
    BrokenBlock {
        /// The frame's type.
        kind: u8,
    },
    /// Padding or priority fields that the frame has no room for.
    #[error("a HEADERS frame with more padding than content")]
    Padding,
    /// h2 allows 16 KiB of decoded headers by default, so an honest block is far smaller.
    #[error("a header block of more than {} bytes", MAX_BLOCK_BYTES)]
    BlockTooLarge,
    /// A block in more pieces than an honest client makes.
    #[error("a header block in more than {} frames", MAX_BLOCK_FRAMES)]
    BlockTooManyFrames,
    /// The block's content.
    #[error("a header block with {0}")]
    Hpack(#[from] HpackError),
}

/// Where the header block fragment lies in a HEADERS frame with this `content`, which begins at `start`.
fn fragment_of_headers(flags: u8, content: &[u8], start: usize) -> Result<Range<usize>, AuthorityError> {
    let (pad_field, padding) = match content.first() {
        Some(length) if flags & PADDED != 0 => (1, usize::from(*length)),
        None if flags & PADDED != 0 => return Err(AuthorityError::Padding),
        _ => (0, 0),
    };
    let before = pad_field + if flags & PRIORITY != 0 { PRIORITY_FIELDS } else { 0 };
    let room = content.len().checked_sub(before).and_then(|left| left.checked_sub(padding));
    let length = room.ok_or(AuthorityError::Padding)?;
    let begin = start + before;
    Ok(begin..begin + length)
}

/// RFC 9113 section 4.1.
#[derive(Debug, Clone, Copy)]
struct FrameHead {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHead {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<FRAME_HEAD>()?;
        let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        // The first bit is reserved and ignored.
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Some(Self { length, kind, flags, stream })
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// Weight and dependency of a HEADERS frame with the PRIORITY flag.
const PRIORITY_FIELDS: usize = 5;
/// Four times the 16 KiB of decoded headers that hyper allows, so that hyper's own answer (431) is the one a client
/// usually sees, while what is held back for one connection stays bounded.
const MAX_BLOCK_BYTES: usize = 64 * 1024;
/// grpc-go fills frames of 16 KiB: four frames make `MAX_BLOCK_BYTES`; twice that for clients that cut smaller.
const MAX_BLOCK_FRAMES: usize = 8;

const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;

const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

#[cfg(test)]
mod tests;
