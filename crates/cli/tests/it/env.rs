//! `keystead env`, and the lines that it prints in a real shell.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use keystead_testkit::process::clock_environment;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::{keystead, stderr, stdout};

/// What a server with its own certificate and a host name writes, or one with a given certificate.
fn endpoint(dir: &Path, own: bool) -> String {
    let ca = dir.join("tls/ca.pem");
    let (ca, local) =
        if own { (json!(ca), json!("https://localhost:40123")) } else { (Value::Null, Value::Null) };
    json!({"endpoint": "https://kms.keystead.invalid:40123", "localEndpoint": local,
        "addresses": ["127.0.0.1:40123"], "plainHttp": [], "caFile": ca, "tokenFile": dir.join("admin-token")})
    .to_string()
}

/// A data directory with the files that `endpoint.json` names.
fn data_directory(dir: &Path, own: bool) {
    fs::create_dir_all(dir.join("tls")).expect("made");
    fs::write(dir.join("endpoint.json"), endpoint(dir, own)).expect("written");
    fs::write(dir.join("admin-token"), "ks_0_0\n").expect("written");
    fs::write(dir.join("tls/ca.pem"), certificate("the server's")).expect("written");
}

/// In the form of a certificate, and none.
fn certificate(text: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// `keystead env` in a shell in which nothing is set but these.
fn env(dir: &Path, set: &[(&str, &Path)]) -> Output {
    let mut command = keystead();
    for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        command.env_remove(name);
    }
    command.env_remove("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH").env("XDG_CACHE_HOME", dir.join("cache"));
    command.args(["env", "--data-dir"]).arg(dir).envs(set.iter().copied());
    command.output().expect("runs")
}

/// All variables of a shell that has evaluated these lines.
fn evaluated(printed: &Output) -> HashMap<String, String> {
    assert!(printed.status.success(), "{}", stderr(printed));
    let script = "eval \"$1\"; env -0";
    let shell = Command::new("sh").args(["-euc", script, "sh", &stdout(printed)]).env_clear().output();
    let shell = shell.expect("runs");
    assert!(shell.status.success(), "{}", stderr(&shell));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    stdout(&shell).split('\0').filter_map(pair).collect()
}

#[test]
fn the_lines_survive_a_shell_whatever_the_path() {
    let base = tempfile::tempdir().expect("a directory");
    let dir = base.path().join("it's a $(dir); `x`");
    data_directory(&dir, true);
    let printed = env(&dir, &[]);
    let variables = evaluated(&printed);
    let variable = |name: &str| variables.get(name).unwrap_or_else(|| panic!("{name} is not set")).as_str();
    for api in ["CLOUDKMS", "CONTAINER", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "IAM"] {
        let name = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
        assert_eq!(variable(&name), "https://localhost:40123/", "{name}");
    }
    let (ca, token) = (dir.join("tls/ca.pem"), dir.join("admin-token"));
    for name in [
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "NODE_EXTRA_CA_CERTS",
        "KEYSTEAD_CA_FILE",
    ] {
        assert_eq!(variable(name), ca.to_str().expect("UTF-8"), "{name}");
    }
    for name in ["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "KEYSTEAD_TOKEN_FILE"] {
        assert_eq!(variable(name), token.to_str().expect("UTF-8"), "{name}");
    }
    for (name, value) in [
        ("KEYSTEAD_ENDPOINT", "https://localhost:40123"),
        ("CLOUDSDK_AUTH_TOKEN_HOST", "https://kms.keystead.invalid:40123/token"),
        ("CLOUDSDK_PROXY_TYPE", "http"),
        ("CLOUDSDK_PROXY_ADDRESS", "127.0.0.1"),
        ("CLOUDSDK_PROXY_PORT", "40123"),
        ("CLOUDSDK_PROXY_USERNAME", ""),
        ("CLOUDSDK_PROXY_PASSWORD", ""),
        ("no_grpc_proxy", "localhost,127.0.0.1"),
        ("CLOUDSDK_CONTEXT_AWARE_USE_CLIENT_CERTIFICATE", "false"),
    ] {
        assert_eq!(variable(name), value, "{name}");
    }
    // What would take the public authorities from every program is said and not done.
    for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"] {
        assert!(!variables.contains_key(name), "{name}");
    }
    for client in
        ["Python, gRPC", "Python, REST", "Node, gRPC", "Node, REST", "Go, gRPC", "Go, REST", "Terraform"]
    {
        assert!(stdout(&printed).contains(client), "{client}");
    }
    // What is left out would be asked of Google, with our token.
    for api in ["kms", "container", "resource_manager", "service_usage", "iam"] {
        let endpoint = format!(r#"{api}_custom_endpoint = "https://localhost:40123/v1/""#);
        assert!(stdout(&printed).contains(&endpoint), "{endpoint}");
    }
}

