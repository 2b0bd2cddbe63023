//! Files with keys, certificates and tokens: in whose hands they are, and when they end.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keystead_runtime::whole_file::{self, FileError, Readers};
use serde::Deserialize;
use serde::de::IgnoredAny;
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use super::directory::Directory;
use super::programs::Program;
use crate::api::Kubeconfig;
use crate::doctor::facts::{CertificateEnd, ConfigurationFacts, FileFacts, FileKind, Seen, TokenEnd};
use crate::pod_user::PodUser;
use crate::yaml::{Document, Node};

/// Bytes of the longest file looked at: a bundle of authorities has some hundred thousand.
const FILE_MAX: usize = 1 << 20;
/// Certificates of one file that are looked at.
const CERTIFICATES_MAX: usize = 300;

/// What was found so far.
#[derive(Default)]
pub(super) struct Files {
    pub(super) files: Vec<FileFacts>,
    pub(super) certificates: Vec<CertificateEnd>,
    pub(super) tokens: Vec<TokenEnd>,
    /// What could not be looked into.
    pub(super) unread: Vec<String>,
    seen: BTreeSet<PathBuf>,
}

impl Files {
    /// Everything that the host's pods, plugins and kubeconfig name.
    pub(super) fn of(
        directory: Result<&Directory, &String>,
        kubeconfig: &Kubeconfig,
        configuration: &Seen<Option<ConfigurationFacts>>,
        api_server: &BTreeSet<PodUser>,
        programs: &Seen<Vec<Program>>,
    ) -> Self {
        let mut files = Self::default();
        match directory {
            Ok(directory) => {
                files.unread.clone_from(&directory.unread);
                directory.words.iter().for_each(|(path, users)| files.look_at(path, users));
            }
            Err(reason) => files.unread.push(reason.clone()),
        }
        for path in kubeconfig.paths() {
            files.look_at(Path::new(path), &BTreeSet::new());
        }
        if let Ok(Some(file)) = configuration {
            files.configuration(&file.path, file.has_keys, api_server);
        }
        for program in programs.iter().flatten() {
            files.of_program(program);
        }
        files
    }

    /// Whatever it is: a key, certificates, a kubeconfig, or nothing of the kind.
    fn look_at(&mut self, path: &Path, users: &BTreeSet<PodUser>) {
        // A name that is no file, such as that of a directory or socket, is nothing to look into.
        let is_file =
            fs::metadata(path).map_or_else(|error| error.kind() != ErrorKind::NotFound, |it| it.is_file());
        if !is_file || !self.seen.insert(path.to_owned()) {
            return;
        }
        let Some(bytes) = self.read(path) else { return };
        let has = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
        if has("PRIVATE KEY-----") {
            self.file(path, FileKind::PrivateKey, users);
        }
        if has("BEGIN CERTIFICATE-----") {
            self.pem(&path.display().to_string(), &bytes);
        }
        if has("kind: Config") {
            self.kubeconfig(path, &bytes, users);
        }
    }

    fn configuration(&mut self, path: &Path, has_keys: bool, users: &BTreeSet<PodUser>) {
        let kind = if has_keys { FileKind::ConfigurationWithKeys } else { FileKind::Configuration };
        self.file(path, kind, users);
    }

    fn of_program(&mut self, program: &Program) {
        // A manifest is root's word. A process may name any file, so only what is a key file is taken for one.
        let is_manifest = program.facts.is_manifest;
        if let Some((path, stands_for)) = &program.facts.key_file
            && (is_manifest || stands_for.is_ok())
            && self.seen.insert(path.clone())
        {
            self.file(path, FileKind::KeyFile, &program.users);
        }
        if let Some(path) = &program.ca_file {
            self.look_at(path, &program.users);
        }
        if let Some(path) = &program.credentials {
            self.credentials(path, &program.users, is_manifest);
        }
    }

    fn read(&mut self, path: &Path) -> Option<Zeroizing<Vec<u8>>> {
        match whole_file::read(path, Readers::Everybody, FILE_MAX) {
            Ok((bytes, _)) => Some(bytes),
            // A program or a log, which flags name too.
            Err(FileError::TooLong { .. }) => None,
            Err(error) => {
                self.unread.push(keystead_model::ErrorChain(&error).to_string());
                None
            }
        }
    }

    fn file(&mut self, path: &Path, kind: FileKind, users: &BTreeSet<PodUser>) {
        let Ok(metadata) = fs::metadata(path) else { return };
        let (mode, user, group) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        self.files.push(FileFacts {
            path: path.to_owned(),
            kind,
            mode,
            user,
            group,
            named_by: users.clone(),
        });
    }

    fn pem(&mut self, from: &str, bytes: &[u8]) {
        let certificates = Pem::iter_from_buffer(bytes).take(CERTIFICATES_MAX);
        let certificates = certificates.filter_map(Result::ok).filter(|it| it.label == "CERTIFICATE");
        for (index, pem) in certificates.enumerate() {
            let Ok(parsed) = pem.parse_x509() else { continue };
            let at = parsed.validity().not_after.timestamp();
            let which = if index == 0 { String::new() } else { format!(", certificate {}", index + 1) };
            self.certificates.push(CertificateEnd { from: format!("{from}{which}"), at });
        }
    }

