//! Query parameters become fields.

use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage,
};
use serde_json::json;

use super::refusal::Refusal;
use super::strict::camel_case;

/// Parameters that a request may have. A list of values is one parameter each; the longest list that is served in a query
/// has one entry, clients add about five of their own.
const MAX_PARAMETERS: usize = 100;

/// The decoded parameters of a query, in order.
pub(super) fn parameters(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut decoded = Vec::new();
    for parameter in parameters {
        if decoded.len() == MAX_PARAMETERS {
            return Err(Refusal::invalid(format!("The query has more than {MAX_PARAMETERS} parameters.")));
        }
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        decoded.push((form_decode(name)?, form_decode(value)?));
    }
    Ok(decoded)
}

/// Sets the fields that the parameters name. Unknown ones (`$alt`, `prettyPrint`, ...) mean nothing here, and neither do
/// those that `is_bound` says the path or the body has.
pub(super) fn apply(
    message: &mut DynamicMessage,
    parameters: &[(String, String)],
    is_bound: impl Fn(&[FieldDescriptor]) -> bool,
) -> Result<(), Refusal> {
    let mut seen: Vec<Vec<FieldDescriptor>> = Vec::new();
    for (name, value) in parameters {
        let Some(path) = resolve(&message.descriptor(), name) else { continue };
        let Some((last, outer)) = path.split_last() else { continue };
        if is_bound(&path) {
            continue;
        }
        if seen.contains(&path) && !last.is_list() {
            return Err(Refusal::invalid(format!("The query parameter {name:?} is there twice.")));
        }
        if let Some(inner) = inside(message, outer) {
            set(inner, last, name, value)?;
        }
        seen.push(path);
    }
    Ok(())
}

/// The message that a field of a field is in, made where it is missing.
pub(super) fn inside<'m>(
    message: &'m mut DynamicMessage,
    outer: &[FieldDescriptor],
) -> Option<&'m mut DynamicMessage> {
    outer.iter().try_fold(message, |message, field| message.get_field_mut(field).as_message_mut())
}

/// `options.requestedPolicyVersion` is two fields; names may be as in JSON or as in the `.proto` file.
fn resolve(message: &MessageDescriptor, name: &str) -> Option<Vec<FieldDescriptor>> {
    let mut message = Some(message.clone());
    let mut path = Vec::new();
    for part in name.split('.') {
        let known = message?;
        let field = known.get_field_by_json_name(part).or_else(|| known.get_field_by_name(part))?;
        message = field.kind().as_message().filter(|_| !field.is_list() && !field.is_map()).cloned();
        path.push(field);
    }
    let is_text = path.last().is_some_and(|last| !last.is_map() && has_text_form(&last.kind()));
    is_text.then_some(path)
}

fn has_text_form(kind: &Kind) -> bool {
    let well_known = |message: &MessageDescriptor| {
        matches!(message.name(), "FieldMask" | "Timestamp" | "Duration" | "Int64Value")
            && message.package_name() == "google.protobuf"
    };
    kind.as_message().is_none_or(well_known)
}

/// Has the reader of JSON read the value, so that there is one reader for all values.
fn set(
    message: &mut DynamicMessage,
    field: &FieldDescriptor,
    name: &str,
    value: &str,
) -> Result<(), Refusal> {
    let value = match field.kind() {
        Kind::Bool => match value.to_ascii_lowercase().as_str() {
            "true" | "1" => json!(true),
            "false" | "0" => json!(false),
            _ => return Err(invalid(name, "is neither true nor false")),
        },
        Kind::Enum(_) => value.parse::<i32>().map_or_else(|_| json!(value), |number| json!(number)),
        Kind::Message(kind) if kind.name() == "FieldMask" => json!(camel_case(value)),
        _ => json!(value),
    };
    let value = if field.is_list() { json!([value]) } else { value };
    let options = DeserializeOptions::new();
    let object = json!({ field.json_name(): value });
    let parsed = DynamicMessage::deserialize_with_options(message.descriptor(), object, &options)
        .map_err(|error| invalid(name, &error.to_string()))?;
    match (parsed.get_field(field).as_list(), field.is_list()) {
        (Some(values), true) => {
            if let Some(list) = message.get_field_mut(field).as_list_mut() {
                list.extend_from_slice(values);
            }
        }
        _ => message.set_field(field, parsed.get_field(field).into_owned()),
    }
    Ok(())
}

fn invalid(name: &str, why: &str) -> Refusal {
    let name: String = name.chars().take(100).collect();
    let why: String = why.chars().take(200).collect();
    Refusal::invalid(format!("The query parameter {name:?} is not valid: {why}."))
}

/// Percent-encoding, and a plus for a space.
fn form_decode(text: &str) -> Result<String, Refusal> {
    percent_decode(&text.replace('+', " "))
}

/// Percent-encoding as in a path.
pub(super) fn percent_decode(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push(u8::try_from(high * 16 + low).unwrap_or_default()),
            _ => return Err(Refusal::invalid("A percent sign in the URL is not followed by two digits.")),
        }
    }
    String::from_utf8(bytes).map_err(|_| Refusal::invalid("The URL is not UTF-8."))
}
