//! A key's plugin on this host, and what it uses the key with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keystead_model::{CryptoKeyName, Exit};
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers, directory_of};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::configuration::{Configuration, parsed};
use super::identity::{Identity, Joined, make_private_directory};
use crate::connection::Connection;
use crate::output::say;
use crate::plugin;

/// When a server is asked again that was away.
const AGAIN: Duration = Duration::from_secs(5);

/// Installs a key's plugin, if it is not there, and waits until it answers. The answer is its endpoint.
pub(super) fn install_plugin(
    key: &CryptoKeyName,
    instance: &str,
    configuration: &Configuration,
    joined: &Joined,
    stop: &CancellationToken,
) -> Result<String, Failure> {
    let mut waits = false;
    while !is_there(configuration, joined) {
        match fetch(configuration, joined, &Identity::of(&configuration.state).connect(joined)?) {
            // The server is asked again until it answers: nothing has been changed yet.
            Err(failure) if failure.code() == Exit::Unreachable as u8 && !stop.is_cancelled() => {
                if !waits {
                    say(&format!(
                        "waits for the server: {}",
                        failure.to_string().lines().next().unwrap_or_default()
                    ));
                }
                waits = true;
                std::thread::sleep(AGAIN);
            }
            fetched => fetched?,
        }
    }
    let socket = configuration.sockets.join(instance).join("kms.sock");
    let mut words = configuration.plugin_words();
    words.extend([
        format!("--instance={instance}"),
        format!("--kms-key={key}"),
        format!("--credentials-file={}", configuration.credentials.display()),
        format!("--socket={}", socket.display()),
        "--yes".to_owned(),
    ]);
    plugin::install(&parsed::<plugin::InstallArgs>("pluginOptions", words)?)?;
    Ok(format!("unix://{}", socket.display()))
}

/// A host that joined anew has credentials whose token went with the one that it was before. The plugins that run take the new ones up by
/// themselves.
pub(super) fn renew_if_old(
    configuration: &Configuration,
    joined: &Joined,
    server: &Connection,
) -> Result<(), Failure> {
    match configuration.credentials.exists() && !is_there(configuration, joined) {
        true => fetch(configuration, joined, server),
        false => Ok(()),
    }
}

/// Has the plugins verify the server with what the agent verifies it with. They take it up by themselves.
pub(super) fn write_authority(configuration: &Configuration) -> Result<(), Failure> {
    let Some(authority) = Identity::of(&configuration.state).authority() else { return Ok(()) };
    let text = std::fs::read(&authority)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", authority.display())))?;
    write(&directory_of(&configuration.credentials).join(AUTHORITY), &text)
}

/// Beside the credentials, which name it.
const AUTHORITY: &str = "authority.pem";

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    whole_file::replace(path, bytes, Readers::Owner)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// Whether there are credentials, and of this host.
fn is_there(configuration: &Configuration, joined: &Joined) -> bool {
    let of = std::fs::read_to_string(owner(configuration)).unwrap_or_default();
    configuration.credentials.exists() && of == joined.host
}

/// Says whose the credentials are.
fn owner(configuration: &Configuration) -> PathBuf {
    configuration.state.join("credentials-of")
}

/// As plugins read it: docs/reference/cloudkms.md.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CredentialsFile<'c> {
    endpoint: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<&'static str>,
    tokens: [&'c str; 1],
}

/// A token of the account that the project's clusters use keys as, where the key service is, and what it is verified with.
fn fetch(configuration: &Configuration, joined: &Joined, server: &Connection) -> Result<(), Failure> {
    make_private_directory(directory_of(&configuration.credentials))?;
    write_authority(configuration)?;
    let mut answer = server.post("/keystead/v1/agent:issuePluginToken", &[], &json!({}))?;
    let Some(Value::String(token)) = answer.get_mut("token").map(Value::take) else {
        return Err(Failure::new("the server's answer holds no token for the plugins"));
    };
    let token = Zeroizing::new(token);
    let has_authority = Identity::of(&configuration.state).authority().is_some();
    let file = CredentialsFile {
        endpoint: &joined.server,
        ca_file: has_authority.then_some(AUTHORITY),
        tokens: [&token],
    };
    let file = serde_json::to_vec(&file).map_err(|error| Failure::new(error.to_string()))?;
    write(&configuration.credentials, &Zeroizing::new(file))?;
    write(&owner(configuration), joined.host.as_bytes())
}
