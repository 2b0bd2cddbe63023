//! `keystead env`: the lines that point gcloud, `keystead` and Google's client libraries at a server on this host.

use std::path::PathBuf;

use keystead_runtime::{Failure, print_result};
use serde::Deserialize;

/// Google's APIs that the server speaks, as gcloud's settings name them.
const OVERRIDES: [&str; 5] = ["CLOUDKMS", "CONTAINER", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "IAM"];
/// Where they are set, they win over gcloud's own setting for authorities.
const STRONGER: [&str; 2] = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

#[derive(Debug, clap::Args)]
#[command(after_help = "Use it so: eval \"$(keystead env --data-dir DIRECTORY)\"")]
pub(crate) struct EnvArgs {
    /// The server's data directory
    #[arg(long, value_name = "DIRECTORY", env = "KEYSTEAD_SERVER_DATA_DIR")]
    data_dir: PathBuf,
}

/// What the server wrote about itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    endpoint: String,
    ca_file: Option<PathBuf>,
    token_file: PathBuf,
}

pub(crate) fn run(args: &EnvArgs) -> Result<(), Failure> {
    let path = args.data_dir.join("endpoint.json");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", path.display())).hint(format!(
            "start the server first: keystead-server --data-dir {}",
            quote(&args.data_dir.to_string_lossy())
        ))
    })?;
    let endpoint: Endpoint = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("{} is not what a server writes: {error}", path.display()))
            .hint("start the server again".to_owned())
    })?;
    let set: Vec<&str> = STRONGER.into_iter().filter(|name| std::env::var_os(name).is_some()).collect();
    if endpoint.ca_file.is_some() && !set.is_empty() {
        warn(&set);
    }
    print_result(&script(&endpoint))
}

/// `eval` hides what is a comment.
#[expect(clippy::print_stderr, reason = "standard output is evaluated by a shell")]
fn warn(set: &[&str]) {
    eprintln!(
        "warning: this shell has set {}, which wins over gcloud's own setting: gcloud will not trust the server until you \
         unset it or add the server's authority to its file",
        set.join(" and ")
    );
}

fn script(endpoint: &Endpoint) -> String {
    let url = &endpoint.endpoint;
    let mut lines = Vec::new();
    let mut export = |name: &str, value: &str| lines.push(format!("export {name}={}", quote(value)));
    for api in OVERRIDES {
        // gcloud adds the version itself and wants the last slash.
        export(&format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), &format!("{url}/"));
    }
    let token_file = endpoint.token_file.to_string_lossy();
    export("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", &token_file);
    // For key files of service accounts: with `auth/credential_file_override` gcloud does not look at their token_uri.
    export("CLOUDSDK_AUTH_TOKEN_HOST", &format!("{url}/token"));
    export("KEYSTEAD_ENDPOINT", url);
    export("KEYSTEAD_TOKEN_FILE", &token_file);
    if let Some(ca_file) = &endpoint.ca_file {
        let ca_file = ca_file.to_string_lossy();
        for name in [
            "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
            "NODE_EXTRA_CA_CERTS",
            "KEYSTEAD_CA_FILE",
        ] {
            export(name, &ca_file);
        }
    }
    lines.extend(comments(endpoint).into_iter().map(|line| format!("# {line}").trim_end().to_owned()));
    lines.join("\n") + "\n"
}

/// What each client library needs in code, because no variable points it at another server.
fn comments(endpoint: &Endpoint) -> Vec<String> {
    let url = &endpoint.endpoint;
    let authority = url.split_once("://").map_or(url.as_str(), |(_, authority)| authority);
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    let mut lines = Vec::new();
    if let Some(ca_file) = &endpoint.ca_file {
        let ca_file = quote(&ca_file.to_string_lossy());
        lines.extend([
            "Python over REST, and Go, take the server's authority from these. They replace the public ones for every program of"
                .to_owned(),
            "the shell, so they are not set here:".to_owned(),
            format!("  REQUESTS_CA_BUNDLE={ca_file}   (Python over REST; gcloud prefers it to its own setting)"),
            format!("  SSL_CERT_FILE={ca_file}   (Go)"),
        ]);
    }
    let token_file = endpoint.token_file.to_string_lossy();
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
        format!(
            r#"  Terraform:    provider "google" {{ kms_custom_endpoint = "{url}/v1/", access_token = trimspace(file("{token_file}")) }}"#
        ),
    ]);
    lines
}

/// One word for a POSIX shell, whatever is in it.
pub(crate) fn quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (text, quoted) in [
            ("/run/keystead/ca.pem", "/run/keystead/ca.pem"),
            ("/a b", "'/a b'"),
            ("", "''"),
            ("it's $(date)`;&", r"'it'\''s $(date)`;&'"),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn a_given_certificate_changes_no_authorities() {
        let endpoint = Endpoint {
            endpoint: "https://kms.example.com:443".to_owned(),
            ca_file: None,
            token_file: Path::new("/d/admin-token").to_owned(),
        };
        let text = script(&endpoint);
        assert!(!text.contains("CA_") && !text.contains("SSL_"), "{text}");
        assert!(text.contains("port: 443"), "{text}");
    }
}
