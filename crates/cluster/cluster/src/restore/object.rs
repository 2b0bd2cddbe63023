//! What is in a value, as one line of JSON.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::protobuf::{Content, Fields, NotAMessage};

/// One line of JSON with an object in it, which wipes itself: its etcd key and revision, and
///
/// - `object`, of a Secret or ConfigMap: a manifest with name, namespace, labels, annotations, type and data, that `kubectl apply` takes; of
///   what is stored as JSON: what is stored;
/// - `value`, of anything else: the stored bytes in base64.
///
/// A key that is no UTF-8 is `keyBase64` instead of `key`.
pub struct ObjectLine {
    text: Zeroizing<String>,
    place: Option<Place>,
}

/// Name and namespace that an object says of itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    namespace: String,
    name: String,
}

impl ObjectLine {
    pub(super) fn new(key: &[u8], revision: i64, bytes: &[u8]) -> Self {
        // A character of JSON becomes six at most, so that the text never grows: that would leave copies.
        let mut text = Zeroizing::new(String::with_capacity((key.len() + bytes.len()) * 6 + 1024));
        match std::str::from_utf8(key) {
            Ok(key) => field(&mut text, "{\"key\":", key),
            Err(_) => base64_field(&mut text, "{\"keyBase64\":", key),
        }
        text.push_str(&format!(",\"revision\":{revision}"));
        let length = text.len();
        let place = match write_known(&mut text, bytes) {
            Ok(place) => Some(place),
            Err(NotAMessage) => {
                // What was begun is no object.
                text.truncate(length);
                match std::str::from_utf8(bytes).ok().filter(|_| is_json_object(bytes)) {
                    Some(json) => {
                        text.push_str(",\"object\":");
                        // Between tokens only: inside a text JSON has none.
                        text.extend(json.chars().map(|it| if it == '\n' || it == '\r' { ' ' } else { it }));
                    }
                    None => base64_field(&mut text, ",\"value\":", bytes),
                }
                None
            }
        };
        text.push_str("}\n");
        Self { text, place }
    }

    /// The line, with its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the object says that it is stored under this key, as far as it says anything.
    pub(super) fn is_of(&self, key: &[u8]) -> bool {
        let Some(Place { namespace, name }) = &self.place else { return true };
        key.ends_with(format!("/{namespace}/{name}").as_bytes())
    }
}

impl fmt::Debug for ObjectLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectLine").finish_non_exhaustive()
    }
}

fn is_json_object(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// A Secret or ConfigMap (`k8s.io/api/core/v1/generated.proto`) in `runtime.Unknown` of `k8s.io/apimachinery`.
fn write_known(text: &mut String, bytes: &[u8]) -> Result<Place, NotAMessage> {
    let unknown = bytes.strip_prefix(b"k8s\0").ok_or(NotAMessage)?;
    let (mut kind, mut raw) = (None, None);
    for field in Fields::of(unknown) {
        match field? {
            (1, Content::Bytes(type_meta)) => kind = Some(Kind::of(type_meta)?),
            (2, Content::Bytes(bytes)) => raw = Some(bytes),
            _ => (),
        }
    }
    let (kind, raw) = (kind.ok_or(NotAMessage)?, raw.ok_or(NotAMessage)?);
    let mut object = Known::default();
    for field in Fields::of(raw) {
        match (field?, kind) {
            ((1, Content::Bytes(it)), _) => object.metadata = Metadata::read(it)?,
            ((2, Content::Bytes(it)), _) => object.data.push(entry(it)?),
            ((3, Content::Bytes(it)), Kind::Secret) => object.of_type = Some(utf8(it)?),
            ((3, Content::Bytes(it)), Kind::ConfigMap) => object.binary.push(entry(it)?),
            ((5, Content::Number(it)), Kind::Secret) | ((4, Content::Number(it)), Kind::ConfigMap) => {
                object.is_immutable = it != 0;
            }
            _ => (),
        }
    }
    object.write(text, kind)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Secret,
    ConfigMap,
}

#[derive(Default)]
struct Known<'a> {
    metadata: Metadata<'a>,
    data: Vec<(&'a str, &'a [u8])>,
    binary: Vec<(&'a str, &'a [u8])>,
    of_type: Option<&'a str>,
    is_immutable: bool,
}

