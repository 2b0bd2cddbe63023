//! `keystead env`: the lines that point gcloud, `keystead` and Google's client libraries at a server on this host.

mod authorities;
mod libraries;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use keystead_runtime::{Failure, print_result};
use serde::Deserialize;

use crate::connection::env;
use crate::output::say;

/// Google's APIs that the server speaks, as gcloud's settings name them.
const OVERRIDES: [&str; 5] = ["CLOUDKMS", "CONTAINER", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "IAM"];

#[derive(Debug, clap::Args)]
#[command(after_help = "Use it so: eval \"$(keystead env --data-dir DIRECTORY)\"

gcloud of that shell calls this server and nothing else: whatever it would send to Google is refused by the server, which is named as \
its proxy. Programs that only ask gcloud for its token (docker, git, kubectl with gke-gcloud-auth-plugin) send it where they please.")]
pub(crate) struct EnvArgs {
    /// The server's data directory
    #[arg(long, value_name = "DIRECTORY", env = "KEYSTEAD_SERVER_DATA_DIR")]
    data_dir: PathBuf,
    /// File with the token to use; otherwise `admin-token` of the data directory, otherwise KEYSTEAD_TOKEN_FILE
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What the server wrote about itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    endpoint: String,
    /// Reaches the server from this host without a name; none with a given certificate, which may not hold it.
    local_endpoint: Option<String>,
    addresses: Vec<SocketAddr>,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

pub(crate) fn run(args: &EnvArgs) -> Result<(), Failure> {
    let path = args.data_dir.join("endpoint.json");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", path.display())).hint(format!(
            "start the server first: keystead-server --data-dir {}",
            quote(&args.data_dir.to_string_lossy())
        ))
    })?;
    let unusable = |what: String| {
        Failure::new(format!("{} is not what a server writes: {what}", path.display()))
            .hint("start the server again".to_owned())
    };
    let endpoint: Endpoint = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    let Some(address) = endpoint.addresses.first().copied().map(reachable) else {
        return Err(unusable("it listens nowhere".to_owned()));
    };
    let token_file = token_file(args, &endpoint)?;
    refuse_control_characters(&endpoint, &token_file)?;
    let trust = endpoint.ca_file.as_deref().map(authorities::lines).transpose()?.unwrap_or_default();
    if endpoint.local_endpoint.is_none() {
        // `eval` hides what is a comment.
        leads_elsewhere(&endpoint.endpoint, &endpoint.addresses).iter().for_each(|warning| say(warning));
    }
    print_result(&script(&endpoint, address, &token_file, trust))
}

/// The directory may be another user's, and what is printed is run by a shell: a line feed would end a comment.
fn refuse_control_characters(endpoint: &Endpoint, token_file: &Path) -> Result<(), Failure> {
    let Endpoint { endpoint, local_endpoint, ca_file, .. } = endpoint;
    let texts = [Some(endpoint.as_str()), local_endpoint.as_deref()];
    let files = [ca_file.as_deref(), Some(token_file)].map(|file| file.map(Path::to_string_lossy));
    let texts = texts.into_iter().flatten().chain(files.iter().flatten().map(AsRef::as_ref));
    match texts.into_iter().find(|text| text.contains(char::is_control)) {
        Some(text) => Err(Failure::new(format!(
            "{text:?} has control characters, and a shell would run what is printed"
        ))
        .hint("give the file another name, and start the server again if endpoint.json names it".to_owned())),
        None => Ok(()),
    }
}

/// A file that is there. gcloud without one would send its Google login to the server.
fn token_file(args: &EnvArgs, endpoint: &Endpoint) -> Result<PathBuf, Failure> {
    if let Some(file) = &args.token_file {
        return std::path::absolute(file)
            .ok()
            .filter(|file| file.exists())
            .ok_or_else(|| Failure::new(format!("there is no file {}", file.display())).usage());
    }
    let others = endpoint.token_file.clone().into_iter().chain(env("KEYSTEAD_TOKEN_FILE").map(PathBuf::from));
    others.into_iter().find(|file| file.exists()).ok_or_else(|| {
        let text = format!("{} has no admin-token", args.data_dir.display());
        Failure::new(text)
            .caused_by("a first start writes it; a restored database has none, and it may have been deleted")
            .hint("--token-file FILE names another token: all that were in the database when it was backed up work".to_owned())
    })
}

/// Where a program of this host connects to.
fn reachable(listened: SocketAddr) -> SocketAddr {
    let ip = match listened.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listened.port())
}

/// With a given certificate only its own name will do, and that need not lead here from this host.
fn leads_elsewhere(url: &str, listened: &[SocketAddr]) -> Option<String> {
    let (host, port) = host_and_port(url);
    let host = host.trim_matches(['[', ']']);
    let found: Vec<IpAddr> = (host, port.parse().unwrap_or(0))
        .to_socket_addrs()
        .map(|found| found.map(|it| it.ip()).collect())
        .unwrap_or_default();
    let here = |ip: &IpAddr| listened.iter().any(|it| it.ip() == *ip || it.ip().is_unspecified());
    if found.iter().any(here) {
        return None;
    }
    let leads = match found.first() {
        Some(ip) => format!("leads to {ip} from this host, where the server does not listen"),
        None => "does not resolve on this host".to_owned(),
    };
    let address = listened.first().copied().map(reachable)?;
    Some(format!("warning: {host} {leads}; the line `{} {host}` in /etc/hosts mends that", address.ip()))
}

