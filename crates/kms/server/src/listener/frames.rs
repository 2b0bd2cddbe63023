//! Follows the frames that an HTTP/2 client sends, without looking into them: is one half sent, and are there too many
//! that ask for nothing? hyper and h2 bound what one frame may cost; they have no clock.

use std::time::{Duration, Instant};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_LEN: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Counts start anew after it.
const WINDOW: Duration = Duration::from_secs(10);
/// Frames that carry no request: 100 a second, twice what an eager client sends while it measures the link.
const FREE_CONTROL_FRAMES: u32 = 1_000;
/// And with each request: acknowledgements, window updates, and the ping by which Go and C++ clients measure.
const CONTROL_FRAMES_PER_REQUEST: u32 = 16;
/// Calls given up by the client. 100 a second on one connection for 10 s is no client that wants answers.
const MAX_RESETS: u32 = 1_000;
/// A DATA frame under this length that does not end its stream is a body in crumbs.
const CRUMB_LEN: u32 = 256;

/// Where in the client's bytes we are.
#[derive(Debug)]
enum Place {
    /// The first bytes: as many of the preface as have come.
    Preface(usize),
    /// Not HTTP/2.
    Http1,
    /// In a frame's header: as many of its bytes as have come.
    Header(usize),
    /// In a frame's payload.
    Payload(u32),
}

/// The client's side of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    place: Place,
    header: [u8; HEADER_LEN],
    in_header_block: bool,
    frames: u64,
    window_start: Instant,
    requests: u32,
    control: u32,
    resets: u32,
}

/// More than a client that wants answers would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flood {
    /// PING, SETTINGS, PRIORITY, empty DATA and the like.
    #[error("too many frames that carry no request")]
    Control,
    /// Calls begun and given up.
    #[error("too many calls given up")]
    Resets,
}

