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
