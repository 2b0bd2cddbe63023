//! `keystead server backup` and `restore`, from a lost disk to a readable secret.

use std::path::Path;
use std::process::{Command, Output};

use keystead_testkit::kms_server::KmsServer;

use crate::{keystead, stderr, stdout};

const KEY: [&str; 8] =
    ["--key", "k", "--keyring", "r", "--location", "europe-west1", "--project", "a-project"];

async fn start(data_dir: &Path) -> KmsServer {
    let program = Path::new(env!("CARGO_BIN_EXE_keystead"));
    KmsServer::start_as(program, &["server", "run"], data_dir, &[]).await.expect("a server")
}

/// As the server's administrator.
fn admin(server: &KmsServer, args: &[&str]) -> Output {
    let mut command = keystead();
    command
        .args(args)
        .env("KEYSTEAD_ENDPOINT", server.endpoint())
        .env("KEYSTEAD_CA_FILE", server.ca_file())
        .env("KEYSTEAD_TOKEN_FILE", server.token_file());
    done(&mut command)
}

fn done(command: &mut Command) -> Output {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    output
}

#[tokio::test]
async fn a_lost_disk_is_restored_on_an_empty_machine_and_everything_opens() {
    let base = tempfile::tempdir().expect("a directory");
    let path = |name: &str| base.path().join(name);
    let text = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    let server = start(&path("first")).await;
    let member = "user:alice@example.com";
    let of_key = |more: &[&'static str]| [more, KEY.as_slice()].concat();
    admin(&server, &["projects", "create", "a-project"]);
    admin(&server, &["services", "enable", "cloudkms.googleapis.com", "--project", "a-project"]);
    admin(&server, &[&["kms", "keyrings", "create", "r"], &KEY[4..]].concat());
    admin(&server, &[&["kms", "keys", "create", "k", "--purpose", "encryption"], &KEY[2..]].concat());
    let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    let grant = ["kms", "keys", "add-iam-policy-binding", "k", "--member", member, "--role", role];
    admin(&server, &[&grant, &KEY[2..]].concat());
    let token = text("token");
    admin(
        &server,
        &["iam", "tokens", "create", "--principal", member, "--no-expiry", "--output-file", &token],
    );
    std::fs::write(path("plain"), "a secret").expect("written");
    let alice = |server: &KmsServer, args: Vec<&str>| {
        let mut command = keystead();
        command.args(args).env("KEYSTEAD_ENDPOINT", server.endpoint());
        command.env("KEYSTEAD_CA_FILE", server.ca_file()).env("KEYSTEAD_TOKEN_FILE", &token);
        done(&mut command)
    };
    let (plain, sealed) = (text("plain"), text("sealed"));
    let files = ["--plaintext-file", &plain, "--ciphertext-file", &sealed];
    alice(&server, [of_key(&["kms", "encrypt"]).as_slice(), &files].concat());
    admin(&server, &of_key(&["kms", "keys", "versions", "create", "--primary"]));

    let made = admin(&server, &["server", "backup", "--format", "value(name)"]);
    let backup = path("first/backups").join(stdout(&made).trim());
    let recipient =
        done(keystead().args(["plugin", "key", "import", "--new-identity"]).arg(path("identity")));
    let recipient = stdout(&recipient).split_whitespace().last().expect("a recipient").to_owned();
    let root_key = path("first/root/root-key");
    let exported = done(
        keystead().args(["plugin", "key", "export", "--recipient", &recipient, "--key-file"]).arg(root_key),
    );
    std::fs::write(path("root-key.sealed"), exported.stdout).expect("written");

    // While it runs nothing is restored into its directory.
    let busy =
        keystead().args(["server", "restore"]).arg(&backup).arg("--data-dir").arg(path("first")).output();
    assert!(stderr(&busy.expect("runs")).contains("runs with the data directory"));

    std::fs::copy(&backup, path("kept.db")).expect("kept elsewhere");
    assert_eq!(server.stop().await.expect("stops"), 0);
    std::fs::remove_dir_all(path("first")).expect("the disk is lost");

    let restore = |to: &str| {
        let output = keystead()
            .args(["server", "restore"])
            .arg(path("kept.db"))
            .arg("--data-dir")
            .arg(path(to))
            .output();
        output.expect("runs")
    };
    let restored = restore("second");
    assert!(restored.status.success(), "{}", stderr(&restored));
    let next = "`keystead plugin key import SEALED-FILE --identity IDENTITY-FILE --key-file ";
    assert!(stdout(&restored).contains(next), "{}", stdout(&restored));
    let again = restore("second");
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    assert!(stderr(&again).contains("move it away"), "{}", stderr(&again));
    done(
        keystead()
            .args(["plugin", "key", "import"])
            .arg(path("root-key.sealed"))
            .arg("--identity")
            .arg(path("identity"))
            .arg("--key-file")
            .arg(path("second/root/root-key")),
    );

    let server = start(&path("second")).await;
    let opened = text("opened");
    let files = ["--plaintext-file", &opened, "--ciphertext-file", &sealed];
    alice(&server, [of_key(&["kms", "decrypt"]).as_slice(), &files].concat());
    assert_eq!(std::fs::read_to_string(&opened).expect("read"), "a secret");

    // No admin-token came back: nobody is sent to it, and what helps is said.
    let missing = path("second/admin-token");
    assert!(!missing.exists());
    let (missing, log) = (missing.to_str().expect("UTF-8"), server.log().expect("a log"));
    assert!(!log.contains(missing) && log.contains("--token-file FILE"), "{log}");
    let env = |more: &[&str]| {
        let output = keystead().args(["env", "--data-dir"]).arg(path("second")).args(more).output();
        output.expect("runs")
    };
    let refused = env(&[]);
    assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(1), ""));
    let said = stderr(&refused);
    assert!(said.contains("has no admin-token") && said.contains("hint: --token-file FILE"), "{said}");
    let lines = stdout(&env(&["--token-file", &token]));
    assert!(lines.contains(&format!("export KEYSTEAD_TOKEN_FILE={token}\n")), "{lines}");
}
