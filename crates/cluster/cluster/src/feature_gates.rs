//! The value of `--feature-gates`.

/// The gate of KMS v1, which is off by default from Kubernetes 1.29.
pub const KMS_V1: &str = "KMSv1";

/// A gate that is neither true nor false.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("feature-gates: {0:?} is not NAME=true or NAME=false")]
pub struct BadGate(pub String);

/// Name and value of one gate. From 1.31 a gate may have `kube:` before its name, which is what no prefix means too.
pub fn parse(gate: &str) -> Result<(&str, bool), BadGate> {
    let bad = || BadGate(gate.to_owned());
    let (name, value) = gate.split_once('=').ok_or_else(bad)?;
    let name = name.trim();
    // Go's `strconv.ParseBool`.
    let on = match value.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => return Err(bad()),
    };
    Ok((name.strip_prefix("kube:").unwrap_or(name), on))
}

/// The gates with one of them switched or, with none, removed; the others stay as they are.
pub fn merged(given: &str, name: &str, on: Option<bool>) -> Result<String, BadGate> {
    let mut gates = Vec::new();
    for gate in given.split(',').filter(|gate| !gate.is_empty()) {
        if parse(gate)?.0 != name {
            gates.push(gate.to_owned());
        }
    }
    gates.extend(on.map(|on| format!("{name}={on}")));
    Ok(gates.join(","))
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
}
