//! The key management service as a process of its own, and what its administrator types.
//!
//! Each command that is shown is parsed and run as if it had been typed: what the story shows is what works.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::narration::Narration;
use crate::{Cli, output_file};

pub(super) const PROJECT: &str = "quickstart";
const KEY: &str = "secrets";
pub(super) const KEY_NAME: &str =
    "projects/quickstart/locations/europe-west1/keyRings/clusters/cryptoKeys/secrets";
/// What names the key to gcloud and to us.
pub(super) const KEY_FLAGS: [&str; 8] =
    ["--key", KEY, "--keyring", "clusters", "--location", "europe-west1", "--project", PROJECT];

/// A running server. It ends with this value.
pub(super) struct KeyService {
    server: KmsServer,
    directory: PathBuf,
}

/// A key that the plugin may use.
pub(super) struct PluginKey {
    credentials: PathBuf,
    /// The public id of its token.
    user: String,
}

impl KeyService {
    /// Starts this same program as server, on a free port, and waits until it answers.
    pub(super) async fn start(narration: &Narration, directory: &Path, more: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let data_dir = directory.join("server");
        let server = KmsServer::start_as(&program, &["server", "run"], &data_dir, more);
        let server = narration.during("starting the key management service", server).await?;
        narration.say(&format!(
            "   service: process {}, {}; it keeps everything in {}\n   \
             In a browser: {}/console, with the token in {}\n   \
             Losing a version of a key loses the Secrets under it: real data needs backups, and the root key apart from them.",
            server.pid(),
            server.endpoint(),
            data_dir.display(),
            server.endpoint(),
            server.token_file().display()
        ));
        Ok(Self { server, directory: directory.to_owned() })
    }

    pub(super) fn endpoint(&self) -> &str {
        self.server.endpoint()
    }

    pub(super) fn data_dir(&self) -> &Path {
        self.server.data_dir()
    }

    /// Project, key ring, key and the grant for the project's clusters, all by the commands that are shown. The answer is who they are.
    pub(super) async fn make_key(&self, narration: &Narration) -> Result<String> {
        narration.say(
            "   What is typed (or the same with gcloud in place of keystead, but for `iam tokens`, which is our own):",
        );
        let location = ["--location", "europe-west1", "--project", PROJECT];
        self.type_in(narration, &["projects", "create", PROJECT], &[]).await?;
        let enable = ["services", "enable", "cloudkms.googleapis.com", "--project", PROJECT];
        self.type_in(narration, &enable, &[]).await?;
        let ring = [&["kms", "keyrings", "create", "clusters"], location.as_slice()].concat();
        self.type_in(narration, &ring, &[]).await?;
        let key = ["kms", "keys", "create", KEY, "--keyring", "clusters", "--purpose", "encryption"];
        self.type_in(narration, &[&key, location.as_slice()].concat(), &[]).await?;
        self.type_in(narration, &["projects", "describe", PROJECT, "--format", "value(projectNumber)"], &[])
            .await?;
        let member = format!("serviceAccount:{}", self.cluster_account().await?);
        let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
        let grant = ["kms", "keys", "add-iam-policy-binding", KEY, "--keyring", "clusters"];
        let whom = ["--member", &member, "--role", role];
        let grant = [&grant, location.as_slice(), &whom].concat();
        // The whole policy would be printed.
        self.type_in(narration, &grant, &["--format", "none"]).await?;
        Ok(member)
    }

    /// C10 of the brief: a new version, which encrypts from now on.
    pub(super) async fn rotate(&self, narration: &Narration) -> Result<()> {
        let words = [&["kms", "keys", "versions", "create", "--primary"], KEY_FLAGS.as_slice()].concat();
        self.type_in(narration, &words, &[]).await
    }

    /// The account that the clusters of a project use; every project has it.
    async fn cluster_account(&self) -> Result<String> {
        let project = self.server.ok(Method::GET, &format!("/v1/projects/{PROJECT}"), None).await?;
        let number = project.get("projectNumber").and_then(|number| number.as_str());
        let number = number.context("the project has no number")?;
        Ok(format!("service-{number}@container-engine-robot.iam.gserviceaccount.com"))
    }

    /// What the plugin uses the key with.
    pub(super) async fn make_token(&self, narration: &Narration, member: &str) -> Result<PluginKey> {
        let file = self.directory.join("token");
        let path = file.to_str().context("the directory's name is not UTF-8")?;
        let words =
            ["iam", "tokens", "create", "--principal", member, "--expires-in", "90d", "--output-file", path];
        self.type_in(narration, &words, &[]).await?;
        let token = Zeroizing::new(std::fs::read_to_string(&file)?);
        let user = token.split('_').nth(1).context("a token has an id")?.to_owned();
        let credentials = self.directory.join("credentials.json");
        let text = Zeroizing::new(serde_json::to_vec_pretty(&json!({
            "endpoint": self.endpoint(),
            "caFile": self.server.ca_file(),
            "tokens": [token.trim()],
        }))?);
        output_file::replace_secret(&credentials, &text)
            .with_context(|| format!("cannot write {}", credentials.display()))?;
        // One place is enough.
        std::fs::remove_file(&file)?;
        Ok(PluginKey { credentials, user })
    }

    /// Shows a command and runs it. `more` is what a person would not need.
    pub(super) async fn type_in(&self, narration: &Narration, words: &[&str], more: &[&str]) -> Result<()> {
        narration.command(words);
        let mut args: Vec<OsString> = vec!["keystead".into()];
        args.extend(words.iter().chain(more).map(OsString::from));
        // What `keystead env` would have set in a shell.
        args.extend(["--endpoint".into(), self.endpoint().into()]);
        args.extend(["--ca-file".into(), self.server.ca_file().into()]);
        args.extend(["--token-file".into(), self.server.token_file().into()]);
        let cli = Cli::try_parse_from(args)?;
        // A command waits in a runtime of its own.
        let ran = tokio::task::spawn_blocking(move || crate::run(cli)).await?;
        ran.map_err(|failure| anyhow!("{failure}"))
    }
}

impl PluginKey {
    /// Flags of the plugin.
    pub(super) fn flags(&self) -> Vec<OsString> {
        let file = self.credentials.as_os_str().to_owned();
        [
            "--kms-key".into(),
            KEY_NAME.into(),
            "--kms-user".into(),
            (&self.user).into(),
            "--credentials-file".into(),
            file,
        ]
        .into()
    }

    /// The same for a person.
    pub(super) fn printed(&self) -> String {
        format!(
            "   KMS_KEY_ID={KEY_NAME}\n   KMS_USER_ID={}   the public id of its token; the token is in {}, mode 0600",
            self.user,
            self.credentials.display()
        )
    }
}