#[derive(Default)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: Vec<(&'a str, &'a [u8])>,
    annotations: Vec<(&'a str, &'a [u8])>,
}

impl Kind {
    fn of(type_meta: &[u8]) -> Result<Self, NotAMessage> {
        let (mut version, mut kind): (&[u8], &[u8]) = (b"", b"");
        for field in Fields::of(type_meta) {
            match field? {
                (1, Content::Bytes(it)) => version = it,
                (2, Content::Bytes(it)) => kind = it,
                _ => (),
            }
        }
        match (version, kind) {
            (b"v1", b"Secret") => Ok(Self::Secret),
            (b"v1", b"ConfigMap") => Ok(Self::ConfigMap),
            _ => Err(NotAMessage),
        }
    }
}

impl<'a> Metadata<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, NotAMessage> {
        let mut metadata = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, Content::Bytes(it)) => metadata.name = utf8(it)?,
                (3, Content::Bytes(it)) => metadata.namespace = utf8(it)?,
                (11, Content::Bytes(it)) => metadata.labels.push(entry(it)?),
                (12, Content::Bytes(it)) => metadata.annotations.push(entry(it)?),
                _ => (),
            }
        }
        Ok(metadata)
    }
}

impl Known<'_> {
    fn write(&self, text: &mut String, kind: Kind) -> Result<Place, NotAMessage> {
        let Metadata { name, namespace, labels, annotations } = &self.metadata;
        let word = if kind == Kind::Secret { "Secret" } else { "ConfigMap" };
        text.push_str(&format!(",\"object\":{{\"apiVersion\":\"v1\",\"kind\":\"{word}\",\"metadata\":{{"));
        field(text, "\"name\":", name);
        field(text, ",\"namespace\":", namespace);
        texts(text, "labels", labels)?;
        texts(text, "annotations", annotations)?;
        text.push('}');
        if let Some(of_type) = self.of_type {
            field(text, ",\"type\":", of_type);
        }
        if self.is_immutable {
            text.push_str(",\"immutable\":true");
        }
        match kind {
            Kind::Secret => bytes(text, "data", &self.data),
            Kind::ConfigMap => {
                texts(text, "data", &self.data)?;
                bytes(text, "binaryData", &self.binary);
            }
        }
        text.push('}');
        Ok(Place { namespace: (*namespace).to_owned(), name: (*name).to_owned() })
    }
}

/// An entry of a map: key and value.
fn entry(bytes: &[u8]) -> Result<(&str, &[u8]), NotAMessage> {
    let (mut key, mut value): (&[u8], &[u8]) = (b"", b"");
    for field in Fields::of(bytes) {
        match field? {
            (1, Content::Bytes(it)) => key = it,
            (2, Content::Bytes(it)) => value = it,
            _ => (),
        }
    }
    Ok((utf8(key)?, value))
}

fn utf8(bytes: &[u8]) -> Result<&str, NotAMessage> {
    std::str::from_utf8(bytes).map_err(|_| NotAMessage)
}

fn texts(text: &mut String, name: &str, map: &[(&str, &[u8])]) -> Result<(), NotAMessage> {
    let mut before = format!(",\"{name}\":{{");
    for (key, value) in map {
        field(text, &before, key);
        field(text, ":", utf8(value)?);
        ",".clone_into(&mut before);
    }
    text.push_str(if map.is_empty() { "" } else { "}" });
    Ok(())
}

fn bytes(text: &mut String, name: &str, map: &[(&str, &[u8])]) {
    let mut before = format!(",\"{name}\":{{");
    for (key, value) in map {
        field(text, &before, key);
        base64_field(text, ":", value);
        ",".clone_into(&mut before);
    }
    text.push_str(if map.is_empty() { "" } else { "}" });
}

fn base64_field(text: &mut String, before: &str, value: &[u8]) {
    text.push_str(before);
    text.push('"');
    STANDARD.encode_string(value, text);
    text.push('"');
}

/// Text of JSON (RFC 8259, 7).
fn field(text: &mut String, before: &str, value: &str) {
    text.push_str(before);
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            // Not only what must be: nothing in a line steers a terminal or ends the line.
            it if it.is_control() || it == '\u{2028}' || it == '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(it)));
            }
            it => text.push(it),
        }
    }
    text.push('"');
}
