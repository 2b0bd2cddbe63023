//! What every command that calls a server shares: the connection, the project, the form of the output, the questions.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use keystead_runtime::Failure;
use serde_json::Value;

use crate::connection::{Connection, ConnectionArgs, env};
use crate::output::{ListArgs, OutputArgs};

/// Options of every command that calls a server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SessionArgs {
    /// The project; otherwise gcloud's CLOUDSDK_CORE_PROJECT
    #[arg(
        long,
        global = true,
        value_name = "PROJECT",
        env = "KEYSTEAD_PROJECT",
        help_heading = "Connection"
    )]
    project: Option<String>,
    /// Ask nothing: answer every question with its default
    #[arg(short, long, global = true, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl SessionArgs {
    /// The file with the token that is shown to another server, too.
    pub(crate) fn token_file(&self) -> Result<PathBuf, Failure> {
        self.connection.token_file().ok_or_else(|| {
            let hint = "give --token-file, or set KEYSTEAD_TOKEN_FILE";
            Failure::new("kubectl shows a token, and nobody says which").usage().hint(hint.to_owned())
        })
    }
}

/// One run of a command against a server.
pub(crate) struct Session<'a> {
    args: &'a SessionArgs,
    server: Connection,
}

impl<'a> Session<'a> {
    /// Reads the settings; nothing is sent yet.
    pub(crate) fn open(args: &'a SessionArgs) -> Result<Self, Failure> {
        Ok(Self { args, server: Connection::open(&args.connection)? })
    }

    /// The server.
    pub(crate) fn server(&self) -> &Connection {
        &self.server
    }

    /// The file that the token is read from.
    pub(crate) fn token_file(&self) -> Result<PathBuf, Failure> {
        self.args.token_file()
    }

    /// How results are printed.
    pub(crate) fn output(&self) -> &OutputArgs {
        &self.args.output
    }

    /// The project's id or number.
    pub(crate) fn project(&self) -> Result<String, Failure> {
        self.args.project.clone().or_else(|| env("CLOUDSDK_CORE_PROJECT")).ok_or_else(|| {
            Failure::new("which project? Neither --project nor KEYSTEAD_PROJECT is set").usage()
        })
    }

    /// Prints what the server answered to a command that gcloud keeps silent about, if someone asks with `--format`.
    pub(crate) fn print_if_asked(&self, resource: Value) -> Result<(), Failure> {
        self.output().print_one(resource, "none")
    }

    /// Prints one resource, as YAML unless someone asks for another form.
    pub(crate) fn print(&self, resource: Value) -> Result<(), Failure> {
        self.output().print_one(resource, "yaml")
    }

    /// Every page of a list, or as many as are enough. A page holds `most`, or what the server gives.
    pub(crate) fn list(
        &self,
        path: &str,
        field: &str,
        query: &[(&str, &str)],
        list: &ListArgs,
        most: Option<u32>,
    ) -> Result<Vec<Value>, Failure> {
        let size = list.page_size(most).to_string();
        let enough = list.enough().and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
        let mut resources = Vec::new();
        let mut token = String::new();
        loop {
            let mut query = query.to_vec();
            query.push(("pageSize", &size));
            if !token.is_empty() {
                query.push(("pageToken", &token));
            }
            let mut page = self.server.get(path, &query)?;
            if let Some(Value::Array(items)) = page.get_mut(field).map(Value::take) {
                resources.extend(items);
            }
            let next = page.get("nextPageToken").and_then(Value::as_str).unwrap_or_default();
            if next.is_empty() || resources.len() >= enough {
                return Ok(resources);
            }
            if next == token {
                return Err(Failure::new("the server gives the same page again and again"));
            }
            token = next.to_owned();
        }
    }

    /// Asks as gcloud asks: the default is to go on, and where nobody can answer it is taken.
    pub(crate) fn confirm(&self, message: &str) -> Result<(), Failure> {
        if self.args.quiet {
            return Ok(());
        }
        go_on(&ask(&format!("{message}\n\nDo you want to continue (Y/n)?  "))?)
    }

    /// Asks before something that cannot be undone: where nobody can answer it is refused.
    pub(crate) fn confirm_for_ever(&self, message: &str) -> Result<(), Failure> {
        if self.args.quiet {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            let hint = "--quiet goes on without asking".to_owned();
            return Err(
                Failure::new(format!("{message} Nobody can answer here whether to go on.")).hint(hint)
            );
        }
        go_on(&ask(&format!("{message}\n\nDo you want to continue (Y/n)?  "))?)
    }
}

#[expect(clippy::print_stderr, reason = "a question is no result")]
fn ask(question: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot ask: {error}"));
    eprint!("{question}");
    std::io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    if std::io::stdin().read_line(&mut answer).map_err(failed)? == 0 {
        eprintln!();
    }
    Ok(answer.trim().to_lowercase())
}

fn go_on(answer: &str) -> Result<(), Failure> {
    match answer {
        "" | "y" | "yes" => Ok(()),
        _ => Err(Failure::new("aborted, nothing was changed")),
    }
}
