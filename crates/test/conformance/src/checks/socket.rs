//! The socket: who can reach it, who could take its place, and how it bears many and odd connections.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::check::{Check, Judged, Stop};
use crate::options::Kms;
use crate::plugin::{Plugin, Refusal, side_by_side};
use crate::raw;
use crate::report::Outcome;
use crate::run::{Served, Suite, skip};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "socket-type",
        title: "A UNIX socket",
        rule: "the path is a socket",
        why: "kube-apiserver speaks to UNIX sockets only",
        kms: Kms::Both,
        judge: |suite| Box::pin(kind(suite)),
    },
    Check {
        id: "socket-mode",
        title: "Who can connect",
        rule: "only the owner can connect: no write permission for group or others (0600, 0700)",
        why: "no caller is authenticated: who can connect can decrypt every Secret of a stolen etcd backup",
        kms: Kms::Both,
        judge: |suite| Box::pin(mode(suite)),
    },
    Check {
        id: "socket-directory",
        title: "Who could take the socket's place",
        rule: "nobody but root and the plugin's user can write to the directory, or replace one above it",
        why: "kube-apiserver does not check who answers: whoever binds the path first is given every new seed",
        kms: Kms::Both,
        judge: |suite| Box::pin(directory(suite)),
    },
    Check {
        id: "socket-answers",
        title: "Answers at all",
        rule: "Status or Version is answered within the timeout",
        why: "without an answer API servers are not ready and cannot start",
        kms: Kms::Both,
        judge: |suite| Box::pin(answers(suite)),
    },
    Check {
        id: "socket-many-connections",
        title: "50 connections at once",
        rule: "each of 50 connections is answered within the timeout",
        why: "each API server holds one connection for each KMS entry and version, and tools come on top",
        kms: Kms::Both,
        judge: |suite| Box::pin(many_connections(suite)),
    },
    Check {
        id: "socket-odd-connections",
        title: "Silent and garbage connections",
        rule: "connections that say nothing, half a preface or garbage do not keep others from being answered",
        why: "a health probe or a broken client that hangs would stop every API server on the host",
        kms: Kms::Both,
        judge: |suite| Box::pin(odd_connections(suite)),
    },
    Check {
        id: "socket-idle",
        title: "An idle connection is kept",
        rule: "a connection that was idle for the time given still serves, without a new one",
        why: "kube-apiserver is silent for a minute between polls, and after a lost connection it may wait up to 2 minutes \
              before it tries again, while writes stop after 3",
        kms: Kms::Both,
        judge: |suite| Box::pin(idle(suite)),
    },
];

const ABSTRACT: &str = "an abstract socket has no file";

async fn kind(suite: &Suite) -> Judged {
    let Some(path) = suite.options.socket.path() else { return skip(ABSTRACT) };
    Ok(match std::fs::metadata(path) {
        Ok(file) if file.file_type().is_socket() => Outcome::pass("a socket"),
        Ok(_) => Outcome::fail("something else than a socket"),
        Err(error) => Outcome::fail(error.to_string()),
    })
}

async fn mode(suite: &Suite) -> Judged {
    let Some(path) = suite.options.socket.path() else {
        return Ok(Outcome::warn(
            "an abstract socket has no mode: whoever shares the network namespace can connect",
        ));
    };
    let file = metadata(path)?;
    let came = format!("mode {:04o}, owner {}:{}", file.mode() & 0o7777, file.uid(), file.gid());
    Ok(if file.mode() & OTHERS_WRITE != 0 {
        Outcome::fail(format!("{came}: everybody can connect"))
    } else if file.mode() & GROUP_WRITE != 0 {
        Outcome::warn(format!("{came}: the group can connect"))
    } else if file.mode() & 0o077 != 0 {
        Outcome::warn(format!(
            "{came}: nobody else can connect, but the mode is that of a umask, not a choice"
        ))
    } else {
        Outcome::pass(came)
    })
}