    fn kubeconfig(&mut self, path: &Path, bytes: &[u8], users: &BTreeSet<PodUser>) {
        let Ok(document) = Document::parse(bytes) else { return };
        let root = document.root();
        let from = path.display().to_string();
        let mut has_secret = false;
        let inner = |list: &'static str, item: &'static str| {
            root.get(list).map(Node::items).unwrap_or_default().iter().filter_map(move |it| it.get(item))
        };
        for cluster in inner("clusters", "cluster") {
            self.data(&from, cluster.get("certificate-authority-data"));
        }
        for user in inner("users", "user") {
            self.data(&from, user.get("client-certificate-data"));
            // Relative to the kubeconfig, as kubectl has it.
            let named = |key: &str| Some(beside(path, Path::new(user.get(key).and_then(Node::as_str)?)));
            for file in ["client-certificate", "client-key"].into_iter().filter_map(named) {
                self.look_at(&file, users);
            }
            if let Some(file) = named("tokenFile")
                && fs::metadata(&file).is_ok_and(|it| it.is_file())
                && self.seen.insert(file.clone())
            {
                self.file(&file, FileKind::Credentials, users);
            }
            has_secret |= user.get("client-key-data").is_some() || user.get("token").is_some();
            let token = user.get("token").and_then(Node::as_str);
            self.tokens.extend(
                token.and_then(jwt_end).map(|at| TokenEnd { from: format!("the token in {from}"), at }),
            );
        }
        if has_secret {
            self.file(path, FileKind::Kubeconfig, users);
        }
    }

    fn data(&mut self, from: &str, node: Option<&Node>) {
        let text = node.and_then(Node::as_str).unwrap_or_default();
        if let Ok(bytes) = STANDARD.decode(text) {
            self.pem(from, &bytes);
        }
    }

    fn credentials(&mut self, path: &Path, users: &BTreeSet<PodUser>, is_manifest: bool) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        if is_manifest {
            self.file(path, FileKind::Credentials, users);
        }
        let Some(bytes) = self.read(path) else { return };
        let Ok(written) = serde_json::from_slice::<Credentials>(&bytes) else {
            self.unread.push(format!("{} has no credentials as keystead-plugin has them", path.display()));
            return;
        };
        if !is_manifest {
            self.file(path, FileKind::Credentials, users);
        }
        let from = path.display().to_string();
        for (index, token) in written.tokens.iter().enumerate() {
            let TokenEntry::WithEnd { expire_time: Some(end) } = token else { continue };
            let Ok(end) = end.parse::<jiff::Timestamp>() else { continue };
            self.tokens
                .push(TokenEnd { from: format!("token {} in {from}", index + 1), at: end.as_second() });
        }
        if let Some(ca) = &written.ca {
            self.pem(&from, ca.as_bytes());
        }
        let files = [&written.ca_file, &written.client_certificate_file, &written.client_key_file];
        for file in files.into_iter().flatten() {
            self.look_at(&beside(path, file), users);
        }
    }
}

fn beside(path: &Path, file: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(file)
}

/// Of our credentials what says when something ends; tokens are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    ca: Option<String>,
    ca_file: Option<PathBuf>,
    client_certificate_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    #[serde(default)]
    tokens: Vec<TokenEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenEntry {
    #[serde(rename_all = "camelCase")]
    WithEnd {
        expire_time: Option<String>,
    },
    Other(IgnoredAny),
}

/// `exp` of a signed token, in seconds since 1970.
fn jwt_end(token: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = token.split('.').nth(1)?;
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    Some(serde_json::from_slice::<Claims>(&claims).ok()?.exp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::PluginProgram;

    /// Else its advice would close a file that everybody needs, such as `/etc/passwd`.
    #[test]
    fn a_process_does_not_say_what_is_a_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("passwd");
        fs::write(&path, "root:x:0:0::/root:/bin/sh\n").expect("written");
        for (is_manifest, expected) in [(false, 0), (true, 2)] {
            let facts = PluginProgram {
                from: "process 7".to_owned(),
                is_manifest,
                sockets: Vec::new(),
                secrets: Vec::new(),
                allows_token_in_env: false,
                serves: Vec::new(),
                key_file: Some((path.clone(), Err("it is no key file".to_owned()))),
                key_file_inside: None,
            };
            // Of another name, because each file is looked at once.
            let credentials = Some(directory.path().join("group"));
            fs::copy(&path, directory.path().join("group")).expect("copied");
            let program = Program { facts, credentials, ca_file: Some(path.clone()), users: BTreeSet::new() };
            let mut files = Files::default();
            files.of_program(&program);
            assert_eq!(files.files.len(), expected, "{:?}", files.files);
        }
    }
}
