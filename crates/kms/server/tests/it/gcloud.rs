//! The real gcloud, command by command, against a table of what it prints: `gcloud/table.txt`.
//!
//! `UPDATE_TABLE=1` writes the table anew; read the difference before it is committed.

mod normal;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keystead_testkit::kms_server::KmsServer;

const TABLE: &str = "tests/it/gcloud/table.txt";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn c2_c3_c4_c5_c10_and_every_other_command_prints_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    let table = std::fs::read_to_string(&path).unwrap();
    let stage = Stage::new().await;
    let mut played = String::new();
    let mut after_answer = false;
    for line in table.lines() {
        if line.starts_with('#') {
            writeln!(played, "{}{line}", if after_answer { "\n" } else { "" }).unwrap();
            after_answer = false;
        } else if let Some(command) = line.strip_prefix("$ ") {
            let answer = stage.run(command).await;
            write!(played, "\n$ {command}\n{answer}").unwrap();
            after_answer = true;
        }
    }
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(&path, played).unwrap();
        return;
    }
    let differing: Vec<String> = blocks(&table)
        .into_iter()
        .zip(blocks(&played))
        .filter(|(wanted, got)| wanted != got)
        .map(|(wanted, got)| format!("--- wanted\n{wanted}\n--- got\n{got}"))
        .collect();
    assert!(differing.is_empty(), "{} commands differ:\n{}", differing.len(), differing.join("\n"));
    assert!(blocks(&table).len() > 60, "the table has shrunk");
}

/// A command and its answer.
fn blocks(text: &str) -> Vec<String> {
    let rows: String =
        text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n");
    rows.split("\n$ ").map(|block| block.trim().to_owned()).filter(|block| !block.is_empty()).collect()
}

/// A server, and a folder for gcloud's settings and the files of the commands.
struct Stage {
    server: KmsServer,
    directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_keystead-server"));
        let server = KmsServer::start(program, &directory.path().join("data")).await.unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        Self { server, directory }
    }

    /// Runs one line in a shell, as a person would, and gives exit code and output without what differs each time.
    async fn run(&self, line: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(self.directory.path().join("work"));
        let gcloud = PathBuf::from(std::env::var_os("KEYSTEAD_GCLOUD").expect("set by `cargo xtask test`"));
        let mut paths = vec![gcloud.parent().unwrap().to_owned()];
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        command.env("PATH", std::env::join_paths(paths).unwrap());
        for api in ["CLOUDKMS", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "IAM", "CONTAINER"] {
            let variable = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
            command.env(variable, format!("{}/", self.server.endpoint()));
        }
        let (_, port) = self.server.endpoint().rsplit_once(':').unwrap();
        command
            .env("CLOUDSDK_CONFIG", self.directory.path().join("gcloud"))
            .env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", self.server.token_file())
            .env("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", self.server.ca_file())
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
            .env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1")
            .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1")
            // As `keystead env` does, so that gcloud calls nobody else.
            .env("CLOUDSDK_PROXY_TYPE", "http")
            .env("CLOUDSDK_PROXY_ADDRESS", "localhost")
            .env("CLOUDSDK_PROXY_PORT", port)
            .env("TOKEN_URI", format!("{}/token", self.server.endpoint()));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let directory = self.directory.path().display().to_string();
        let mut answer = String::new();
        if !output.status.success() {
            writeln!(answer, "[exit {}]", output.status.code().unwrap_or(-1)).unwrap();
        }
        for text in [&output.stdout, &output.stderr] {
            let text = normal::without_what_differs(
                &String::from_utf8_lossy(text),
                self.server.endpoint(),
                &directory,
            );
            if !text.trim().is_empty() {
                writeln!(answer, "{}", text.trim_end()).unwrap();
            }
        }
        answer
    }
}