fn script(
    endpoint: &Endpoint,
    address: SocketAddr,
    token_file: &Path,
    trust: Vec<(&'static str, String)>,
) -> String {
    let url = endpoint.local_endpoint.as_ref().unwrap_or(&endpoint.endpoint);
    let mut lines = Vec::new();
    let mut export = |name: &str, value: &str| lines.push(format!("export {name}={}", quote(value)));
    for api in OVERRIDES {
        // gcloud adds the version itself and wants the last slash.
        export(&format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), &format!("{url}/"));
    }
    // Overrides exist for some of Google's APIs, and some hosts are fixed in gcloud's code. All connections of gcloud ask its proxy
    // first, and as a proxy the server grants only itself.
    let ip = address.ip();
    export("CLOUDSDK_PROXY_TYPE", "http");
    export("CLOUDSDK_PROXY_ADDRESS", &if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
    export("CLOUDSDK_PROXY_PORT", &address.port().to_string());
    // Those of a proxy that gcloud had before are not for us.
    export("CLOUDSDK_PROXY_USERNAME", "");
    export("CLOUDSDK_PROXY_PASSWORD", "");
    // gRPC does without a proxy for the hosts of no_proxy, such as googleapis.com, unless this is set.
    export("no_grpc_proxy", &format!("{},{ip}", host_and_port(url).0));
    // A client certificate for Google is no certificate of ours.
    export("CLOUDSDK_CONTEXT_AWARE_USE_CLIENT_CERTIFICATE", "false");
    let token_file_text = token_file.to_string_lossy();
    export("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", &token_file_text);
    // For key files of service accounts: with `auth/credential_file_override` gcloud does not look at their token_uri, which has the
    // first host name. The proxy leads there.
    export("CLOUDSDK_AUTH_TOKEN_HOST", &format!("{}/token", endpoint.endpoint));
    export("KEYSTEAD_ENDPOINT", url);
    export("KEYSTEAD_TOKEN_FILE", &token_file_text);
    for (name, file) in trust {
        export(name, &file);
    }
    let comments = libraries::lines(url, endpoint.ca_file.as_deref(), token_file);
    lines.extend(comments.into_iter().map(|line| format!("# {line}").trim_end().to_owned()));
    lines.join("\n") + "\n"
}

/// Of `https://HOST:PORT`.
fn host_and_port(url: &str) -> (&str, &str) {
    let authority = url.split_once("://").map_or(url, |(_, authority)| authority);
    authority.rsplit_once(':').unwrap_or((authority, "443"))
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
    fn what_a_shell_would_run_is_refused() {
        let endpoint = |url: &str, local: &str, ca: &str| Endpoint {
            endpoint: url.to_owned(),
            local_endpoint: Some(local.to_owned()),
            addresses: Vec::new(),
            ca_file: Some(ca.into()),
            token_file: None,
        };
        let good = "https://localhost:1";
        assert!(refuse_control_characters(&endpoint(good, good, "/ca"), Path::new("/t")).is_ok());
        let bad = "https://localhost:1\ntouch owned #";
        for (endpoint, token_file) in [
            (endpoint(bad, good, "/ca"), "/t"),
            (endpoint(good, bad, "/ca"), "/t"),
            (endpoint(good, good, "/ca\ntouch owned"), "/t"),
            (endpoint(good, good, "/ca"), "/t\ntouch owned #"),
        ] {
            let refused = refuse_control_characters(&endpoint, Path::new(token_file)).expect_err("refused");
            assert!(!refused.to_string().contains("\ntouch"), "{refused}");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_told_and_an_address_of_the_server_is_not() {
        let listened = [SocketAddr::from((Ipv6Addr::LOCALHOST, 9443))];
        assert_eq!(leads_elsewhere("https://[::1]:9443", &listened), None);
        let told = leads_elsewhere("https://[2001:db8::1]:9443", &listened).expect("a warning");
        assert!(told.starts_with("warning: 2001:db8::1 leads to 2001:db8::1 "), "{told}");
        assert!(leads_elsewhere("https://127.0.0.1:9443", &listened).is_some());
    }

    #[test]
    fn a_given_certificate_changes_no_authorities() {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 443));
        let endpoint = Endpoint {
            endpoint: "https://kms.example.com:443".to_owned(),
            local_endpoint: None,
            addresses: vec![address],
            ca_file: None,
            token_file: None,
        };
        let text = script(&endpoint, reachable(address), Path::new("/t"), Vec::new());
        assert!(!text.contains("CA_") && !text.contains("SSL_"), "{text}");
        assert!(text.contains("port: 443"), "{text}");
        assert!(text.contains("PROXY_ADDRESS='[::1]'\n"), "{text}");
    }
}