#[test]
fn authorities_that_the_shell_had_are_kept_beside_the_servers() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    data_directory(at, true);
    let (file, folder) = (at.join("mine.pem"), at.join("mine"));
    let key = "-----BEGIN PRIVATE KEY-----\nkey\n-----END PRIVATE KEY-----\n";
    fs::write(&file, format!("# mine\n{}{key}{}", certificate("one"), certificate("two"))).expect("written");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("1.pem"), certificate("one")).expect("written");
    fs::write(folder.join("2.pem"), certificate("one")).expect("written");
    let extended =
        ["CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"];
    let mut set: Vec<(&str, &Path)> = extended.iter().map(|name| (*name, file.as_path())).collect();
    set.extend([("REQUESTS_CA_BUNDLE", folder.as_path()), ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", &file)]);
    let printed = env(at, &set);
    let variables = evaluated(&printed);
    assert_eq!(stderr(&printed), "");
    let read = |name: &str| fs::read_to_string(&variables[name]).expect("read");
    let all = [certificate("one"), certificate("two"), certificate("the server's")].concat();
    for name in extended {
        assert_eq!(read(name), all, "{name}");
    }
    assert_eq!(read("REQUESTS_CA_BUNDLE"), [certificate("one"), certificate("the server's")].concat());
    // gcloud of this shell calls nobody else.
    assert_eq!(read("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"), certificate("the server's"));
    // Once more in that shell changes nothing.
    let again: Vec<(&str, &Path)> =
        set.iter().map(|(name, _)| (*name, Path::new(variables[*name].as_str()))).collect();
    assert_eq!(evaluated(&env(at, &again)), variables);
}

#[test]
fn authorities_that_cannot_be_read_are_named_and_nothing_is_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    data_directory(at, true);
    fs::write(at.join("empty"), "").expect("written");
    for (file, reason) in [("missing", "No such file"), ("empty", "no certificate in PEM")] {
        let refused = env(at, &[("SSL_CERT_FILE", &at.join(file))]);
        let said = stderr(&refused);
        assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(1), ""), "{file}");
        assert!(said.contains(reason) && said.contains("unset SSL_CERT_FILE"), "{said}");
    }
    data_directory(at, false);
    let given = env(at, &[("SSL_CERT_FILE", &at.join("missing"))]);
    assert!(!stdout(&given).contains("SSL_CERT_FILE"), "with a given certificate it may be right");
}

#[test]
fn a_name_that_does_not_lead_here_is_said_where_only_the_name_will_do() {
    let dir = tempfile::tempdir().expect("a directory");
    data_directory(dir.path(), true);
    assert_eq!(stderr(&env(dir.path(), &[])), "", "the server's own certificate holds localhost");
    data_directory(dir.path(), false);
    let printed = env(dir.path(), &[]);
    let line = "`127.0.0.1 kms.keystead.invalid` in /etc/hosts";
    let said = stderr(&printed);
    assert!(said.contains("does not resolve on this host") && said.contains(line), "{said}");
    assert_eq!(evaluated(&printed)["KEYSTEAD_ENDPOINT"], "https://kms.keystead.invalid:40123");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_host_names_the_servers_own_host_needs_no_name() {
    let scene = Scene::with("hostNames: [kms.keystead.invalid]\n").await;
    assert!(scene.endpoint().starts_with("https://kms.keystead.invalid:"), "{}", scene.endpoint());
    let script = "eval \"$(\"$0\" env --data-dir data)\"; \"$0\" projects list --format 'value(projectId)'";
    let mut shell = Command::new("sh");
    shell.args(["-euc", script, env!("CARGO_BIN_EXE_keystead")]).current_dir(scene.path());
    let output = shell.env_clear().envs(clock_environment()).output().expect("runs");
    assert_eq!(stdout(&output), "of-gcloud\nof-keystead\n", "{}", stderr(&output));
}

#[test]
fn no_server_and_no_directory_are_told_apart_from_a_broken_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = || keystead().args(["env", "--data-dir"]).arg(dir.path()).output().expect("runs");
    let missing = run();
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains("hint: start the server first: keystead-server --data-dir"),
        "{missing:?}"
    );
    fs::write(dir.path().join("endpoint.json"), "{}").expect("written");
    let broken = run();
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("is not what a server writes"), "{broken:?}");
    assert_eq!(stdout(&broken), "", "nothing for a shell");
    assert_eq!(keystead().arg("env").output().expect("runs").status.code(), Some(2));
}
