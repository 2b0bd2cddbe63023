//! YAML as gcloud writes it: fields in order, lists not indented, single quotes only where a reader needs them.

use keystead_model::is_unseen;
use serde_json::Value;

use super::path::sorted;

/// One document, with its line end.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => items(&mut out, value, 0),
        _ => {
            scalar(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

fn fields(out: &mut String, value: &Value, indent: usize) {
    let Value::Object(map) = value else { return };
    for (position, (key, value)) in sorted(map).enumerate() {
        // The first field of a list's item stands beside the dash.
        if position > 0 || out.is_empty() || out.ends_with('\n') {
            pad(out, indent);
        }
        out.push_str(&text(key));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                fields(out, value, indent + 2);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                items(out, value, indent);
            }
            _ => {
                out.push(' ');
                scalar(out, value, indent);
                out.push('\n');
            }
        }
    }
}

fn items(out: &mut String, value: &Value, indent: usize) {
    let Value::Array(list) = value else { return };
    for item in list {
        // So does the first item of a list in a list.
        if out.is_empty() || out.ends_with('\n') {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => fields(out, item, indent + 2),
            Value::Array(inner) if !inner.is_empty() => items(out, item, indent + 2),
            _ => {
                scalar(out, item, indent);
                out.push('\n');
            }
        }
    }
}

fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(lines) if lines.contains('\n') => literal(out, lines, indent),
        Value::String(line) => out.push_str(&text(line)),
        // Only what holds something else is written in lines. JSON is YAML, too.
        Value::Array(_) | Value::Object(_) => out.push_str(&value.to_string()),
    }
}

fn literal(out: &mut String, lines: &str, indent: usize) {
    out.push_str(if lines.ends_with('\n') { "|" } else { "|-" });
    for line in lines.trim_end_matches('\n').split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent + 2);
            out.push_str(line);
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn text(text: &str) -> String {
    if text.contains(is_unseen) {
        let mut quoted = String::from("\"");
        for letter in text.chars() {
            match letter {
                '"' | '\\' => quoted.extend(['\\', letter]),
                letter if u32::from(letter) > 0xffff && is_unseen(letter) => {
                    quoted.push_str(&format!("\\U{:08x}", u32::from(letter)));
                }
                letter if is_unseen(letter) => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
                letter => quoted.push(letter),
            }
        }
        quoted.push('"');
        return quoted;
    }
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// Whether the text without quotes is read as this same text.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let second = text.chars().nth(1);
    let starts_well = match first {
        '-' | '?' | ':' => second.is_some_and(|it| it != ' '),
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
        | ' ' => false,
        _ => true,
    };
    starts_well
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !["<<", "="].contains(&text)
        && !is_other_type(text)
}

/// Null, truth, number or time to a reader of YAML 1.2.
fn is_other_type(text: &str) -> bool {
    const WORDS: [&str; 3] = ["null", "true", "false"];
    const NUMBERS: [&str; 4] = [".nan", ".inf", "-.inf", "+.inf"];
    let lower = text.to_ascii_lowercase();
    let one_case = text == lower || text == text.to_ascii_uppercase() || text.get(1..) == lower.get(1..);
    if text == "~" || (one_case && WORDS.contains(&lower.as_str())) || NUMBERS.contains(&lower.as_str()) {
        return true;
    }
    let digits = lower.trim_start_matches(['-', '+']);
    if !digits.starts_with(|it: char| it.is_ascii_digit() || it == '.') {
        return false;
    }
    let based = |prefix: &str, radix: u32| {
        let rest = digits.strip_prefix(prefix);
        rest.is_some_and(|it| it.chars().all(|it| it.is_digit(radix) || it == '_'))
    };
    digits.replace('_', "").parse::<f64>().is_ok()
        || based("0x", 16)
        || based("0o", 8)
        || based("0b", 2)
        || is_time(digits)
}

/// `2026-12-01`, alone or with a time of day behind it.
fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let day: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let behind = rest.get(day.len()..).unwrap_or_default();
    let number = |text: &str, shortest: usize, longest: usize| {
        (shortest..=longest).contains(&text.len()) && text.chars().all(|it| it.is_ascii_digit())
    };
    let shortest = if behind.is_empty() { 2 } else { 1 };
    number(year, 4, 4)
        && number(month, shortest, 2)
        && number(&day, shortest, 2)
        && (behind.is_empty() || behind.starts_with(['t', ' ']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::document;

    /// As the real gcloud printed it.
    #[test]
    fn policy_is_written_as_gcloud_writes_it() {
        let policy = json!({"version": 3, "etag": "BwX_neww", "bindings": [
            {"role": "roles/cloudkms.admin", "members": ["user:a@example.com"]},
            {"role": "roles/cloudkms.viewer", "members": ["user:a@example.com"],
             "condition": {"title": "until2030", "expression": "request.time < timestamp(\"2030-01-01T00:00:00Z\")"}}]});
        assert_eq!(
            document(&policy),
            "bindings:\n- members:\n  - user:a@example.com\n  role: roles/cloudkms.admin\n- condition:\n    \
             expression: request.time < timestamp(\"2030-01-01T00:00:00Z\")\n    title: until2030\n  members:\n  \
             - user:a@example.com\n  role: roles/cloudkms.viewer\netag: BwX_neww\nversion: 3\n"
        );
    }

    /// Each line as the YAML printer of the real gcloud wrote it.
    #[test]
    fn what_a_reader_would_take_for_something_else_is_quoted() {
        for line in [
            "'2026-11-01T10:00:00Z'",
            "'2026-12-01'",
            "2026-1-1",
            "'123456789012'",
            "2592000s",
            "''",
            "'true'",
            "'TRUE'",
            "nUll",
            "'null'",
            "yes",
            "no",
            "Off",
            "y",
            "'no: way'",
            "it's",
            "'- x'",
            "-x",
            "'-'",
            "'@type'",
            "'1.5'",
            "'.5'",
            "'-.5'",
            "'+1'",
            "'1.'",
            "'1e3'",
            "1e",
            "'1_000'",
            "'0x1f'",
            "'0o17'",
            "'0b1'",
            "'0777'",
            "1:30",
            "07:30:00",
            "1,000",
            "0.0.0.0",
            "'a # b'",
            "'#x'",
            "'~'",
            "deadbeef",
            "a'b",
            "'a: '",
            "'key:'",
            "ü",
            "'[x]'",
            "'{b}'",
            "a {b}",
            "'<<'",
            "'='",
            "?x",
            ":x",
            "a,b",
            "'!x'",
            "'%x'",
            "' x'",
            "'.inf'",
            "'`x'",
            "x`",
            "a\"b",
            "'\"a'",
            "'---'",
            "'--- a'",
            "'...'",
        ] {
            let text = line.trim_matches('\'');
            assert_eq!(document(&json!({"k": text})), format!("k: {line}\n"));
        }
        let value = json!({"n": true, "o": 5, "p": null, "q": {}, "r": [], "s": "two\nlines", "zz": "two\nlines\n",
            "a3": ["x", {"b": "1", "c": ["d"]}, ["e"], ""]});
        assert_eq!(
            document(&value),
            "a3:\n- x\n- b: '1'\n  c:\n  - d\n- - e\n- ''\nn: true\no: 5\np: null\nq: {}\nr: []\n\
             s: |-\n  two\n  lines\nzz: |\n  two\n  lines\n"
        );
    }
}
