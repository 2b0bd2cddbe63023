//! Several hosts without ssh: the same command runs on each, and they find each other through the cluster.

use keystead_etcd::{Connection, Etcd};
use rustix::process::Signal;

use super::fleet::Fleet;
use super::load::Load;
use super::two_drivers::Driver;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane and an hour: cargo xtask test --tools"]
async fn k8_the_same_command_on_each_host_does_its_part() {
    let fleet = Fleet::start("1.37.2", 3).await;
    fleet.create_secrets(100).await;
    let load = Load::start(&fleet.clients, 30).await;
    // One path for all hosts.
    let socket = fleet.endpoint();
    let enable = ["enable", "--endpoint", &socket, "--yes"];
    let etcd = Etcd::connect(&Connection::plain(fleet.etcd().url())).await.expect("etcd");
    let parts = async || {
        let page = etcd.scan("/registry/leases/kube-system/keystead-host-").next_page().await;
        page.expect("a page").map_or(0, |it| it.entries.len())
    };

    // Whoever is told to stop while it waits leaves nothing behind that others would have to wait for.
    let mut first = Driver::start(fleet.part_on(0, &enable));
    first.says("waits for host-1, host-2: run there: keystead cluster enable ").await;
    assert_eq!(parts().await, 1);
    first.signal(Signal::INT);
    let (code, said) = first.end().await;
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(parts().await, 0);
    let unknown = Driver::start(fleet.part_on(1, &["continue", "--yes"])).end().await;
    assert_eq!(unknown.0, Some(2), "a host goes on with nothing but its own record: {}", unknown.1);

    let mut first = Driver::start(fleet.part_on(0, &enable));
    first.says("waits for host-1, host-2: run there: keystead cluster enable ").await;
    let mut second = Driver::start(fleet.part_on(1, &enable));
    second.says("host-0_").await;
    first.says("waits for host-2: run there: ").await;
    let flags = |fleet: &Fleet| {
        (0..3).filter(|it| fleet.manifest(*it).contains("encryption-provider-config")).count()
    };
    assert_eq!(flags(&fleet), 0, "nothing is done before every host is there");
    let third = Driver::start(fleet.part_on(2, &enable));
    for driver in [first, second, third] {
        let (code, said) = driver.end().await;
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(flags(&fleet), 3);
    assert_eq!(fleet.stored("secrets").await, ["kms:v2:keystead"]);

    // Whoever is killed is followed by another host, and its own part is waited for.
    let disable = ["disable", "--yes"];
    let mut first = Driver::start(fleet.part_on(0, &disable));
    first.says("waits for host-1, host-2: ").await;
    let second = Driver::start(fleet.part_on(1, &disable));
    let third = Driver::start(fleet.part_on(2, &disable));
    first.says("now: write ").await;
    first.child.kill().await.expect("killed");
    let again = Driver::start(fleet.part_on(0, &["continue", "--yes"]));
    for driver in [again, second, third] {
        let (code, said) = driver.end().await;
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(flags(&fleet), 0);
    assert_eq!(fleet.stored("secrets").await, ["identity"]);
    assert_eq!(parts().await, 0, "the parts have ended");
    // Each host knows by itself where it was, and that it is there.
    let done = Driver::start(fleet.part_on(2, &["continue", "--yes"])).end().await;
    assert!(done.0 == Some(1) && done.1.contains("the last rollout is done: disable"), "{done:?}");
    load.stop().await.assert_nothing_lost(&fleet.clients).await;
}