impl Frames {
    /// Nothing has come yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            place: Place::Preface(0),
            header: [0; HEADER_LEN],
            in_header_block: false,
            frames: 0,
            window_start: now,
            requests: 0,
            control: 0,
            resets: 0,
        }
    }

    /// The client speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.place, Place::Header(_) | Place::Payload(_))
    }

    /// The client owes us the rest of something: its preface and first frame, a frame, or a block of headers.
    pub(super) fn is_partial(&self) -> bool {
        match self.place {
            Place::Http1 => false,
            Place::Preface(_) | Place::Payload(_) => true,
            Place::Header(have) => have > 0 || self.in_header_block || self.frames == 0,
        }
    }

    /// Takes what the client has sent next.
    pub(super) fn feed(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        if now.duration_since(self.window_start) > WINDOW {
            (self.window_start, self.requests, self.control, self.resets) = (now, 0, 0, 0);
        }
        while let Some((first, rest)) = bytes.split_first() {
            match self.place {
                Place::Http1 => return Ok(()),
                Place::Preface(have) => {
                    self.place = match PREFACE.get(have) {
                        Some(expected) if expected != first => Place::Http1,
                        _ if have + 1 == PREFACE.len() => Place::Header(0),
                        _ => Place::Preface(have + 1),
                    };
                    bytes = rest;
                }
                Place::Header(have) => {
                    if let Some(slot) = self.header.get_mut(have) {
                        *slot = *first;
                    }
                    self.place = Place::Header(have + 1);
                    if have + 1 == HEADER_LEN {
                        self.begin_frame()?;
                    }
                    bytes = rest;
                }
                Place::Payload(left) => {
                    let taken = bytes.len().min(left as usize);
                    bytes = bytes.get(taken..).unwrap_or_default();
                    let left = left.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
                    self.place = if left == 0 { Place::Header(0) } else { Place::Payload(left) };
                }
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let len = u32::from_be_bytes([0, high, middle, low]);
        self.place = if len == 0 { Place::Header(0) } else { Place::Payload(len) };
        self.frames += 1;
        match kind {
            HEADERS => {
                self.requests = self.requests.saturating_add(1);
                self.in_header_block = flags & END_HEADERS == 0;
            }
            CONTINUATION => {
                self.control = self.control.saturating_add(1);
                self.in_header_block = flags & END_HEADERS == 0;
            }
            RST_STREAM => self.resets = self.resets.saturating_add(1),
            DATA if len >= CRUMB_LEN || flags & END_STREAM != 0 => {}
            _ => self.control = self.control.saturating_add(1),
        }
        if self.resets > MAX_RESETS {
            return Err(Flood::Resets);
        }
        let allowed = self.requests.saturating_mul(CONTROL_FRAMES_PER_REQUEST) + FREE_CONTROL_FRAMES;
        if self.control > allowed { Err(Flood::Control) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, len: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, len, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_LEN + usize::from(len), 7);
        bytes
    }

    fn connected() -> (Frames, Instant) {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        frames.feed(PREFACE, now).expect("fed");
        assert!(frames.is_partial(), "SETTINGS must follow");
        frames.feed(&frame(4, 0, 6), now).expect("fed");
        assert!(frames.is_http2() && !frames.is_partial());
        (frames, now)
    }

    #[test]
    fn bytes_one_by_one_and_all_at_once_are_the_same() {
        let all: Vec<u8> = [PREFACE, &frame(4, 0, 6), &frame(1, 5, 20), &frame(0, 1, 200)].concat();
        let settings_end = PREFACE.len() + HEADER_LEN + 6;
        let headers_end = settings_end + HEADER_LEN + 20;
        let now = Instant::now();
        let mut frames = Frames::new(now);
        for (index, byte) in all.iter().enumerate() {
            let whole = index == settings_end || index == headers_end;
            assert_eq!(frames.is_partial(), !whole, "before byte {index}");
            frames.feed(&[*byte], now).expect("fed");
        }
        let mut at_once = Frames::new(now);
        at_once.feed(&all, now).expect("fed");
        assert_eq!(format!("{frames:?}"), format!("{at_once:?}"));
        assert!(!frames.is_partial());
    }

    #[test]
    fn every_kind_of_half_is_partial() {
        let (mut frames, now) = connected();
        frames.feed(&frame(1, 5, 20)[..4], now).expect("fed");
        assert!(frames.is_partial(), "half a header");
        frames.feed(&frame(1, 5, 20)[4..15], now).expect("fed");
        assert!(frames.is_partial(), "half a payload");
        frames.feed(&frame(1, 5, 20)[15..], now).expect("fed");
        assert!(!frames.is_partial());
        frames.feed(&frame(1, 0, 20), now).expect("fed");
        assert!(frames.is_partial(), "a block of headers without its end");
        frames.feed(&frame(9, 4, 0), now).expect("fed");
        assert!(!frames.is_partial());
    }

    #[test]
    fn http1_is_left_alone() {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        frames.feed(b"P", now).expect("fed");
        assert!(frames.is_partial());
        frames.feed(b"OST / HTTP/1.1\r\n", now).expect("fed");
        assert!(!frames.is_partial() && !frames.is_http2());
    }

    #[test]
    fn floods_are_seen_and_busy_clients_are_not_floods() {
        for (kind, flags, len, flood) in [
            (6, 0, 8, Flood::Control),
            (4, 0, 0, Flood::Control),
            (0, 0, 0, Flood::Control),
            (0, 0, 1, Flood::Control),
            (2, 0, 5, Flood::Control),
            (9, 0, 0, Flood::Control),
            (99, 0, 0, Flood::Control),
            (3, 0, 4, Flood::Resets),
        ] {
            let (mut frames, now) = connected();
            let mut last = Ok(());
            let mut feed = || {
                last = frames.feed(&frame(kind, flags, len), now);
                last.is_ok()
            };
            let count = (0..2_000).take_while(|_| feed()).count();
            assert!((990..=1_000).contains(&count), "kind {kind}: {count}");
            assert_eq!(last, Err(flood));
        }
        // A Go client measures the link with a ping for each answer.
        let (mut frames, now) = connected();
        for _ in 0..100_000 {
            frames.feed(&[frame(1, 4, 30), frame(0, 1, 60), frame(6, 0, 8)].concat(), now).expect("busy");
        }
    }

    #[test]
    fn counts_start_anew_with_each_window() {
        let (mut frames, start) = connected();
        for second in 0..100 {
            for _ in 0..90 {
                frames.feed(&frame(6, 0, 8), start + Duration::from_secs(second)).expect("slow enough");
            }
        }
    }
}
