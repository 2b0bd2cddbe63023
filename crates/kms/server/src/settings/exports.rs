use std::collections::BTreeSet;
use std::path::PathBuf;

use keystead_audit::{Export, ExportSettings, OtlpSettings, SyslogAddress};
use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::wrong;

/// A place where records of the audit log go besides the log: exactly one of `file`, `syslog` and `otlp`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ExportEntry {
    /// Its name in metrics: 1 to 32 lower-case letters, digits and hyphens
    name: String,
    /// A file, on another file system perhaps; it may be moved away at any time
    file: Option<PathBuf>,
    /// A receiver of RFC 5424: `unix:///dev/log`, `udp://HOST:PORT` or `tcp://HOST:PORT`
    syslog: Option<String>,
    /// A collector of OpenTelemetry
    otlp: Option<OtlpEntry>,
}

/// A collector that takes OTLP over HTTP with JSON.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OtlpEntry {
    /// Its base address, such as `https://collector:4318`
    endpoint: String,
    /// Certificate authority in PEM, besides those of the system
    ca_file: Option<PathBuf>,
    /// File with a token for `Authorization: Bearer`; read again for each batch
    token_file: Option<PathBuf>,
}

pub(super) fn complete(given: Vec<ExportEntry>) -> Result<Vec<ExportSettings>, Failure> {
    let mut names = BTreeSet::new();
    let mut exports = Vec::new();
    for export in given {
        let ExportEntry { name, file, syslog, otlp } = export;
        if !names.insert(name.clone()) {
            return Err(wrong(
                format!("two exports of the audit log are called `{name}`"),
                "give each its own name",
            ));
        }
        let to = match (file, syslog, otlp) {
            (Some(path), None, None) => Export::File(path),
            (None, Some(address), None) => Export::Syslog(syslog_address(&address)?),
            (None, None, Some(OtlpEntry { endpoint, ca_file, token_file })) => {
                Export::Otlp(OtlpSettings { endpoint, ca_file, token_file })
            }
            _ => {
                let text = format!("the audit log's export `{name}` does not say where to");
                return Err(wrong(text, "give exactly one of `file`, `syslog` and `otlp`"));
            }
        };
        let settings = ExportSettings { name, to };
        settings.check().map_err(|error| Failure::from_error(&error).usage())?;
        exports.push(settings);
    }
    Ok(exports)
}

fn syslog_address(text: &str) -> Result<SyslogAddress, Failure> {
    let port = |it: &str| {
        it.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(SyslogAddress::Unix(path.into())),
        Some(("udp", address)) if port(address) => Ok(SyslogAddress::Udp(address.to_owned())),
        Some(("tcp", address)) if port(address) => Ok(SyslogAddress::Tcp(address.to_owned())),
        _ => Err(wrong(
            format!("`{text}` is no address of a syslog receiver"),
            "unix:///PATH, udp://HOST:PORT or tcp://HOST:PORT",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(json: &str) -> Result<Vec<ExportSettings>, Failure> {
        complete(serde_json::from_str(json).expect("well formed"))
    }

    #[test]
    fn exports_are_what_they_say() {
        let exports = given(
            r#"[{"name":"copy","file":"/mnt/audit.jsonl"},
                {"name":"siem","syslog":"tcp://[::1]:601"},
                {"name":"local","syslog":"unix:///dev/log"},
                {"name":"otel","otlp":{"endpoint":"https://collector:4318","tokenFile":"/t"}}]"#,
        )
        .expect("good");
        assert!(matches!(&exports[0].to, Export::File(path) if path == "/mnt/audit.jsonl"));
        assert!(matches!(&exports[1].to, Export::Syslog(SyslogAddress::Tcp(it)) if it == "[::1]:601"));
        assert!(matches!(&exports[2].to, Export::Syslog(SyslogAddress::Unix(it)) if it == "/dev/log"));
        assert!(
            matches!(&exports[3].to, Export::Otlp(it) if it.ca_file.is_none() && it.token_file.is_some())
        );
    }

    #[test]
    fn wrong_exports_are_wrong_text() {
        for bad in [
            r#"[{"name":"a"}]"#,
            r#"[{"name":"a","file":"x","syslog":"tcp://h:1"}]"#,
            r#"[{"name":"a","file":"x"},{"name":"a","file":"y"}]"#,
            r#"[{"name":"A","file":"x"}]"#,
            r#"[{"name":"a","syslog":"h:1"}]"#,
            r#"[{"name":"a","syslog":"tcp://h"}]"#,
            r#"[{"name":"a","syslog":"tcp://:1"}]"#,
            r#"[{"name":"a","syslog":"unix://relative"}]"#,
            r#"[{"name":"a","otlp":{"endpoint":"collector:4318"}}]"#,
        ] {
            assert_eq!(given(bad).expect_err(bad).code(), 2, "{bad}");
        }
    }
}
