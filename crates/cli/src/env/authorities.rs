//! The authorities that programs of the shell trust. What replaces the public ones is set only where the user has set it before, and
//! then to a bundle that holds the user's and the server's.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use keystead_runtime::Failure;

use crate::connection::env;
use crate::{output_file, xdg};

/// Of programs that call this server and nothing else.
const SERVER_ONLY: [&str; 2] = ["CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "KEYSTEAD_CA_FILE"];
/// Of libraries that do not find the server's authority in any other way, or take it besides the public ones.
const ALWAYS: [&str; 2] = ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NODE_EXTRA_CA_CERTS"];
/// Each replaces the public ones for many programs: Python, curl's library, Go and OpenSSL.
const IF_SET: [&str; 3] = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"];

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The variables to set, and their values.
pub(super) fn lines(ca_file: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    let ours = ca_file.to_string_lossy();
    let mut lines: Vec<_> = SERVER_ONLY.into_iter().map(|name| (name, ours.to_string())).collect();
    for name in ALWAYS.into_iter().chain(IF_SET) {
        match env(name) {
            Some(theirs) if theirs != ours => lines.push((name, both(name, Path::new(&theirs), ca_file)?)),
            None if IF_SET.contains(&name) => {}
            _ => lines.push((name, ours.to_string())),
        }
    }
    Ok(lines)
}

/// A file with the user's authorities and the server's, in the user's cache. Its name depends on its content: another shell may
/// have other authorities.
fn both(name: &str, theirs: &Path, ours: &Path) -> Result<String, Failure> {
    let wrong = |what: String| {
        Failure::new(format!("{name} is set to {}: {what}", theirs.display()))
            .hint(format!("mend it, or `unset {name}`"))
    };
    let mut certificates = Vec::new();
    for file in files(theirs).map_err(|error| wrong(error.to_string()))? {
        let text = std::fs::read(&file).map_err(|error| wrong(error.to_string()))?;
        add(&String::from_utf8_lossy(&text), &mut certificates);
    }
    if certificates.is_empty() {
        return Err(wrong("no certificate in PEM is there".to_owned()));
    }
    let text = std::fs::read_to_string(ours)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", ours.display())))?;
    add(&text, &mut certificates);
    let bundle = certificates.concat();
    let directory = cache()?;
    let file = directory.join(format!("authorities-{:08x}.pem", crc32c::crc32c(bundle.as_bytes())));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .and_then(|()| output_file::replace_secret(&file, bundle.as_bytes()))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))?;
    Ok(file.to_string_lossy().into_owned())
}

/// The file itself, or those in the directory: Python's requests takes either.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir()? {
        let file = entry?.path();
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Each certificate once, in the order in which they stand. What stands between them, such as a key, is left out.
fn add(text: &str, certificates: &mut Vec<String>) {
    for (_, rest) in text.match_indices(BEGIN).map(|(at, _)| text.split_at(at)) {
        if let Some((body, _)) = rest.split_once(END) {
            let certificate = format!("{}{END}\n", body.replace('\r', ""));
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
    }
}

fn cache() -> Result<PathBuf, Failure> {
    let hint = "a bundle of your authorities and the server's has to be written there";
    xdg::directory("XDG_CACHE_HOME", ".cache")
        .ok_or_else(|| Failure::new("neither XDG_CACHE_HOME nor HOME is set").hint(hint.to_owned()))
}
