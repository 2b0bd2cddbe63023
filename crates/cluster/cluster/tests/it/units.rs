//! What we write into a drop-in, read by a real systemd.

use std::fs;

use keystead_cluster::api_server_unit::{DropIn, Marks};
use keystead_testkit::systemd_host::SystemdHost;
use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Units that are written; systemd reads all of them at once.
const UNITS: usize = 150;

/// Whatever letters a word has, systemd reads the same word. Zeros are in no command line.
#[tokio::test]
#[ignore = "needs root and the real systemd: cargo xtask test --tools"]
async fn what_is_written_is_what_systemd_reads() {
    let shared = tempfile::tempdir().expect("a directory");
    let host = SystemdHost::start(shared.path()).await.expect("systemd");
    let mut runner = TestRunner::default();
    let letters = "[ -~\u{e9}\u{4e2d}\t\n%$\"'\\\\;#=]{0,12}";
    let words = vec(letters, 0..6);
    let mut written = Vec::new();
    for index in 0..UNITS {
        let mut command = vec!["/usr/bin/kube-apiserver".to_owned()];
        command.extend(words.new_tree(&mut runner).expect("words").current());
        let name = format!("q{index}.service");
        let folder = host.path(&format!("/etc/systemd/system/{name}.d"));
        fs::create_dir_all(&folder).expect("a directory");
        let drop_in = DropIn { words: command.clone(), marks: Marks::default() };
        fs::write(folder.join("50-keystead.conf"), drop_in.text()).expect("written");
        fs::write(host.path(&format!("/etc/systemd/system/{name}")), "[Service]\nExecStart=/bin/true\n")
            .expect("written");
        written.push((index, command));
    }
    host.told("systemctl", &["daemon-reload"]).await.expect("systemd reads them");
    for (index, command) in written {
        let object = format!("/org/freedesktop/systemd1/unit/q{index}_2eservice");
        let service = "org.freedesktop.systemd1.Service";
        let args =
            ["--json=short", "get-property", "org.freedesktop.systemd1", &object, service, "ExecStart"];
        let text = host.told("busctl", &args).await.expect("systemd answers");
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let read: Vec<String> = serde_json::from_value(answer["data"][0][1].clone()).unwrap_or_default();
        assert_eq!(
            read,
            command,
            "{}",
            fs::read_to_string(
                host.path(&format!("/etc/systemd/system/q{index}.service.d/50-keystead.conf"))
            )
            .expect("it is there")
        );
    }
}
