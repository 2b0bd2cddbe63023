//! `keystead iam tokens ...`

use std::path::{Path, PathBuf};

use keystead_runtime::{Failure, print_result};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::duration::{Seconds, lifetime};
use crate::kms::checked;
use crate::output::{ListArgs, say};
use crate::output_file::NewSecretFile;
use crate::session::Session;

const PATH: &str = "/keystead/v1/tokens";
const TABLE: &str = "table(id, principal, createTime, expireTime, lastUseTime, lastUseAddress, description)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a token and show it this one time
    ///
    /// Two tokens of one principal work at the same time: make the new one, hand it out, then revoke the old one.
    Create {
        /// Whose token: user:EMAIL or serviceAccount:EMAIL
        #[arg(long)]
        principal: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// How long it works, such as 90d
        #[arg(long, value_name = "SPAN", value_parser = lifetime, required_unless_present = "no_expiry")]
        expires_in: Option<Seconds>,
        /// Let it work until it is revoked; the audit log says so
        #[arg(long, conflicts_with = "expires_in")]
        no_expiry: bool,
        /// Write the token to a new file that only its owner can read, instead of standard output
        #[arg(long, value_name = "FILE")]
        output_file: Option<PathBuf>,
    },
    /// Tokens, without their secrets, which nobody can show again
    List {
        /// Only of this principal
        #[arg(long)]
        principal: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make a token worthless from the next request on
    Revoke {
        /// Id of the token: what is between ks_ and the next _
        token_id: String,
    },
}

pub(super) fn run(session: &Session<'_>, command: &TokensCommand) -> Result<(), Failure> {
    match command {
        TokensCommand::Create { principal, description, expires_in, no_expiry: _, output_file } => {
            let mut body = Map::new();
            body.insert("principal".to_owned(), principal.as_str().into());
            if let Some(description) = description {
                body.insert("description".to_owned(), description.as_str().into());
            }
            if let Some(expires_in) = expires_in {
                body.insert("ttl".to_owned(), expires_in.to_string().into());
            }
            create(session, &Value::Object(body), output_file.as_deref())
        }
        TokensCommand::List { principal, list } => {
            let query: Vec<(&str, &str)> = principal.iter().map(|it| ("principal", it.as_str())).collect();
            session.output().print_list(session.list(PATH, "tokens", &query, list, None)?, list, TABLE)
        }
        TokensCommand::Revoke { token_id } => revoke(session, token_id),
    }
}

fn create(session: &Session<'_>, body: &Value, file: Option<&Path>) -> Result<(), Failure> {
    // Before the token is made: one that cannot be written would work without anybody having it.
    let place = file
        .map(|file| {
            NewSecretFile::prepare(file).map(|it| (file, it)).map_err(|error| cannot_write(file, &error))
        })
        .transpose()?;
    let mut made = session.server().post_for_secret(PATH, body)?;
    let Some(Value::String(secret)) = made.get_mut("secret").map(Value::take) else {
        return Err(Failure::new("the server's answer holds no token"));
    };
    let mut secret = Zeroizing::new(secret);
    secret.push('\n');
    let text = |name: &str| made.pointer(&format!("/token/{name}")).and_then(Value::as_str);
    let id = text("id").unwrap_or_default();
    match place {
        Some((file, place)) => place.finish(secret.as_bytes()).map_err(|error| {
            cannot_write(file, &error)
                .hint(format!("the token works; `keystead iam tokens revoke {id}` ends it"))
        })?,
        None => print_result(&secret)?,
    }
    let end = text("expireTime")
        .map_or_else(|| "works until it is revoked".to_owned(), |it| format!("works until {it}"));
    say(&format!("Created token [{id}]; it {end}. It cannot be shown again."));
    Ok(())
}

fn revoke(session: &Session<'_>, id: &str) -> Result<(), Failure> {
    if id.starts_with("ks_") {
        // What is revoked here may still work elsewhere in a history of commands.
        let hint =
            "only the part between ks_ and the next _; a whole token does not belong on a command line";
        return Err(Failure::new("that is not the id of a token").usage().hint(hint.to_owned()));
    }
    session.server().delete(&format!("{PATH}/{}", checked(id)?))?;
    say(&format!("Revoked token [{id}]."));
    Ok(())
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", file.display()))
}
