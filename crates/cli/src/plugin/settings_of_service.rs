//! What the files of a plugin under systemd say.

use std::fs;
use std::path::PathBuf;

use super::on_host::{Form, HostArgs};

/// Where systemd listens for it.
pub(super) fn socket(host: &HostArgs) -> PathBuf {
    let drop_in = fs::read_to_string(host.socket_drop_in()).unwrap_or_default();
    let given = drop_in.lines().filter_map(|it| it.strip_prefix("ListenStream=")).rfind(|it| !it.is_empty());
    given.map_or_else(|| host.default_socket(Form::Systemd), PathBuf::from)
}

/// The port of its own on this host, as its settings say it; none where there are none.
pub(super) fn admin_port(host: &HostArgs) -> Option<u16> {
    // Whoever installed it may have named another file.
    let drop_in = fs::read_to_string(host.service_drop_in()).ok()?;
    let file = drop_in.lines().find_map(|it| it.strip_prefix("EnvironmentFile="))?;
    let environment = fs::read_to_string(file).ok()?;
    let value = environment.lines().find_map(|it| it.strip_prefix("KEYSTEAD_ADMIN="))?;
    value.trim_matches('"').rsplit_once(':')?.1.parse().ok()
}

/// The files with keys and credentials that its settings name.
pub(super) fn secret_files(host: &HostArgs) -> Vec<String> {
    let environment = fs::read_to_string(host.environment_file()).unwrap_or_default();
    let named = environment.lines().filter_map(|line| line.split_once('='));
    let named = named.filter(|(name, _)| name.ends_with("_FILE"));
    named.map(|(_, value)| value.trim_matches('"').to_owned()).collect()
}
