//! What the plugin is to be told: its provider, and the ids and files that go with it. The plugin itself judges them, before anything is
//! changed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystead_model::Exit;
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, FileError, Readers};
use serde::Deserialize;

use super::admin_port;
use super::on_host::PROGRAM;

/// The provider and what it needs.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Key")]
pub(super) struct SettingsArgs {
    /// Key file, for a key on this host; `keystead-plugin key create` makes one [default without --kms-key: /etc/keystead/key]
    #[arg(long, value_name = "FILE", conflicts_with = "kms_key")]
    key_file: Option<PathBuf>,
    /// For a key in a Cloud KMS, its full name: projects/P/locations/L/keyRings/R/cryptoKeys/K
    #[arg(long, value_name = "NAME", env = "KMS_KEY_ID")]
    kms_key: Option<String>,
    /// Public id of the token to use, where the credentials file holds several
    #[arg(long, value_name = "ID", env = "KMS_USER_ID", hide_env_values = true)]
    kms_user: Option<String>,
    /// Where the key service is: https://HOST:PORT; else the credentials file says it
    #[arg(long, value_name = "URL")]
    kms_endpoint: Option<String>,
    /// Certificate authorities of the key service, PEM; else those of the credentials file, else the host's
    #[arg(long, value_name = "FILE")]
    kms_ca_file: Option<PathBuf>,
    /// Credentials for the key service, mode 0600
    #[arg(long, value_name = "FILE", default_value = "/etc/keystead/credentials.json")]
    credentials_file: PathBuf,
    /// Port of /livez, /readyz and /metrics, on loopback [default: 10277; with --instance the one that it has, or else a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) admin_port: Option<u16>,
    /// The plugin's program, to check the settings with [default: keystead-plugin of PATH, if there is one]
    #[arg(long, value_name = "PROGRAM")]
    check_with: Option<OsString>,
}

/// Settings for a plugin of either form.
pub(super) struct Settings {
    /// Flags, and what they are called as variables.
    pub(super) files: Vec<(&'static str, &'static str, String)>,
    /// Ids.
    pub(super) ids: Vec<(String, String)>,
    /// Directories with what the plugin reads.
    pub(super) directories: Vec<PathBuf>,
    /// Whether it talks to a service.
    pub(super) is_remote: bool,
    pub(super) admin_port: u16,
}

impl std::fmt::Debug for SettingsArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingsArgs").field("kms_key", &self.kms_key).finish_non_exhaustive()
    }
}

impl SettingsArgs {
    /// The settings, after a look at each file.
    pub(super) fn read(&self, admin_port: u16) -> Result<Settings, Failure> {
        let mut settings = Settings {
            files: Vec::new(),
            ids: Vec::new(),
            directories: Vec::new(),
            is_remote: false,
            admin_port,
        };
        match self.kms_key.as_deref().filter(|it| !it.is_empty()) {
            Some(key) => self.cloud_kms(key, &mut settings)?,
            None => {
                if self.kms_user.is_some() || self.kms_endpoint.is_some() || self.kms_ca_file.is_some() {
                    return Err(Failure::new("a key service is named, and no key in it")
                        .usage()
                        .hint("give the full name of the key with --kms-key or KMS_KEY_ID".to_owned()));
                }
                let file = self.key_file.clone().unwrap_or_else(|| PathBuf::from("/etc/keystead/key"));
                let hint = "`keystead-plugin key create` makes one, and `keystead-plugin key import` brings that of another host";
                look_at(&file, Readers::Owner, hint)?;
                settings.add_file("key-file", "KEYSTEAD_KEY_FILE", &file)?;
            }
        }
        Ok(settings)
    }

    fn cloud_kms(&self, key: &str, settings: &mut Settings) -> Result<(), Failure> {
        settings.is_remote = true;
        settings.ids.push(("KMS_KEY_ID".to_owned(), key.to_owned()));
        if let Some(user) = self.kms_user.as_deref().filter(|it| !it.is_empty()) {
            // A whole token is `ks_ID_SECRET`, and is never repeated.
            if !user.chars().all(|it| it.is_ascii_alphanumeric() || it == '-') {
                return Err(Failure::new(
                    "--kms-user or KMS_USER_ID is no id of a token: the kubelet copies a static pod's environment into etcd in clear, so that only the id belongs there",
                )
                .usage()
                .hint("the id is what stands between `ks_` and the next `_`; the whole token belongs into the credentials file".to_owned()));
            }
            settings.ids.push(("KMS_USER_ID".to_owned(), user.to_owned()));
        }
        if let Some(endpoint) = &self.kms_endpoint {
            settings.files.push(("kms-endpoint", "KEYSTEAD_KMS_ENDPOINT", endpoint.clone()));
        }
        let file = &self.credentials_file;
        let hint = "docs/reference/cloudkms.md says what it holds";
        let bytes = look_at(file, Readers::Owner, hint)?;
        settings.add_file("credentials-file", "KEYSTEAD_CREDENTIALS_FILE", file)?;
        let named: Named = serde_json::from_slice(&bytes).unwrap_or_default();
        // Relative to the credentials file.
        let beside = |name: &PathBuf| whole_file::directory_of(file).join(name);
        for name in [&named.service_account_key_file, &named.client_certificate_file, &named.client_key_file]
        {
            settings.add_directories(name.as_ref().map(beside).as_deref())?;
        }
        let ca_file = self.kms_ca_file.clone();
        if let Some(ca_file) = &ca_file {
            look_at(ca_file, Readers::Everybody, "it holds certificates in PEM")?;
            settings.add_file("kms-ca-file", "KEYSTEAD_KMS_CA_FILE", ca_file)?;
        }
        settings.add_directories(named.ca_file.as_ref().map(beside).as_deref())?;
        if ca_file.is_none() && named.ca_file.is_none() && named.ca.is_none() {
            // The image has none of its own, because they would age with it.
            let authorities = ["/etc/ssl/certs", "/etc/pki"].map(PathBuf::from);
            settings.directories.extend(authorities.into_iter().filter(|it| it.is_dir()));
        }
        Ok(())
    }

