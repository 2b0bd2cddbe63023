//! An HTTP request becomes the message that the same call over gRPC would carry.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor, Value};
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use super::query;
use super::refusal::Refusal;
use super::routes::{Body, Route};
use super::strict;
use crate::methods::is_unserved;

/// One byte that says whether it is compressed, four of length.
pub(super) const FRAME_HEADER_LEN: usize = 5;

/// Puts path, query and body together; the answer is a gRPC frame that wipes itself.
pub(super) fn transcode(
    route: &Route,
    values: &[Vec<String>],
    query: Option<&str>,
    body: &[u8],
) -> Result<Bytes, Refusal> {
    let mut message = DynamicMessage::new(route.input.clone());
    match &route.body {
        Body::Nowhere => {}
        Body::Whole => message = read(&route.input, route.has_unserved, body)?,
        Body::Field(field) => {
            if let Some(kind) = field.kind().as_message() {
                message.set_field(field, Value::Message(read(kind, route.has_unserved, body)?));
            }
        }
    }
    let parameters = query::parameters(query.unwrap_or_default())?;
    query::apply(&mut message, &parameters, |path| is_bound(route, path))?;
    for (fields, value) in route.variables.iter().zip(values) {
        let value = value.iter().map(|part| segment(part)).collect::<Result<Vec<_>, _>>()?.join("/");
        if let Some((last, outer)) = fields.split_last()
            && let Some(inner) = query::inside(&mut message, outer)
        {
            inner.set_field(last, Value::String(value));
        }
    }
    let frame = frame(&message);
    wipe(&mut message);
    frame
}

/// What the path has is set after this, so that it wins.
fn is_bound(route: &Route, path: &[FieldDescriptor]) -> bool {
    match &route.body {
        Body::Nowhere => false,
        Body::Whole => true,
        Body::Field(field) => path.first() == Some(field),
    }
}

/// An encoded slash would make the name of something else.
fn segment(part: &str) -> Result<String, Refusal> {
    let decoded = query::percent_decode(part)?;
    if decoded.contains('/') {
        return Err(Refusal::invalid("A part of the path holds an encoded slash."));
    }
    Ok(decoded)
}

/// An absent body, `{}`, `null` and (Node) `""` are the empty message.
fn read(kind: &MessageDescriptor, has_unserved: bool, body: &[u8]) -> Result<DynamicMessage, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::invalid("The body is not UTF-8."))?;
    let text = text.trim_ascii();
    if matches!(text, "" | "\"\"" | "null") {
        return Ok(DynamicMessage::new(kind.clone()));
    }
    strict::check(text).map_err(|error| invalid(&error))?;
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let masks: Vec<_> = kind.fields().filter(is_mask).collect();
    let message = if masks.is_empty() && !has_unserved {
        let mut json = serde_json::Deserializer::from_str(text);
        DynamicMessage::deserialize_with_options(kind.clone(), &mut json, &options)
    } else {
        let mut json: serde_json::Value = serde_json::from_str(text).map_err(|error| invalid(&error))?;
        for mask in masks {
            camel_case_mask(&mut json, &mask);
        }
        if has_unserved {
            empty_unserved(&mut json, kind);
        }
        DynamicMessage::deserialize_with_options(kind.clone(), json, &options)
    };
    message.map_err(|error| invalid(&error))
}

fn is_mask(field: &FieldDescriptor) -> bool {
    field.kind().as_message().is_some_and(|kind| kind.full_name() == "google.protobuf.FieldMask")
}

/// The JSON form of a mask is in camel case. Some clients write it as in gRPC.
fn camel_case_mask(json: &mut serde_json::Value, mask: &FieldDescriptor) {
    for name in [mask.json_name(), mask.name()] {
        if let Some(serde_json::Value::String(text)) = json.get_mut(name) {
            *text = strict::camel_case(text);
        }
    }
}

/// Leaves nothing in what stands for something that is not served, so that it is refused by its own name and not by that of something
/// in it, or because it is published as another kind of value.
fn empty_unserved(json: &mut serde_json::Value, kind: &MessageDescriptor) {
    if is_unserved(kind) {
        *json = json!({});
        return;
    }
    for field in kind.fields() {
        let is_map = field.is_map();
        let of = if is_map { kind_of_values(&field) } else { field.kind().as_message().cloned() };
        let Some(of) = of else { continue };
        for name in [field.json_name(), field.name()] {
            match json.get_mut(name) {
                // Null is nothing.
                None | Some(serde_json::Value::Null) => {}
                Some(serde_json::Value::Array(items)) => {
                    items.iter_mut().for_each(|item| empty_unserved(item, &of));
                }
                Some(serde_json::Value::Object(items)) if is_map => {
                    items.values_mut().for_each(|item| empty_unserved(item, &of));
                }
                Some(value) => empty_unserved(value, &of),
            }
        }
    }
}

fn kind_of_values(map: &FieldDescriptor) -> Option<MessageDescriptor> {
    map.kind().as_message()?.map_entry_value_field().kind().as_message().cloned()
}

/// The reader's own words without the values that they quote: one of them may be a plaintext. Names of fields stay; cut,
/// because they may be long.
fn invalid(error: &serde_json::Error) -> Refusal {
    let error: String = without_text(&error.to_string()).chars().take(200).collect();
    Refusal::invalid(format!("The JSON body is not valid: {error}."))
}

/// `invalid type: string "s3cret", expected a map` is `invalid type: string, expected a map`.
fn without_text(error: &str) -> String {
    let Some((before, quoted)) = error.split_once(" string \"") else { return error.to_owned() };
    // The last one: the text itself may say so too.
    let after = quoted.rsplit_once("\", ").map_or("", |(_, after)| after);
    if after.is_empty() { format!("{before} string") } else { format!("{before} string, {after}") }
}

fn frame(message: &DynamicMessage) -> Result<Bytes, Refusal> {
    let len = message.encoded_len();
    let mut frame = Zeroizing::new(Vec::with_capacity(FRAME_HEADER_LEN + len));
    frame.push(0);
    // Smaller than the body that it was read from.
    frame.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    message.encode(&mut *frame).map_err(|error| Refusal::invalid(error.to_string()))?;
    Ok(Bytes::from_owner(frame))
}

/// Overwrites every byte field: plaintexts are among them.
pub(super) fn wipe(message: &mut DynamicMessage) {
    for (_, value) in message.fields_mut() {
        wipe_value(value);
    }
}

fn wipe_value(value: &mut Value) {
    match value {
        Value::Bytes(bytes) => wipe_bytes(std::mem::take(bytes)),
        Value::String(text) => text.zeroize(),
        Value::Message(message) => wipe(message),
        Value::List(values) => values.iter_mut().for_each(wipe_value),
        _ => {}
    }
}

/// Only where nobody else holds them.
pub(super) fn wipe_bytes(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::without_text;

    #[test]
    fn what_stands_in_a_body_is_not_said_back() {
        for (error, said) in [
            (
                r#"invalid type: string "s3cret", expected a map at line 1 column 9"#,
                "invalid type: string, expected a map at line 1 column 9",
            ),
            (r#"invalid value: string "a\", expected b", expected c"#, "invalid value: string, expected c"),
            (r#"invalid value: string "without an end"#, "invalid value: string"),
            ("unrecognized field name 'x'", "unrecognized field name 'x'"),
        ] {
            assert_eq!(without_text(error), said);
        }
    }
}
