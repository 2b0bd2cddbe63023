//! What words without quotes mean to Kubernetes, and which words need quotes.
//!
//! Kubernetes reads YAML with `sigs.k8s.io/yaml`, which is `go.yaml.in/yaml/v2`: its `resolve.go` is YAML 1.1 with Go's numbers.

use zeroize::Zeroizing;

use super::Content;

/// The meaning of a word without quotes.
pub(super) fn resolve(word: &str) -> Content {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Content::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Content::Bool(false);
        }
        _ => (),
    }
    // A key may begin with a digit.
    let digits = Zeroizing::new(word.replace('_', ""));
    if word.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-')) {
        if let Some(value) = integer(&digits) {
            return i64::try_from(value)
                .map_or_else(|_| Content::Number(digits.to_string()), Content::Integer);
        }
        if is_float(&digits) {
            return Content::Number(digits.to_string());
        }
    }
    let infinite =
        matches!(word.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    if infinite || (word.starts_with('.') && is_float(word)) {
        return Content::Number(digits.to_string());
    }
    Content::String(Zeroizing::new(word.to_owned()))
}

/// Go's `strconv.ParseInt` and `ParseUint` with base 0; none if it is no integer of 64 bits.
fn integer(digits: &str) -> Option<i128> {
    let (negative, rest) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let lower = Zeroizing::new(rest.to_ascii_lowercase());
    let (radix, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    if !rest.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(rest, radix).ok()?);
    let value = if negative { -value } else { value };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(word: &str) -> bool {
    let word = word.strip_prefix(['+', '-']).unwrap_or(word);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (word, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|text| !text.is_empty() && is_digits(text))
}

/// Text as it is written in block style: without quotes where every reader sees the same text.
pub(super) fn text(text: &str) -> Zeroizing<String> {
    let first = text.strip_prefix("--").unwrap_or(text).chars().next();
    let plain = first.is_some_and(|first| first.is_ascii_alphanumeric() || first == '/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./:=,-@+".contains(&byte))
        && !text.ends_with(':')
        && matches!(resolve(text), Content::String(_));
    if plain { Zeroizing::new(text.to_owned()) } else { quoted(text) }
}

/// Text as a string of JSON, which YAML reads the same way.
pub(super) fn quoted(text: &str) -> Zeroizing<String> {
    Zeroizing::new(serde_json::Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(word: &str) -> String {
        match resolve(word) {
            Content::Null => "null".to_owned(),
            Content::Bool(value) => value.to_string(),
            Content::Integer(value) => format!("integer {value}"),
            Content::Number(text) => format!("number {text}"),
            _ => "text".to_owned(),
        }
    }

    #[test]
    fn words_mean_what_go_yaml_says() {
        // Printed by go.yaml.in/yaml/v2 2.4.3, but for the value of numbers with a fraction.
        for (word, expected) in [
            ("", "null"),
            ("~", "null"),
            ("NULL", "null"),
            ("nUll", "text"),
            ("y", "true"),
            ("On", "true"),
            ("oN", "text"),
            ("off", "false"),
            ("12", "integer 12"),
            ("-12", "integer -12"),
            ("+1_000", "integer 1000"),
            ("0x1F", "integer 31"),
            ("017", "integer 15"),
            ("08", "number 08"),
            ("0o17", "integer 15"),
            ("0b11", "integer 3"),
            ("-0b11", "integer -3"),
            ("9223372036854775807", "integer 9223372036854775807"),
            ("18446744073709551615", "number 18446744073709551615"),
            ("1e3", "number 1e3"),
            ("1.", "number 1."),
            ("1.5", "number 1.5"),
            (".5", "number .5"),
            (".inf", "number .inf"),
            ("-.INF", "number -.INF"),
            (".", "text"),
            ("1.2.3", "text"),
            ("1h", "text"),
            ("3s", "text"),
            ("-", "text"),
            ("+", "text"),
            ("2001-12-14", "text"),
            ("1e", "text"),
            ("0x", "text"),
        ] {
            assert_eq!(kind(word), expected, "{word:?}");
        }
    }

    #[test]
    fn what_could_be_read_otherwise_gets_quotes() {
        for plain in
            ["kms", "unix:///run/keystead/kms.sock", "--feature-gates=KMSv1=true,A=false", "v2", "3s", "a.b"]
        {
            assert_eq!(*text(plain), plain);
        }
        for word in ["", "1", "yes", "1e3", "a:", "a b", "*.*", "#", "- a", "a\"b", "é", "-a", "@a", "0x1"] {
            assert_eq!(*text(word), serde_json::Value::from(word).to_string());
        }
    }
}
