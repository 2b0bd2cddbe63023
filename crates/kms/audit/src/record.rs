use crate::{Destruction, Event, entry};

/// An event as it will stand in the log, before it has a place there. A mutation keeps it beside what it changes until it is
/// in the log, so that a crash in between loses neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// A JSON object without its braces.
    pub(crate) content: Vec<u8>,
    pub(crate) destruction: Option<Destruction>,
}

impl Record {
    /// Turns an event into the bytes of its record.
    pub fn of(event: &Event) -> Self {
        Self { content: entry::of_event(event), destruction: event.destruction }
    }

    /// For a store: a JSON object.
    pub fn to_json(&self) -> Vec<u8> {
        [b"{", self.content.as_slice(), b"}"].concat()
    }

    /// Takes what [`to_json`](Self::to_json) gave; none: it is something else.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let content = bytes.strip_prefix(b"{")?.strip_suffix(b"}")?;
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
        // A line feed would make two lines of it.
        let good = whole && !content.contains(&b'\n') && entry::insert_id(content).is_some();
        good.then(|| Self { content: content.to_vec(), destruction: entry::destruction(content) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;

    #[test]
    fn a_stored_record_is_the_same_again() {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let mut event =
            Event::new("id-1", time, "cloudkms.googleapis.com", "Encrypt", "projects/p", EventKind::DataRead);
        for step in [None, Some(Destruction::Scheduled), Some(Destruction::Destroyed)] {
            event.destruction = step;
            let record = Record::of(&event);
            assert!(Record::from_json(&record.to_json()).is_some_and(|it| it == record));
        }
        for bad in [
            b"{\n\"logName\":\"\",\"insertId\":\"x\"}".as_slice(),
            &b""[..],
            b"{}",
            b"[]",
            b"{\"insertId\":\"x\"",
            b"null",
        ] {
            assert!(Record::from_json(bad).is_none(), "{bad:?}");
        }
    }
}
