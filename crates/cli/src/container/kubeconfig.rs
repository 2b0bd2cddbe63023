//! `keystead container clusters get-credentials`: kubectl's configuration for a local cluster, with this server's tokens.

use std::path::{Path, PathBuf};

use keystead_runtime::{Failure, print_result};
use serde_json::{Value, json};

use super::clusters::Cluster;
use crate::connection::{env, token};
use crate::output::say;
use crate::output_file::replace_secret;
use crate::session::Session;

/// What the server says where the API server is somebody else's.
const NOWHERE: &str = ".invalid";

/// Writes how kubectl reaches a cluster, and makes it the one that kubectl goes to.
pub(super) fn get_credentials(session: &Session<'_>, cluster: &Cluster) -> Result<(), Failure> {
    let found = cluster.get(session)?;
    let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = cluster.path(session)?;
    let endpoint = text("/endpoint");
    if endpoint.ends_with(NOWHERE) {
        return Err(Failure::new(format!(
            "{name} has hosts of its own, and kubectl reaches it as it did before"
        ))
        .hint(
            "use its own kubeconfig, such as /etc/kubernetes/admin.conf of a control-plane host".to_owned(),
        ));
    }
    if endpoint.is_empty() {
        return Err(Failure::new(format!("{name} has no API server that is ready"))
            .hint("`keystead container operations list` says what it waits for".to_owned()));
    }
    let entry = entry_name(&name);
    let written = json!({
        "clusters": [{ "name": entry, "cluster": {
            "server": format!("https://{endpoint}"),
            "certificate-authority-data": text("/masterAuth/clusterCaCertificate"),
        } }],
        "users": [{ "name": entry, "user": { "exec": exec(&session.token_file()?)? } }],
        "contexts": [{ "name": entry, "context": { "cluster": entry, "user": entry } }],
    });
    let path = path()?;
    let kept = added(read(&path)?, written, &entry).map_err(|what| refused(&path, what))?;
    // JSON is YAML, and kubectl writes the file anew anyway.
    let mut bytes = serde_json::to_vec_pretty(&kept).map_err(|error| Failure::new(error.to_string()))?;
    bytes.push(b'\n');
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", directory.display())))?;
    }
    replace_secret(&path, &bytes)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    say(&format!("kubeconfig entry generated for {entry} in {}.", path.display()));
    Ok(())
}

/// A kubeconfig with one more entry, or that entry anew, to which kubectl goes from now on; everything else in it stays.
fn added(mut kept: Value, mut written: Value, entry: &str) -> Result<Value, &'static str> {
    for list in ["clusters", "users", "contexts"] {
        let new = written.get_mut(list).map(Value::take).unwrap_or_default();
        put(&mut kept, list, new, entry)?;
    }
    let map = kept.as_object_mut().ok_or("is no kubeconfig")?;
    map.insert("apiVersion".to_owned(), "v1".into());
    map.insert("kind".to_owned(), "Config".into());
    map.insert("current-context".to_owned(), entry.into());
    Ok(kept)
}

/// For the fuzz targets: a kubeconfig as it is read and as it is written with one more entry, if it can be.
pub(crate) fn with_entry(text: &str, entry: &str) -> Option<[Value; 2]> {
    let before = parse(Path::new("config"), text).ok()?;
    let written = json!({
        "clusters": [{ "name": entry, "cluster": {} }],
        "users": [{ "name": entry, "user": {} }],
        "contexts": [{ "name": entry, "context": { "cluster": entry, "user": entry } }],
    });
    let after = added(before.clone(), written, entry).ok()?;
    Some([before, after])
}

/// As gcloud names it.
fn entry_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').skip(1).step_by(2).collect();
    format!("gke_{}", parts.join("_"))
}

/// Where kubectl looks.
fn path() -> Result<PathBuf, Failure> {
    if let Some(path) = env("KUBECONFIG") {
        let first = std::env::split_paths(&path).find(|it| !it.as_os_str().is_empty());
        return first.ok_or_else(|| Failure::new("KUBECONFIG names no file").usage());
    }
    let home = env("HOME").ok_or_else(|| Failure::new("neither KUBECONFIG nor HOME is set").usage())?;
    Ok(Path::new(&home).join(".kube/config"))
}

