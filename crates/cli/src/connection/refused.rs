//! What a person reads when a call fails.

use keystead_model::{ErrorClass, Exit, causes_of};
use keystead_runtime::Failure;
use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::settings::Credentials;

/// The server did not answer.
pub(super) fn unreachable(error: &reqwest::Error, endpoint: &Url) -> Failure {
    let causes = causes_of(error).join(": ");
    let text = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
    let failure = Failure::new(format!("the server at {endpoint} {text}")).exit(Exit::Unreachable);
    let failure = if causes.is_empty() { failure } else { failure.caused_by(causes.clone()) };
    failure.hint(if causes.to_lowercase().contains("certificate") {
        "KEYSTEAD_CA_FILE or --ca-file names the certificates of the authority that vouches for it".to_owned()
    } else {
        "is it running, and is KEYSTEAD_ENDPOINT or --endpoint its address?".to_owned()
    })
}

/// A signal came before the answer.
pub(super) fn interrupted(signal: &str) -> Failure {
    Failure::new(format!("{signal} before the server answered"))
        .hint("it may have been made all the same: `list` shows it, and nobody has its secret".to_owned())
}

/// The server answered with an error.
pub(super) fn answer(status: StatusCode, body: &Value, credentials: &Credentials) -> Failure {
    let error = body.get("error").unwrap_or(body);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let name = text("status").map_or_else(|| status.to_string(), str::to_owned);
    let message = text("message").unwrap_or("no reason given");
    let exit = ErrorClass::of_status(&name).map_or(Exit::Failed, ErrorClass::exit);
    let failure = Failure::new(format!("{name}: {message}")).exit(exit);
    let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let failure = details.iter().filter_map(cause).fold(failure, Failure::caused_by);
    failure.hint(hint(&name, details, credentials))
}

/// Details of `google.rpc` in a person's words; others say nothing to a person.
fn cause(detail: &Value) -> Option<String> {
    if let Some(permission) = detail.pointer("/metadata/permission").and_then(Value::as_str) {
        return Some(format!("the permission {permission} is not granted"));
    }
    if let Some(violation) = detail.pointer("/violations/0").or_else(|| detail.pointer("/fieldViolations/0"))
    {
        let field = |name: &str| violation.get(name).and_then(Value::as_str);
        let parts = [field("type"), field("field"), field("subject"), field("description")];
        let text: Vec<&str> = parts.into_iter().flatten().collect();
        return (!text.is_empty()).then(|| text.join(": "));
    }
    let reason = detail.get("reason").and_then(Value::as_str)?;
    Some(reason.to_owned())
}

fn hint(status: &str, details: &[Value], credentials: &Credentials) -> Option<String> {
    let metadata = |name: &str| {
        details.iter().find_map(|detail| detail.pointer(&format!("/metadata/{name}")).and_then(Value::as_str))
    };
    let disabled =
        details.iter().any(|detail| detail.get("reason").is_some_and(|it| it == "SERVICE_DISABLED"));
    match status {
        "PERMISSION_DENIED" if disabled => {
            let service = metadata("service").unwrap_or("SERVICE");
            let project = metadata("consumer").map_or("PROJECT", |it| it.trim_start_matches("projects/"));
            Some(format!("`keystead services enable {service} --project {project}` switches it on"))
        }
        "PERMISSION_DENIED" => Some(
            "`add-iam-policy-binding`, by someone who may set the policy, grants a role that holds it"
                .to_owned(),
        ),
        "UNAUTHENTICATED" => Some(match (&credentials.token_file, &credentials.certificate_file) {
            (Some(file), _) => {
                format!(
                    "the token in {} may be wrong, expired or revoked: `keystead iam tokens create` makes another",
                    file.display()
                )
            }
            (None, Some(file)) => format!("the server does not accept {}", file.display()),
            (None, None) => "KEYSTEAD_TOKEN_FILE or --token-file names the file with your token".to_owned(),
        }),
        "ABORTED" => Some("someone else changed it meanwhile: run the command again".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use serde_json::json;

    use super::{Credentials, answer};

    fn shown(status: u16, body: serde_json::Value) -> (String, u8) {
        let credentials = Credentials::none();
        let failure = answer(StatusCode::from_u16(status).expect("status"), &body, &credentials);
        (failure.to_string(), failure.code())
    }

    #[test]
    fn denied_names_the_permission_and_ends_with_5() {
        let (text, code) = shown(
            403,
            json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "Permission 'x' denied on resource 'y' (or it may not exist).",
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED",
                    "domain": "cloudkms.googleapis.com", "metadata": {"permission": "cloudkms.keyRings.get"}}]}}),
        );
        assert_eq!(code, 5);
        assert_eq!(
            text,
            "error: PERMISSION_DENIED: Permission 'x' denied on resource 'y' (or it may not exist).\n\
             caused by: the permission cloudkms.keyRings.get is not granted\n\
             hint: `add-iam-policy-binding`, by someone who may set the policy, grants a role that holds it"
        );
    }

    #[test]
    fn switched_off_service_names_the_command_that_switches_it_on() {
        let (text, code) = shown(
            403,
            json!({"error": {"status": "PERMISSION_DENIED", "message": "off", "details": [{"reason": "SERVICE_DISABLED",
                "metadata": {"service": "cloudkms.googleapis.com", "consumer": "projects/p"}}]}}),
        );
        assert!(text.contains("keystead services enable cloudkms.googleapis.com --project p"), "{text}");
        assert_eq!(code, 5);
    }

    #[test]
    fn disabled_version_is_named_and_statuses_have_their_exit_codes() {
        let (text, code) = shown(
            400,
            json!({"error": {"status": "FAILED_PRECONDITION", "message": "k/1 is not enabled, current state is: DISABLED.",
                "details": [{"violations": [{"type": "KEY_DISABLED", "subject": "k/1"}]}]}}),
        );
        assert!(text.contains("caused by: KEY_DISABLED: k/1"), "{text}");
        assert_eq!(code, 1);
        for (status, code) in [
            ("UNAUTHENTICATED", 5),
            ("UNAVAILABLE", 4),
            ("RESOURCE_EXHAUSTED", 4),
            ("DEADLINE_EXCEEDED", 4),
            ("ABORTED", 1),
            ("NOT_FOUND", 1),
            ("DATA_LOSS", 6),
            ("INTERNAL", 70),
            ("CANCELLED", 1),
        ] {
            assert_eq!(shown(400, json!({"error": {"status": status, "message": "m"}})).1, code, "{status}");
        }
        assert_eq!(shown(502, json!({})).0, "error: 502 Bad Gateway: no reason given");
    }
}
