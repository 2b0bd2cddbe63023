//! The comments of `keystead env`.

use std::path::Path;

use super::{host_and_port, quote};

/// What each client library needs in code, because no variable points it at another server.
pub(super) fn lines(url: &str, ca_file: Option<&Path>, token_file: &Path) -> Vec<String> {
    let (host, port) = host_and_port(url);
    let authority = url.split_once("://").map_or(url, |(_, authority)| authority);
    let mut lines = Vec::new();
    if let Some(ca_file) = ca_file {
        let ca_file = quote(&ca_file.to_string_lossy());
        lines.extend([
            "Python over REST, and Go, take the server's authority from these. They replace the public ones for every program of"
                .to_owned(),
            "the shell, so they are set here only if they were set before:".to_owned(),
            format!("  REQUESTS_CA_BUNDLE={ca_file}   (Python over REST)"),
            format!("  SSL_CERT_FILE={ca_file}   (Go)"),
        ]);
    }
    let token_file = token_file.to_string_lossy();
    lines.extend([
        "In code, with the token file's content as an access token:".to_owned(),
        format!(r#"  Python, gRPC: KeyManagementServiceClient(credentials=c, client_options={{"api_endpoint": "{authority}"}})"#),
        format!(
            r#"  Python, REST: KeyManagementServiceClient(transport="rest", credentials=c, client_options={{"api_endpoint": "{url}"}})"#
        ),
        format!(
            "  Node, gRPC:   new KeyManagementServiceClient({{apiEndpoint: '{host}', port: {port}, sslCreds: \
             grpc.credentials.combineChannelCredentials(grpc.credentials.createSsl(ca), call)}})"
        ),
        format!(
            "  Node, REST:   new KeyManagementServiceClient({{fallback: true, protocol: 'https', apiEndpoint: '{host}', port: \
             {port}, authClient}})"
        ),
        format!(r#"  Go, gRPC:     kms.NewKeyManagementClient(ctx, option.WithEndpoint("{authority}"), option.WithTokenSource(t))"#),
        format!(
            r#"  Go, REST:     kms.NewKeyManagementRESTClient(ctx, option.WithEndpoint("{url}"), option.WithTokenSource(t))"#
        ),
        // Whatever has no endpoint of its own goes to Google, with this token.
        format!(r#"  Terraform:    provider "google" {{ access_token = trimspace(file("{token_file}")), kms_custom_endpoint = "{url}/v1/","#),
        format!(r#"                container_custom_endpoint = "{url}/v1/", resource_manager_custom_endpoint = "{url}/v1/","#),
        format!(r#"                service_usage_custom_endpoint = "{url}/v1/", iam_custom_endpoint = "{url}/v1/" }}"#),
    ]);
    lines
}