async fn directory(suite: &Suite) -> Judged {
    let Some(path) = suite.options.socket.path() else { return skip(ABSTRACT) };
    let owner = metadata(path)?.uid();
    let folder = match path.canonicalize() {
        Ok(path) => path,
        Err(error) => return Ok(Outcome::skip(error.to_string())),
    };
    let mut warned = None;
    for (depth, folder) in folder.ancestors().skip(1).enumerate() {
        let file = metadata(folder)?;
        let came = format!(
            "{} has mode {:04o}, owner {}:{}",
            folder.display(),
            file.mode() & 0o7777,
            file.uid(),
            file.gid()
        );
        // In a sticky directory nobody can rename what belongs to another, but anybody can be the first to create it.
        let sticky = depth > 0 && file.mode() & STICKY != 0;
        if file.mode() & OTHERS_WRITE != 0 && !sticky {
            return Ok(Outcome::fail(format!("{came}: everybody can write to it")));
        }
        let group = file.mode() & GROUP_WRITE != 0 && file.gid() != 0 && !sticky;
        if group || (file.uid() != 0 && file.uid() != owner) {
            warned.get_or_insert(format!("{came}: others than root and uid {owner} can write to it"));
        }
    }
    Ok(warned.map_or_else(|| Outcome::pass("only root and the owner of the socket can"), Outcome::warn))
}

async fn answers(suite: &Suite) -> Judged {
    Ok(match (&suite.v1_served, &suite.v2_served) {
        (Served::Yes, Served::Yes) => Outcome::pass("KMS v1 and v2"),
        (Served::Yes, _) => Outcome::pass("KMS v1"),
        (_, Served::Yes) => Outcome::pass("KMS v2"),
        (Served::Broken(refusal), _) | (_, Served::Broken(refusal)) => Outcome::fail(refusal.to_string()),
        (Served::No, Served::No) => Outcome::fail("UNIMPLEMENTED for KMS v1 and v2"),
    })
}

async fn many_connections(suite: &Suite) -> Judged {
    if unanswered(suite) {
        return skip(UNANSWERED);
    }
    let v2 = suite.serves(Kms::V2);
    // All are open until the last is answered.
    let plugins: Vec<_> = (0..50).map(|_| suite.connect()).collect();
    let calls = plugins.clone().into_iter().map(|it| async move { ping(&it, v2).await });
    let refused: Vec<_> =
        side_by_side(plugins.len(), calls).await.into_iter().filter_map(Result::err).collect();
    Ok(match refused.first() {
        None => Outcome::pass("50 of 50 answered"),
        Some(first) => Outcome::fail(format!("{} of 50 not answered; first: {first}", refused.len())),
    })
}

async fn odd_connections(suite: &Suite) -> Judged {
    if unanswered(suite) {
        return skip(UNANSWERED);
    }
    let mut held: Vec<UnixStream> = Vec::new();
    let half = raw::PREFACE.get(..10).unwrap_or_default();
    let bad_frame = [raw::PREFACE, &[0xff; 64]].concat();
    for bytes in [b"".as_slice(), half, raw::PREFACE, &bad_frame, b"GET / HTTP/1.1\r\n\r\n", &[0; 512]] {
        for _ in 0..4 {
            let Ok(mut stream) = suite.options.socket.connect().await else {
                return Ok(Outcome::fail("an odd connection was followed by a refused one"));
            };
            // The plugin may close at the first bad byte, so that a write may fail: what counts comes after.
            drop(stream.write_all(bytes).await);
            held.push(stream);
        }
    }
    ping(&suite.connect(), suite.serves(Kms::V2)).await?;
    ping(&suite.plugin, suite.serves(Kms::V2)).await?;
    Ok(Outcome::pass(format!("answered beside {} odd connections", held.len())))
}

async fn idle(suite: &Suite) -> Judged {
    let Some(time) = suite.options.idle else { return skip("takes long: ask for it with --idle 70s") };
    if unanswered(suite) {
        return skip(UNANSWERED);
    }
    let plugin = suite.connect();
    ping(&plugin, suite.serves(Kms::V2)).await?;
    tokio::time::sleep(time).await;
    ping(&plugin, suite.serves(Kms::V2)).await?;
    let came = format!("answered after {time:?}, over {} connection(s)", plugin.connections());
    Ok(Outcome::pass_if(plugin.connections() == 1, came))
}

/// The cheapest call of a version that is served.
async fn ping(plugin: &Plugin, v2: bool) -> Result<(), Refusal> {
    if v2 { plugin.status().await.map(|_| ()) } else { plugin.v1_version().await.map(|_| ()) }
}

fn unanswered(suite: &Suite) -> bool {
    !suite.serves(Kms::V1) && !suite.serves(Kms::V2)
}

fn metadata(path: &Path) -> Result<Metadata, Stop> {
    std::fs::metadata(path).map_err(|error| Stop::Skip(format!("{}: {error}", path.display())))
}

const UNANSWERED: &str = "the plugin does not answer: see socket-answers";
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITE: u32 = 0o020;
const STICKY: u32 = 0o1000;
