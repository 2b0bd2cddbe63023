//! A key's plugin on this host, and what it uses the key with.

use std::path::PathBuf;

use keystead_model::CryptoKeyName;
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers, directory_of};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::configuration::{Configuration, parsed};
use super::identity::{Identity, Joined, make_private_directory};
use crate::connection::Connection;
use crate::plugin;

/// Installs a key's plugin, if it is not there, and waits until it answers. The answer is its endpoint.
pub(super) fn install_plugin(
    key: &CryptoKeyName,
    instance: &str,
    configuration: &Configuration,
    joined: &Joined,
) -> Result<String, Failure> {
    if !is_there(configuration, joined) {
        fetch(configuration, joined, &Identity::of(&configuration.state).connect(joined)?)?;
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

/// Whether there are credentials, and of this host.
fn is_there(configuration: &Configuration, joined: &Joined) -> bool {
    let of = std::fs::read_to_string(owner(configuration)).unwrap_or_default();
    configuration.credentials.exists() && of == joined.host
}

/// Says whose the credentials are.
fn owner(configuration: &Configuration) -> PathBuf {
    configuration.state.join("credentials-of")
}

/// A token of the account that the project's clusters use keys as, where the key service is, and what it is verified with.
fn fetch(configuration: &Configuration, joined: &Joined, server: &Connection) -> Result<(), Failure> {
    let authority = Identity::of(&configuration.state).authority();
    let authority = std::fs::read_to_string(&authority)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", authority.display())))?;
    make_private_directory(directory_of(&configuration.credentials))?;
    let mut answer = server.post("/keystead/v1/agent:issuePluginToken", &[], &json!({}))?;
    let token = answer.get_mut("token").map(Value::take).unwrap_or_default();
    let file = json!({ "endpoint": joined.server, "ca": authority, "tokens": [token] });
    let file = Zeroizing::new(file.to_string().into_bytes());
    for (path, bytes) in
        [(&configuration.credentials, file.as_slice()), (&owner(configuration), joined.host.as_bytes())]
    {
        whole_file::replace(path, bytes, Readers::Owner)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}
