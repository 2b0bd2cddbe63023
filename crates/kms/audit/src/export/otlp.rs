//! OTLP over HTTP, with JSON. The answer is an acknowledgement.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use keystead_model::ErrorChain;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use serde::{Deserialize, Serialize};

use super::SEND_LIMIT;
use crate::{AuditError, RecordLine};

/// A collector answers with a few bytes; a page of HTML from something else is cut off for the log.
const SHOWN: usize = 200;
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A collector of OpenTelemetry.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// Its base address, such as `https://collector:4318`: records go to `/v1/logs` below it.
    pub endpoint: String,
    /// A file with a certificate authority in PEM, besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// A file with a token for `Authorization: Bearer`, read again for each batch, so that it can be changed.
    pub token_file: Option<PathBuf>,
}

impl OtlpSettings {
    pub(super) fn check(&self) -> Result<(), AuditError> {
        if self.endpoint.starts_with("http://") || self.endpoint.starts_with("https://") {
            return Ok(());
        }
        Err(AuditError::Setting("the endpoint of an OTLP export begins with http:// or https://"))
    }
}

pub(super) struct OtlpSink {
    client: Client,
    url: String,
    token_file: Option<PathBuf>,
}

impl OtlpSink {
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, AuditError> {
        // A redirect would carry the token to somebody else; a proxy from the environment is nothing that was asked for.
        let mut client = Client::builder()
            .timeout(SEND_LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .redirect(Policy::none())
            .no_proxy();
        if let Some(path) = &settings.ca_file {
            let pem = fs::read(path).map_err(AuditError::io("read", path))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|_| AuditError::Setting("the file with a certificate authority holds no PEM"))?;
            client = client.tls_certs_merge(certificates);
        }
        let client = client.build().map_err(|error| AuditError::Start(error.to_string()))?;
        let url = format!("{}/v1/logs", settings.endpoint.trim_end_matches('/'));
        Ok(Self { client, url, token_file: settings.token_file.clone() })
    }

    pub(super) async fn send(&mut self, batch: &[RecordLine]) -> Result<(), String> {
        let mut request = self.client.post(&self.url).json(&Request::of(batch));
        if let Some(path) = &self.token_file {
            let token = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| format!("{} holds no token", path.display()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await.map_err(|error| ErrorChain(&error).to_string())?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| ErrorChain(&error).to_string())?;
        if !status.is_success() {
            let said: String = body.chars().take(SHOWN).collect();
            return Err(format!("the collector answers {status}: {said:?}"));
        }
        // The protocol forbids to send again what a collector took in part.
        let rejected = serde_json::from_str::<Answer>(&body).ok().and_then(|it| it.partial_success);
        if let Some(PartialSuccess { rejected_log_records, error_message }) = rejected
            && rejected_log_records != serde_json::Value::Null
            && rejected_log_records != "0"
            && rejected_log_records != 0
        {
            tracing::warn!(%rejected_log_records, error_message, "a collector refused records of the audit log");
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    partial_success: Option<PartialSuccess>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialSuccess {
    #[serde(default)]
    rejected_log_records: serde_json::Value,
    #[serde(default)]
    error_message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_logs: [ResourceLogs<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs<'a> {
    resource: Resource<'a>,
    scope_logs: [ScopeLogs<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs<'a> {
    scope: Scope,
    log_records: Vec<LogRecord<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time_unix_nano: Option<String>,
    severity_number: u8,
    severity_text: String,
    /// The line as it is, so that its hash can still be checked.
    body: Value<'a>,
    attributes: [Attribute<'a>; 1],
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'a> {
    StringValue(&'a str),
    /// 64-bit numbers are texts in the JSON of protocol buffers.
    IntValue(String),
}

impl<'a> Request<'a> {
    fn of(batch: &'a [RecordLine]) -> Self {
        let service = Attribute { key: "service.name", value: Value::StringValue("keystead-server") };
        let log_records = batch.iter().map(LogRecord::of).collect();
        let scope_logs = [ScopeLogs { scope: Scope { name: "keystead.audit" }, log_records }];
        Self { resource_logs: [ResourceLogs { resource: Resource { attributes: [service] }, scope_logs }] }
    }
}

impl<'a> LogRecord<'a> {
    fn of(record: &'a RecordLine) -> Self {
        #[derive(Deserialize)]
        struct Line {
            timestamp: jiff::Timestamp,
            severity: String,
        }
        let read: Option<Line> = serde_json::from_str(&record.text).ok();
        let severity_number = match read.as_ref().map(|it| it.severity.as_str()) {
            Some("ERROR") => 17,
            Some("WARNING") => 13,
            Some("NOTICE") => 10,
            _ => 9,
        };
        Self {
            time_unix_nano: read.as_ref().map(|it| it.timestamp.as_nanosecond().to_string()),
            severity_number,
            severity_text: read.map(|it| it.severity).unwrap_or_default(),
            body: Value::StringValue(&record.text),
            attributes: [Attribute {
                key: "keystead.audit.sequence",
                value: Value::IntValue(record.sequence.to_string()),
            }],
        }
    }
}
