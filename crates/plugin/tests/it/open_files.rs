//! The system gives the plugin no more open files for a while. What changes on the disk meanwhile is taken up afterwards.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use keystead_proto::kms_v2::StatusRequest;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tonic::transport::Channel;

use crate::key_service::service::{KEY, KeyService};
use crate::plugin_process::{DEADLINE, Place, Plugin, v2};

const NONE_LEFT: &str = "Too many open files";

/// A plugin with a client that is connected already.
struct Starved {
    plugin: Plugin,
    before: Rlimit,
    client: KeyManagementServiceClient<Channel>,
}

impl Starved {
    async fn start(place: &Place, mut command: Command) -> Self {
        command.env("KEYSTEAD_PROBE_INTERVAL", "100ms").env("KEYSTEAD_LOG_LEVEL", "info");
        let mut plugin = Plugin::start(command);
        plugin.says("encrypting");
        let mut client = v2(&place.socket()).await;
        // Answered, and so accepted: that takes an open file too.
        client.status(StatusRequest {}).await.expect("serving");
        let maximum = getrlimit(Resource::Nofile).maximum;
        let before = limit(&plugin, Rlimit { current: Some(3), maximum });
        Self { plugin, before, client }
    }

    fn feed(&self) {
        limit(&self.plugin, self.before);
    }

    async fn key_id(&mut self) -> String {
        self.client.status(StatusRequest {}).await.expect("goes on").into_inner().key_id
    }
}

fn limit(plugin: &Plugin, limit: Rlimit) -> Rlimit {
    let pid = Pid::from_raw(plugin.pid().try_into().expect("a process id"));
    prlimit(pid, Resource::Nofile, limit).expect("limited")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_of_the_key_file_is_taken_up_when_there_are_open_files_again() {
    let place = Place::new();
    let mut starved = Starved::start(&place, place.serve()).await;
    let key = place.key();
    let rotated = place.run(["key", "rotate", "--single-host", "--key-file", key.to_str().expect("UTF-8")]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    starved.plugin.says(NONE_LEFT);
    assert!(starved.key_id().await.starts_with("local-v1-a1-"));

    starved.feed();
    let end = Instant::now() + DEADLINE;
    while !starved.key_id().await.starts_with("local-v2-a2-") {
        assert!(Instant::now() < end, "{}", starved.plugin.stderr);
        tokio::task::yield_now().await;
    }
    assert_eq!(starved.plugin.terminate().code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_credentials_are_taken_up_when_there_are_open_files_again() -> Result<()> {
    let service = KeyService::start().await?;
    let (first, second) = (service.create_token().await?, service.create_token().await?);
    let place = Place::empty();
    place.write("credentials.json", service.credentials(&[&first])?, 0o600);
    let mut command = place.serve();
    command.env_remove("KEYSTEAD_KEY_FILE").env("KMS_KEY_ID", KEY);
    command.env("KEYSTEAD_CREDENTIALS_FILE", place.path("credentials.json"));
    let mut starved = Starved::start(&place, command).await;
    place.write("credentials.json", service.credentials(&[&second])?, 0o600);
    starved.plugin.says(NONE_LEFT);
    starved.key_id().await;

    starved.feed();
    let line = starved.plugin.says("credentials read again");
    assert!(line.contains(&second.id), "{line}");
    assert_eq!(starved.plugin.terminate().code, 0);
    Ok(())
}
