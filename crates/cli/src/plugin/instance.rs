//! The name of one of several plugins on a host: moving a cluster from one key to another takes two of them side by side.

use std::fmt;
use std::str::FromStr;

/// A DNS label: it becomes a part of the names of a pod, a unit, files and a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instance(String);

/// A container's name has 63 bytes at most, and `keystead-kms-plugin-` takes 20 of them.
const LONGEST: usize = 40;

impl FromStr for Instance {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        let is_good = (1..=LONGEST).contains(&given.len())
            && given.bytes().all(is_plain)
            && !given.starts_with('-')
            && !given.ends_with('-');
        match is_good {
            true => Ok(Self(given.to_owned())),
            false => Err(format!(
                "the name of an instance has {LONGEST} characters at most, of a-z, 0-9 and -, and neither begins nor ends with -"
            )),
        }
    }
}

impl Instance {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_dns_label() {
        for good in ["new", "a", "0", "kms-2026", &"a".repeat(40)] {
            assert_eq!(good.parse::<Instance>().map(|it| it.to_string()).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "../a",
            "a b",
            "a@b",
            "a_b",
            "%i",
            "ü",
            "a\n",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<Instance>().is_err(), "{bad:?}");
        }
    }
}
