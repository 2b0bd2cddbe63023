use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Longest text that a record repeats, in bytes of JSON: a resource name is at most 268, and ciphertext never gets in.
pub(crate) const MAX_TEXT: usize = 1024;
/// Most names in one list: what a policy binds is recorded whole up to here.
const MAX_NAMES: usize = 256;

/// What a record may show of a request or a response: a closed list of types. There is none for bytes, and nothing that
/// takes whatever can be serialised, so that a plaintext cannot get in by way of a new field.
///
/// ```compile_fail
/// let _ = keystead_audit::SafeValue::from(vec![1_u8, 2]);
/// ```
///
/// ```compile_fail
/// let _ = keystead_audit::SafeValue::from(&b"plaintext"[..]);
/// ```
///
/// ```compile_fail
/// let _ = keystead_audit::SafeValue::from(keystead_crypto::SecretBytes::from(vec![1_u8]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum SafeValue {
    /// A name, a state, a mask. Cut off after 1,024 bytes of JSON.
    Text(String),
    /// A count or a size.
    Number(i64),
    /// A switch.
    Bool(bool),
    /// A time.
    Time(Timestamp),
    /// Names: of permissions, members, fields. At most 256 are kept.
    Names(Vec<String>),
    /// A message inside the message.
    Fields(SafeFields),
}

/// Fields of a request or a response, in the order in which they were added. Their names are part of the program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SafeFields(Vec<(&'static str, SafeValue)>);

impl SafeFields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields with one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<SafeValue>) -> Self {
        self.add(name, value);
        self
    }

    /// The fields with one more, if there is a value for it.
    #[must_use]
    pub fn with_some(mut self, name: &'static str, value: Option<impl Into<SafeValue>>) -> Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }

    /// Adds a field.
    pub fn add(&mut self, name: &'static str, value: impl Into<SafeValue>) {
        self.0.push((name, value.into()));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same, with the length and the digest of each list in its place. Counts, texts and digests stay.
    pub(crate) fn without_lists(&self) -> Self {
        let shorter = |value: &SafeValue| match value {
            SafeValue::Names(names) => SafeValue::Fields(left_out("omittedCount", names.len(), names)),
            SafeValue::Fields(fields) => SafeValue::Fields(fields.without_lists()),
            other => other.clone(),
        };
        Self(self.0.iter().map(|(name, value)| (*name, shorter(value))).collect())
    }

    /// What stands for fields that are too long even so.
    pub(crate) fn omitted(&self) -> Self {
        if self.is_empty() { Self::new() } else { left_out("omittedFields", self.0.len(), self) }
    }
}

macro_rules! from {
    ($($type:ty => |$value:ident| $make:expr;)+) => {
        $(impl From<$type> for SafeValue {
            fn from($value: $type) -> Self {
                $make
            }
        })+
    };
}

from! {
    String => |value| Self::Text(value);
    &str => |value| Self::Text(value.to_owned());
    i64 => |value| Self::Number(value);
    i32 => |value| Self::Number(value.into());
    u32 => |value| Self::Number(value.into());
    bool => |value| Self::Bool(value);
    Timestamp => |value| Self::Time(value);
    Vec<String> => |value| Self::Names(value);
    SafeFields => |value| Self::Fields(value);
}

impl Serialize for SafeValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(clip(text, MAX_TEXT)),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Time(time) => serializer.collect_str(time),
            Self::Names(names) => {
                serializer.collect_seq(names.iter().take(MAX_NAMES).map(|it| clip(it, MAX_TEXT)))
            }
            Self::Fields(fields) => fields.serialize(serializer),
        }
    }
}

impl Serialize for SafeFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// How much was left out, and its digest: of JSON, and for names of all of them, whole.
fn left_out(count: &'static str, number: usize, what: &impl Serialize) -> SafeFields {
    // Writing to memory fails only when a map's keys are no texts, and these are.
    let text = serde_json::to_vec(what).unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    SafeFields::new().with(count, i64::try_from(number).unwrap_or(i64::MAX)).with("sha256", hex)
}

/// The longest start of a text that has at most `limit` bytes as JSON, without the quotes around it. A control character has
/// six there, so a bound on the text itself bounds nothing.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    if text.len() <= limit && !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        return text;
    }
    let mut left = limit;
    for (at, letter) in text.char_indices() {
        let needed = match letter {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            letter => letter.len_utf8(),
        };
        match left.checked_sub(needed) {
            Some(rest) => left = rest,
            None => return text.get(..at).unwrap_or_default(),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(clip("abc", 5), "abc");
        assert_eq!(clip("a\u{e9}b", 2), "a");
        assert_eq!(clip("a\u{e9}b", 3), "a\u{e9}");
    }

    #[test]
    fn a_text_is_cut_by_what_it_takes_in_a_record() {
        let all: String = (0..0x250_u32).filter_map(char::from_u32).collect();
        for limit in 0..900 {
            let cut = clip(&all, limit);
            let len = |text: &str| serde_json::to_string(text).expect("serialises").len() - 2;
            assert!(len(cut) <= limit, "{limit}");
            let next = all[cut.len()..].chars().next().map(|letter| format!("{cut}{letter}"));
            assert!(next.is_none_or(|longer| len(&longer) > limit), "{limit} takes more");
        }
    }

    #[test]
    fn fields_keep_their_order_and_long_lists_end() {
        let fields = SafeFields::new()
            .with("zone", "b")
            .with("alpha", 7)
            .with("names", vec!["x".repeat(3000); 300])
            .with("inner", SafeFields::new().with("on", true));
        let text = serde_json::to_string(&fields).expect("serialises");
        assert!(text.starts_with(r#"{"zone":"b","alpha":7,"names":["xxx"#), "{text}");
        assert!(text.ends_with(r#","inner":{"on":true}}"#));
        assert_eq!(text.matches('x').count(), 256 * 1024);
    }
}
