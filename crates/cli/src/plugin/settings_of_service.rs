//! What the files of a plugin under systemd say.

use std::fs;
use std::path::PathBuf;

use super::on_host::HostArgs;
use super::socket::IN_RUN;

/// Where systemd listens for it.
pub(super) fn socket(host: &HostArgs) -> PathBuf {
    let drop_in = fs::read_to_string(host.socket_drop_in()).unwrap_or_default();
    let given = drop_in.lines().filter_map(|it| it.strip_prefix("ListenStream=")).rfind(|it| !it.is_empty());
    PathBuf::from(given.unwrap_or(IN_RUN))
}

/// The files with keys and credentials that its settings name.
pub(super) fn secret_files(host: &HostArgs) -> Vec<String> {
    let environment = fs::read_to_string(host.environment_file()).unwrap_or_default();
    let named = environment.lines().filter_map(|line| line.split_once('='));
    let named = named.filter(|(name, _)| name.ends_with("_FILE"));
    named.map(|(_, value)| value.trim_matches('"').to_owned()).collect()
}
