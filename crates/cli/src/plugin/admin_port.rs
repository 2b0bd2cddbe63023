//! The port of a plugin's `/livez`, `/readyz` and `/metrics`: no two plugins of a host can have the same one.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

use keystead_cluster::plugin_pod::ADMIN_PORT;
use keystead_runtime::Failure;

use super::on_host::{Form, HostArgs};

/// For named instances: more than anybody needs, next to the default, and below those that Linux gives out to whoever asks for any port
/// (`net.ipv4.ip_local_port_range`), one of which may be free now and taken at the next start.
const NAMED: RangeInclusive<u16> = 10_278..=10_377;

/// The port that was asked for, or the one that is installed already, or else one that is free.
pub(super) fn choose(given: Option<u16>, form: Form, host: &HostArgs) -> Result<u16, Failure> {
    if let Some(port) = given {
        return Ok(port);
    }
    if host.instance().is_none() {
        return Ok(ADMIN_PORT);
    }
    if let Some(port) = host.admin_port(form) {
        return Ok(port);
    }
    // Others may be installed and not run now.
    let forms = [Form::StaticPod, Form::Systemd];
    let others = host.all().into_iter().flat_map(|it| forms.map(|form| it.admin_port(form)));
    let taken: BTreeSet<u16> = others.flatten().collect();
    let is_free = |port: &u16| !taken.contains(port) && refuse_taken(*port).is_ok();
    NAMED.clone().find(is_free).ok_or_else(|| {
        Failure::new(format!("no port of 127.0.0.1 from {} to {} is free", NAMED.start(), NAMED.end()))
            .hint("choose another one with --admin-port".to_owned())
    })
}

/// Refuses a port that something else has: the plugin would not start.
pub(super) fn refuse_taken(port: u16) -> Result<(), Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|error| {
        Failure::new(format!("port {port} of 127.0.0.1 cannot be had: {error}"))
            .hint("another plugin may run on this host; choose another port with --admin-port".to_owned())
    })
}