    /// Has the plugin judge the settings, and its provider wrap and unwrap. The answer is what could not be checked.
    pub(super) fn check(
        &self,
        settings: &Settings,
        socket: &Path,
        program: Option<&Path>,
    ) -> Result<Option<String>, Failure> {
        admin_port::refuse_taken(settings.admin_port)?;
        let Some(mut command) = self.checker(program) else {
            return Ok(Some(format!(
                "the key was not tried out, because {PROGRAM} is not on this host: after the start it is seen whether the plugin can use it"
            )));
        };
        command.args(settings.flags()).arg("--socket").arg(socket).arg("--check-provider");
        // What this shell sets of the plugin's settings is not set where it will run.
        let sets = |name: &OsString| ["KEYSTEAD_", "KMS_"].iter().any(|it| starts_with(name, it));
        std::env::vars_os().map(|(name, _)| name).filter(sets).for_each(|name| {
            command.env_remove(name);
        });
        command.envs(settings.ids.iter().cloned()).stdin(Stdio::null());
        let output = command
            .output()
            .map_err(|error| Failure::new(format!("the plugin's program cannot be run: {error}")))?;
        if output.status.success() {
            return Ok(None);
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let exit = match output.status.code() {
            Some(2) => Exit::Usage,
            Some(4) => Exit::Unreachable,
            Some(5) => Exit::Denied,
            _ => Exit::Failed,
        };
        let failure = Failure::new("the plugin cannot use these settings").exit(exit);
        let mut hint = None;
        let failure = told.lines().fold(failure, |failure, line| match line.split_once("hint: ") {
            Some((_, text)) => {
                hint = Some(text.to_owned());
                failure
            }
            None => failure.caused_by(line.trim_start_matches("error: ").trim_start_matches("caused by: ")),
        });
        Err(failure.hint(hint))
    }

    /// What runs the plugin for a check: what will run, or what is here.
    fn checker(&self, program: Option<&Path>) -> Option<Command> {
        if let Some(program) = self.check_with.clone().or_else(|| program.map(|it| it.as_os_str().to_owned()))
        {
            return Some(Command::new(program));
        }
        #[cfg(feature = "try")]
        if let Ok(own) = std::env::current_exe() {
            let mut command = Command::new(own);
            command.args(["plugin", "run"]);
            return Some(command);
        }
        super::on_path(PROGRAM).map(Command::new)
    }
}

impl Settings {
    /// As flags of the plugin.
    pub(super) fn flags(&self) -> Vec<String> {
        self.files.iter().map(|(flag, _, value)| format!("--{flag}={value}")).collect()
    }

    fn add_file(&mut self, flag: &'static str, variable: &'static str, file: &Path) -> Result<(), Failure> {
        let text = file.to_str().filter(|it| !it.contains(['\n', '\r', '"', '\\']));
        let text =
            text.ok_or_else(|| Failure::new("the name of a file must be UTF-8, without quotes").usage())?;
        if !file.is_absolute() {
            return Err(Failure::new(format!("{text} is no absolute path"))
                .usage()
                .hint("the plugin is started elsewhere: name files from the root on".to_owned()));
        }
        self.files.push((flag, variable, text.to_owned()));
        self.add_directories(Some(file))
    }

    /// The directory of a file is mounted and not the file: a file that is replaced would never be seen. And that of the file behind a link.
    fn add_directories(&mut self, file: Option<&Path>) -> Result<(), Failure> {
        let Some(file) = file else { return Ok(()) };
        let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        for path in [file, real.as_path()] {
            let directory = whole_file::directory_of(path);
            if SHARED.iter().any(|it| directory == Path::new(it)) {
                return Err(Failure::new(format!(
                    "{} is in {}, all of which the plugin would see",
                    path.display(),
                    directory.display()
                ))
                .usage()
                .hint("move it into a directory of its own, such as /etc/keystead".to_owned()));
            }
            self.directories.push(directory.to_owned());
        }
        Ok(())
    }

    /// Each directory once, and none inside another.
    pub(super) fn mounted(&self) -> Vec<PathBuf> {
        let all: BTreeSet<&PathBuf> = self.directories.iter().collect();
        let inside = |it: &PathBuf| all.iter().any(|other| it != *other && it.starts_with(other));
        all.iter().filter(|it| !inside(it)).map(|it| (*it).clone()).collect()
    }
}

/// Directories with more in them than a plugin should see.
const SHARED: [&str; 10] =
    ["/", "/etc", "/root", "/home", "/usr", "/var", "/var/lib", "/tmp", "/run", "/opt"];

/// Files that the credentials name, without what is secret in them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    ca: Option<serde::de::IgnoredAny>,
    ca_file: Option<PathBuf>,
    service_account_key_file: Option<PathBuf>,
    client_certificate_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

fn look_at(file: &Path, readers: Readers, hint: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    whole_file::read(file, readers, LONGEST).map(|(bytes, _)| bytes).map_err(|error| {
        let hint = match &error {
            FileError::Mode { path, .. } => format!("run `chmod 0600 {}`", path.display()),
            FileError::Owner { path, .. } => format!("run `chown root {}`", path.display()),
            _ => hint.to_owned(),
        };
        Failure::from_error(&error).hint(hint)
    })
}

/// Key files and credentials are far shorter.
const LONGEST: usize = 1 << 20;

fn starts_with(name: &OsString, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}
