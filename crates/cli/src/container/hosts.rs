//! `keystead container clusters hosts ...`: which control-plane hosts belong to a cluster.

use std::path::PathBuf;

use keystead_runtime::{Failure, print_result};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::names::Place;
use crate::duration::{Seconds, lifetime};
use crate::kms::checked;
use crate::output::{ListArgs, say};
use crate::output_file::NewSecretFile;
use crate::session::Session;

const TABLE: &str = "table(node:sort=1, joinTime, reportTime, report.apiServerVersion:label=VERSION, report.writes, \
                     report.work.state:label=WORK, report.work.detail)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum HostsCommand {
    /// Let one control-plane host join a cluster: its token is shown this one time
    ///
    /// Give the file to the host and run there: keystead agent join. Inviting a host again that has not joined makes its first token worthless.
    Invite {
        /// The name of the host's Node, as `kubectl get nodes` shows it
        node: String,
        #[command(flatten)]
        of: OfCluster,
        /// How long the token works, a day at most [default: 1h]
        #[arg(long, value_name = "SPAN", value_parser = lifetime)]
        expires_in: Option<Seconds>,
        /// Write the token to a new file that only its owner can read, instead of standard output
        #[arg(long, value_name = "FILE")]
        output_file: Option<PathBuf>,
    },
    /// Hosts of a cluster, and what each does
    List {
        #[command(flatten)]
        of: OfCluster,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Forget a host: its agent and its plugins can call no more. Nothing on the host is changed
    Remove {
        /// The name of the host's Node
        node: String,
        #[command(flatten)]
        of: OfCluster,
    },
}

/// The cluster of a host.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OfCluster {
    /// The cluster's name
    #[arg(long, value_name = "CLUSTER")]
    cluster: String,
    #[command(flatten)]
    place: Place,
}

impl OfCluster {
    fn path(&self, session: &Session<'_>) -> Result<String, Failure> {
        let parent = self.place.name(session)?;
        Ok(format!("/keystead/v1/{parent}/clusters/{}/hosts", checked(&self.cluster)?))
    }

    fn hosts(&self, session: &Session<'_>) -> Result<Vec<Value>, Failure> {
        let mut answer = session.server().get(&self.path(session)?, &[])?;
        match answer.get_mut("hosts").map(Value::take) {
            Some(Value::Array(hosts)) => Ok(hosts),
            _ => Ok(Vec::new()),
        }
    }
}

pub(super) fn run(session: &Session<'_>, command: &HostsCommand) -> Result<(), Failure> {
    match command {
        HostsCommand::Invite { node, of, expires_in, output_file } => {
            let mut body = json!({ "node": node });
            if let (Some(expires_in), Some(body)) = (expires_in, body.as_object_mut()) {
                body.insert("ttl".to_owned(), expires_in.to_string().into());
            }
            invite(session, node, &format!("{}:invite", of.path(session)?), &body, output_file.as_ref())
        }
        HostsCommand::List { of, list } => session.output().print_list(of.hosts(session)?, list, TABLE),
        HostsCommand::Remove { node, of } => remove(session, node, of),
    }
}

fn invite(
    session: &Session<'_>,
    node: &str,
    path: &str,
    body: &Value,
    file: Option<&PathBuf>,
) -> Result<(), Failure> {
    let cannot_write = |file: &PathBuf, error: &std::io::Error| {
        Failure::new(format!("cannot write {}: {error}", file.display()))
    };
    // Before the token is made: one that cannot be written would work without anybody having it.
    let place = file.map(|file| {
        NewSecretFile::prepare(file).map(|it| (file, it)).map_err(|error| cannot_write(file, &error))
    });
    let place = place.transpose()?;
    let mut made = session.server().post_for_secret(path, body)?;
    let Some(Value::String(token)) = made.get_mut("joinToken").map(Value::take) else {
        return Err(Failure::new("the server's answer holds no token"));
    };
    let mut token = Zeroizing::new(token);
    token.push('\n');
    match place {
        Some((file, place)) => place.finish(token.as_bytes()).map_err(|error| {
            cannot_write(file, &error)
                .hint("invite the host again: that makes this token worthless".to_owned())
        })?,
        None => print_result(&token)?,
    }
    let end = made.get("expireTime").and_then(Value::as_str).unwrap_or_default();
    say(&format!("Invited [{node}]; its token works once, until {end}. It cannot be shown again."));
    say("next, on that host: keystead agent join --server URL_OF_THIS_SERVER --token-file FILE");
    Ok(())
}

fn remove(session: &Session<'_>, node: &str, of: &OfCluster) -> Result<(), Failure> {
    let text = |host: &Value, field: &str| host.get(field).and_then(Value::as_str).map(str::to_owned);
    let hosts = of.hosts(session)?;
    let name = hosts.iter().find(|host| text(host, "node").as_deref() == Some(node));
    let name = name.and_then(|host| text(host, "name")).ok_or_else(|| {
        Failure::new(format!("cluster {} has no host {node}", of.cluster))
            .hint("`keystead container clusters hosts list` shows those that it has".to_owned())
    })?;
    session.confirm(&format!(
        "The agent of host {node}, and the plugins that it installed there, will not be able to call this server any more."
    ))?;
    session.server().delete(&format!("/keystead/v1/{name}"))?;
    say(&format!("Removed [{node}]."));
    Ok(())
}
