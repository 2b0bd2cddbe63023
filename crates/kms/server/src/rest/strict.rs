//! What every JSON text must be before anything is made of it: UTF-8, one value, not too deep, no name twice.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Objects and lists within each other. The deepest message that is served has 6 (a condition in a binding in a policy
/// in a request).
const MAX_DEPTH: usize = 32;

/// Looks at the whole text and keeps nothing of it.
pub(super) fn check(text: &str) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    Level(0).deserialize(&mut json)?;
    json.end()
}

struct Level(usize);

impl Level {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        if self.0 == MAX_DEPTH {
            return Err(E::custom(format_args!("more than {MAX_DEPTH} objects or lists within each other")));
        }
        Ok(Self(self.0 + 1))
    }

    fn next(&self) -> Self {
        Self(self.0)
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while list.next_element_seed(inside.next())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            // `keyRing` and `key_ring` are one field.
            if !names.insert(camel_case(&name)) {
                return Err(A::Error::custom(format_args!("the name {name:?} is there twice")));
            }
            object.next_value_seed(inside.next())?;
        }
        Ok(())
    }
}

/// `key_ring` is `keyRing`; what has no underscore stays as it is.
pub(super) fn camel_case(text: &str) -> String {
    let mut camel = String::with_capacity(text.len());
    let mut upper = false;
    for letter in text.chars() {
        match letter {
            '_' => upper = true,
            _ if std::mem::take(&mut upper) => camel.push(letter.to_ascii_uppercase()),
            _ => camel.push(letter),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn accepts_json() {
        let deepest = format!("{}{}", "[".repeat(32), "]".repeat(32));
        for text in
            ["{}", "\"\"", "null", "{\"a\": {\"b\": 1}, \"b\": [{\"a\": 1}, {\"a\": 1.5e3}]}", &deepest]
        {
            assert!(check(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_two_readers_may_read_differently() {
        let too_deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        let much_too_deep = "{\"a\":".repeat(100_000);
        for text in [
            "",
            "{} {}",
            "{\"a\": 1, \"a\": 2}",
            "{\"a\": 1, \"\\u0061\": 2}",
            "{\"keyRing\": {}, \"key_ring\": {}}",
            "{\"a\": [{\"b\": 1, \"b\": 1}]}",
            "{'a': 1}",
            "{\"a\": 1,}",
            "{\"a\": NaN}",
            "{\"a\": \"\n\"}",
            "\u{feff}{}",
            &too_deep,
            &much_too_deep,
        ] {
            assert!(check(text).is_err(), "{text:.80}");
        }
    }
}
