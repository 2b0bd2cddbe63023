//! The plugin's pod is killed and upgraded again and again while clients read and write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use keystead_testkit::api::Client;
use keystead_testkit::node::Node;
use tokio::sync::oneshot;

use super::{KEY, PATIENCE, PLUGIN, image, runs, try_to_run, until, until_ready};
use crate::rollout::load::Load;

/// How often, unless these variables say more.
const KILLS: (&str, u32) = ("KEYSTEAD_TEST_KILLS", 10);
const UPGRADES: (&str, u32) = ("KEYSTEAD_TEST_UPGRADES", 2);

#[tokio::test]
#[ignore = "needs root and the real node and the plugin image: cargo xtask test --tools"]
async fn no_call_fails_while_the_static_pod_is_killed_and_upgraded() {
    let (node, service) = super::node().await;
    let install = format!(
        "keystead plugin install --as static-pod --image {} --kms-key {KEY} --kms-user {} --yes
        keystead cluster enable --yes",
        image().display(),
        service.user
    );
    runs(&node, &install).await;
    // A container that ends often is started later and later, up to five minutes: two hundred kills would take a night.
    let quick =
        "printf 'crashLoopBackOff:\\n  maxContainerRestartPeriod: 1s\\n' >> /var/lib/kubelet/config.yaml
        kill $(busybox pidof kubelet)
        kubectl create clusterrolebinding load --clusterrole cluster-admin --serviceaccount default:default";
    runs(&node, quick).await;
    until_ready(&node, PLUGIN).await;
    until(&node, "kubectl get serviceaccount default", &[]).await;
    let token = runs(&node, "kubectl create token default --duration 10h").await;
    let authority = runs(&node, "cat /etc/kubernetes/pki/ca.crt").await;
    let node = Arc::new(node);

    let (stop, stopped) = oneshot::channel::<()>();
    let inside = Arc::clone(&node);
    let load = std::thread::spawn(move || {
        let work = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client =
                    Client::new("https://10.99.0.2:6443", &authority, token.trim()).expect("a client");
                let clients = [client];
                let load = Load::start(&clients, 50).await;
                drop(stopped.await);
                let done = load.stop().await;
                let increments = done.increments;
                done.assert_nothing_lost(&clients).await;
                increments
            })
        };
        inside.on_its_network(work).expect("the node runs")
    });

    // kube-apiserver stops writing when no Status came for three minutes, and asks once in ten seconds at most: one that dies as soon as it
    // is there is away for it. So the API server sees each before that ends.
    let is_seen = "kubectl get --raw /readyz/kms-providers";
    let mut killed = Vec::new();
    for _ in 0..times(KILLS) {
        let pid = process(&node, None).await;
        until(&node, is_seen, &["ok"]).await;
        let began = Instant::now();
        runs(&node, &format!("kill -9 {pid}")).await;
        process(&node, Some(&pid)).await;
        killed.push(began.elapsed());
    }
    let name = format!("keystead.io/keystead-plugin:{}", env!("CARGO_PKG_VERSION"));
    runs(&node, &format!("ctr --namespace k8s.io images tag {name} {name}-next")).await;
    let mut upgraded = Vec::new();
    for time in 0..times(UPGRADES) {
        let pid = process(&node, None).await;
        until(&node, is_seen, &["ok"]).await;
        let next = if time % 2 == 0 { "-next" } else { "" };
        runs(&node, &format!("keystead plugin upgrade --image-name {name}{next} --no-wait --yes")).await;
        node.wait("the old plugin has ended", PATIENCE, async |node| {
            ensure!(
                try_to_run(node, "busybox pidof keystead-plugin")
                    .await
                    .ok()
                    .is_none_or(|it| it.trim() != pid)
            );
            Ok(())
        })
        .await
        .expect("the kubelet ends it");
        let began = Instant::now();
        process(&node, Some(&pid)).await;
        upgraded.push(began.elapsed());
    }
    stop.send(()).expect("the load goes on");
    let increments = load.join().expect("nothing failed and nothing was lost");
    // It is looked at twice a second.
    println!("{increments} increments; without a plugin after a kill: {}", spread(killed));
    println!("without a plugin in an upgrade: {}", spread(upgraded));
}

fn times((variable, default): (&str, u32)) -> u32 {
    std::env::var(variable).map_or(default, |it| it.parse().expect("a number"))
}

/// The process of the plugin that answers, and is another one than `before`.
async fn process(node: &Node, before: Option<&str>) -> String {
    let mut found = String::new();
    node.wait("the plugin answers", PATIENCE, async |node| {
        let ask =
            "busybox wget -q -O /dev/null http://127.0.0.1:10277/readyz && busybox pidof keystead-plugin";
        found = try_to_run(node, ask).await?.trim().to_owned();
        ensure!(before.is_none_or(|it| it != found) && !found.contains(' '), "{found}");
        Ok(())
    })
    .await
    .expect("it comes back");
    found
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: f64| times.get(((times.len() - 1) as f64 * part) as usize).copied().unwrap_or_default();
    format!(
        "median {:.1?}, 99 of 100 within {:.1?}, at most {:.1?}, {} times",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    )
}
