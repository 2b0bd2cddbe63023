//! kube-apiserver's flags about encryption, wherever they are written: their names, and how it reads their values.

use std::collections::BTreeMap;

/// The EncryptionConfiguration's path.
pub const CONFIG: &str = "encryption-provider-config";
/// Whether changes of that file are followed.
pub const RELOAD: &str = "encryption-provider-config-automatic-reload";
/// A flag whose value has several settings.
pub const FEATURE_GATES: &str = "feature-gates";

/// The gate of KMS v1, which is off by default from Kubernetes 1.29.
pub const KMS_V1: &str = "KMSv1";

/// A gate that is neither true nor false.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("feature-gates: {0:?} is not NAME=true or NAME=false")]
pub struct BadGate(pub String);

/// One flag among words, as `pflag` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes in front; `_` is `-`, as Kubernetes reads it. Of a short flag such as `-v`, which nothing here asks for or edits,
    /// the dash and the letter.
    pub name: String,
    /// None: the flag alone, which means true.
    pub value: Option<String>,
    /// Index of the word with its name.
    pub index: usize,
    /// Whether the value is a word of its own.
    pub apart: bool,
}

/// All flags, in the order in which they are read.
///
/// # Errors
///
/// The index of a word that is neither a flag nor the value of one.
pub fn read(words: &[&str]) -> Result<Vec<Flag>, usize> {
    let mut flags = Vec::new();
    let mut words = words.iter().enumerate().peekable();
    while let Some((index, word)) = words.next() {
        let (name, value) = split_flag(word).ok_or(index)?;
        // kube-apiserver takes no words of its own, so that one behind a flag is its value.
        let next = words.peek().map(|(_, next)| **next).filter(|next| !next.starts_with('-'));
        let apart = value.is_none() && next.is_some();
        let value = value.or(next).map(str::to_owned);
        if apart {
            words.next();
        }
        flags.push(Flag { name, value, index, apart });
    }
    Ok(flags)
}

/// Name and value of `--name`, `--name=value`, `-n`, `-n=value` or `-nvalue`; none: `pflag` takes the word for no flag.
fn split_flag(word: &str) -> Option<(String, Option<&str>)> {
    if let Some(flag) = word.strip_prefix("--") {
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let is_name = !name.is_empty() && !name.starts_with('-');
        return is_name.then(|| (name.replace('_', "-"), value));
    }
    let flag = word.strip_prefix('-')?;
    let letter = flag.chars().next().filter(char::is_ascii_alphabetic)?;
    let rest = flag.get(1..).filter(|rest| !rest.is_empty());
    Some((format!("-{letter}"), rest.map(|rest| rest.strip_prefix('=').unwrap_or(rest))))
}

/// Go's `strconv.ParseBool`, which reads every flag that is true or false.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The gates of one value of `--feature-gates`. Of a gate that stands there twice, the last one counts.
pub fn gates(given: &str) -> Result<BTreeMap<&str, bool>, BadGate> {
    split(given).map(gate).collect()
}

/// The gates with one of them switched or, with none, removed; the others stay as they are.
pub fn merged(given: &str, name: &str, on: Option<bool>) -> Result<String, BadGate> {
    let mut gates = Vec::new();
    for text in split(given) {
        if gate(text)?.0 != name {
            gates.push(text.to_owned());
        }
    }
    gates.extend(on.map(|on| format!("{name}={on}")));
    Ok(gates.join(","))
}

fn split(given: &str) -> impl Iterator<Item = &str> {
    given.split(',').filter(|gate| !gate.is_empty())
}

/// Name and value of one gate. From 1.31 a gate may have `kube:` before its name, which is what no prefix means too.
fn gate(text: &str) -> Result<(&str, bool), BadGate> {
    let bad = || BadGate(text.to_owned());
    let (name, value) = text.split_once('=').ok_or_else(bad)?;
    let on = truth(value.trim()).ok_or_else(bad)?;
    let name = name.trim();
    Ok((name.strip_prefix("kube:").unwrap_or(name), on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_gates_stay_as_they_are() {
        assert_eq!(
            merged("A=1,kube:KMSv1=false,B=F", KMS_V1, Some(true)).as_deref(),
            Ok("A=1,B=F,KMSv1=true")
        );
        assert_eq!(merged("KMSv1=true", KMS_V1, None).as_deref(), Ok(""));
        assert_eq!(merged("", KMS_V1, Some(true)).as_deref(), Ok("KMSv1=true"));
        for bad in ["KMSv1", "KMSv1=yes", "KMSv1="] {
            assert_eq!(merged(bad, KMS_V1, None), Err(BadGate(bad.to_owned())));
        }
    }

    #[test]
    fn the_last_setting_of_a_gate_counts() {
        assert_eq!(
            gates("A=1,,kube:KMSv1=true, KMSv1=F"),
            Ok(BTreeMap::from([("A", true), (KMS_V1, false)]))
        );
        assert_eq!(gates("A=yes"), Err(BadGate("A=yes".to_owned())));
    }
}
