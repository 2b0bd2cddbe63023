use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::wrong;
use crate::listener::ConnectionLimits;

/// With 20 KiB each: 200 MiB.
const DEFAULT_CONNECTIONS: usize = 10_000;
/// A proxy or a network behind one address has many clients; five of them fill the server.
const DEFAULT_PER_SOURCE: usize = 2_000;
/// Connections on which nobody has shown who calls may take this part of what one source may, or of all if that is less: the
/// others are for callers that are known, also when a client of the same source is broken.
const UNKNOWN_PART: usize = 4;

/// How many connections there may be.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PartialLimits {
    /// Connections in all; 10000
    #[arg(long = "max-connections", env = "KEYSTEAD_SERVER_MAX_CONNECTIONS", value_name = "NUMBER")]
    connections: Option<usize>,
    /// Connections from one IPv4 address, or one IPv6 network of 64 bits; 2000
    #[arg(
        long = "max-connections-per-source",
        env = "KEYSTEAD_SERVER_MAX_CONNECTIONS_PER_SOURCE",
        value_name = "NUMBER"
    )]
    connections_per_source: Option<usize>,
    /// Of these, connections on which nobody has shown yet who calls, the oldest of which gives way to a new one; a quarter of
    /// the lower of both limits
    #[arg(
        long = "max-unknown-connections-per-source",
        env = "KEYSTEAD_SERVER_MAX_UNKNOWN_CONNECTIONS_PER_SOURCE",
        value_name = "NUMBER"
    )]
    unknown_per_source: Option<usize>,
}

impl PartialLimits {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            connections: self.connections.or(other.connections),
            connections_per_source: self.connections_per_source.or(other.connections_per_source),
            unknown_per_source: self.unknown_per_source.or(other.unknown_per_source),
        }
    }

    pub(super) fn complete(self) -> Result<ConnectionLimits, Failure> {
        let total = self.connections.unwrap_or(DEFAULT_CONNECTIONS);
        let per_source = self.connections_per_source.unwrap_or(DEFAULT_PER_SOURCE);
        let part = (total.min(per_source) / UNKNOWN_PART).max(1);
        let unknown_per_source = self.unknown_per_source.unwrap_or(part);
        if total == 0 || per_source == 0 || unknown_per_source == 0 {
            return Err(wrong("a limit of 0 connections serves nobody", "give 1 or more, or leave it out"));
        }
        Ok(ConnectionLimits { total, per_source, unknown_per_source })
    }
}