fn read(path: &Path) -> Result<Value, Failure> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
        Err(error) => Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        Ok(text) => parse(path, &text),
    }
}

fn parse(path: &Path, text: &str) -> Result<Value, Failure> {
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    let config = serde_saphyr::from_str(text).map_err(|_| refused(path, "is not one document of YAML"))?;
    match changed(&config, "") {
        None => Ok(config),
        Some(at) => Err(refused(
            path,
            &format!("has at {at} a text without quotes that reads as a number or yes or no"),
        )),
    }
}

/// What would be written back as something else than the text that it was: `0123` as a token, say.
fn changed(value: &Value, at: &str) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().find_map(|(name, value)| changed(value, &format!("{at}.{name}"))),
        Value::Array(list) => {
            list.iter().enumerate().find_map(|(index, it)| changed(it, &format!("{at}[{index}]")))
        }
        Value::Number(_) => Some(at.to_owned()),
        // These are switches of a kubeconfig.
        Value::Bool(_) if SWITCHES.iter().any(|it| at.ends_with(it)) || at.starts_with(".preferences") => {
            None
        }
        Value::Bool(_) => Some(at.to_owned()),
        Value::Null | Value::String(_) => None,
    }
}

const SWITCHES: [&str; 3] = [".insecure-skip-tls-verify", ".disable-compression", ".provideClusterInfo"];

fn refused(path: &Path, what: &str) -> Failure {
    Failure::new(format!("{} {what}, and was left as it is", path.display()))
        .hint("repair it, or name another file with KUBECONFIG".to_owned())
}

/// Puts one entry into a list by its name, in the place of one that is there.
fn put(config: &mut Value, list: &str, new: Value, name: &str) -> Result<(), &'static str> {
    let map = config.as_object_mut().ok_or("is no kubeconfig")?;
    let entries = map.entry(list).or_insert_with(|| json!([]));
    if entries.is_null() {
        *entries = json!([]);
    }
    let entries = entries.as_array_mut().ok_or("is no kubeconfig")?;
    entries.retain(|it| it.get("name").and_then(Value::as_str) != Some(name));
    entries.extend(new.as_array().cloned().unwrap_or_default());
    Ok(())
}

/// How kubectl gets the token, each time anew from its file.
fn exec(token_file: &Path) -> Result<Value, Failure> {
    let failed = |error: std::io::Error| Failure::new(error.to_string());
    let file = std::path::absolute(token_file).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    Ok(json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": program.display().to_string(),
        "args": ["container", "clusters", "exec-credential", format!("--token-file={}", file.display())],
        "interactiveMode": "Never",
        "provideClusterInfo": false,
    }))
}

/// Prints a token as kubectl asks for it.
pub(super) fn exec_credential(token_file: &Path) -> Result<(), Failure> {
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": { "token": token(token_file)?.as_str() },
    });
    print_result(&format!("{credential}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_put_beside_others_and_over_its_own() {
        let mut config = json!({ "users": [{ "name": "other", "user": {} }, { "name": "a", "user": 1 }], "clusters": null });
        put(&mut config, "users", json!([{ "name": "a", "user": 2 }]), "a").expect("a list");
        assert_eq!(config["users"], json!([{ "name": "other", "user": {} }, { "name": "a", "user": 2 }]));
        put(&mut config, "clusters", json!([{ "name": "a" }]), "a").expect("none is a list");
        assert_eq!(config["clusters"], json!([{ "name": "a" }]));
        put(&mut json!({ "users": 7 }), "users", json!([]), "a").expect_err("no list");
        put(&mut json!([]), "users", json!([]), "a").expect_err("no mapping");
        let of_others = json!({ "users": [{ "name": "a", "user": { "token": 777, "exec": { "provideClusterInfo": true } } }] });
        assert_eq!(changed(&of_others, "").as_deref(), Some(".users[0].user.token"));
        assert_eq!(changed(&json!({ "users": [{ "name": true }] }), "").as_deref(), Some(".users[0].name"));
        assert_eq!(
            changed(&json!({ "clusters": [{ "cluster": { "insecure-skip-tls-verify": true } }] }), ""),
            None
        );
        assert_eq!(entry_name("projects/p-1/locations/us-east1/clusters/c"), "gke_p-1_us-east1_c");
    }
}
