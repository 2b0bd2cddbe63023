//! Plans as people and programs see them, and what is refused.

use std::collections::BTreeSet;

use keystead_cluster::rollout::{
    Answer, Canary, Configuration, Count, Goal, Inventory, Loaded, Next, Observed, Order, Pass, Plan, Plugin,
    Provider, Reading, Server, Step, Stored, StoredAs, Writing, plan, refusal,
};

fn kms() -> Provider {
    Provider::KmsV2 { name: "keystead".into() }
}

fn enable() -> Goal {
    Goal::Enable { to: kms(), keep_identity: false }
}

fn configured(writer: Provider, readers: &[Provider]) -> Configuration {
    Configuration::Providers(Order { writer, readers: readers.to_vec() })
}

fn server(name: &str, configuration: Configuration) -> Server {
    let plugin = Plugin {
        provider: kms(),
        unhealthy: None,
        reports: Some("k1".into()),
        seen: Some("k1".into()),
        unwraps: BTreeSet::from(["k1".to_owned()]),
        unwraps_others: true,
        behind_cluster: None,
    };
    Server {
        name: name.into(),
        address: format!("https://{name}:6443"),
        answer: Answer::Ready,
        minor: Some(36),
        on_disk: Some(configuration.clone()),
        loaded: Loaded::Known(configuration),
        automatic_reload: false,
        epoch: Some("1".into()),
        plugins: vec![plugin],
    }
}

fn stored_as(provider: Provider) -> StoredAs {
    let key_id = provider.is_kms().then(|| "k1".into());
    StoredAs { provider, key_id }
}

/// Three servers with the same configuration, and 40 Secrets that are stored in this way.
fn fleet(configuration: &Configuration, provider: Provider) -> Observed {
    let counts = vec![Count { stored_as: stored_as(provider), objects: 40 }];
    let inventory = Inventory::Counted { revision: 7, began_with: Vec::new(), counts, malformed: 0 };
    let stored = Stored { resource: "secrets".into(), inventory, pass: Pass::NotRun, last_clean: None };
    Observed {
        servers: ["a", "b", "c"].iter().map(|it| server(it, configuration.clone())).collect(),
        stored: vec![stored],
        ..Observed::default()
    }
}

/// The same with a canary through each server, and a count after that.
fn proven(configuration: &Configuration, provider: &Provider) -> Observed {
    let mut observed = fleet(configuration, provider.clone());
    let names: Vec<String> = observed.servers.iter().map(|it| it.name.clone()).collect();
    let reading = |server: &String| Reading { server: server.clone(), epoch: "1".into(), failed: None };
    for server in &names {
        let (server, epoch, stored_as) = (server.clone(), "1".into(), stored_as(provider.clone()));
        let writer = Writing { server, epoch, stored_as };
        observed.canaries.push(Canary { writer, readings: names.iter().map(reading).collect() });
    }
    let writers = observed.writers();
    if let Inventory::Counted { began_with, .. } = &mut observed.stored[0].inventory {
        *began_with = writers;
    }
    observed
}

/// The reasons why nothing can be done.
fn blocked(goal: &Goal, observed: &Observed) -> String {
    match plan(goal, observed).next {
        Next::Blocked(obstacles) => {
            obstacles.iter().map(ToString::to_string).collect::<Vec<String>>().join("\n")
        }
        next => panic!("not blocked: {next:?}"),
    }
}

fn steps(goal: &Goal, observed: &Observed) -> Vec<Step> {
    match plan(goal, observed).next {
        Next::Steps(steps) => steps.into_iter().map(|it| it.step).collect(),
        next => panic!("no steps: {next:?}"),
    }
}

#[test]
fn a_plan_says_what_comes_next_and_why() {
    let observed = fleet(&configured(Provider::Identity, &[]), Provider::Identity);
    let text = "\
To enable encryption with kms:v2:keystead:
  done   check what must be so before anything changes
  now    let every API server read what any of them writes
  later  let one API server write in the new way, then all
  later  let every API server use its file
  later  prove that what one API server writes every other reads
  later  re-encrypt what is stored, and count it in etcd
  later  take away what nothing needs any more
Next:
  write [identity, kms:v2:keystead] on a: it must read kms:v2:keystead, which is stored or will be written
  write [identity, kms:v2:keystead] on b: it must read kms:v2:keystead, which is stored or will be written
  write [identity, kms:v2:keystead] on c: it must read kms:v2:keystead, which is stored or will be written
";
    assert_eq!(plan(&enable(), &observed).to_string(), text);
}

#[test]
fn facts_and_plans_travel_as_json() {
    let observed = proven(&configured(kms(), &[Provider::Identity]), &kms());
    let text = serde_json::to_string(&observed).unwrap();
    let read: Observed = serde_json::from_str(&text).unwrap();
    assert_eq!(read, observed);
    for goal in [enable(), Goal::Disable, Goal::Undo { to: Configuration::NoEncryption }] {
        let planned = plan(&goal, &read);
        let read: Plan = serde_json::from_str(&serde_json::to_string(&planned).unwrap()).unwrap();
        assert_eq!(read, planned);
        let text = serde_json::to_string(&goal).unwrap();
        assert_eq!(serde_json::from_str::<Goal>(&text).unwrap(), goal);
    }
}

#[test]
fn flags_are_set_on_one_host_at_a_time() {
    let mut observed = fleet(&Configuration::NoEncryption, Provider::Identity);
    let first = steps(&enable(), &observed);
    assert!(matches!(&first[..], [Step::Write { server, .. }] if server == "a"), "{first:?}");
    observed.servers[0].on_disk = Some(configured(Provider::Identity, &[kms()]));
    assert_eq!(steps(&enable(), &observed), [Step::Restart { server: "a".into() }]);
}

#[test]
fn what_is_reached_is_done_and_says_what_may_go() {
    let done = plan(&enable(), &proven(&configured(kms(), &[]), &kms()));
    assert!(matches!(done.next, Next::Done(_)), "{done}");
    let done = plan(&Goal::Disable, &proven(&Configuration::NoEncryption, &Provider::Identity)).to_string();
    let stop = "No API server uses kms:v2:keystead for secrets any more: its plugin may be stopped if nothing else uses it.";
    assert!(done.contains(stop), "{done}");
    // It says nothing of what nobody counted.
    let rotate = Goal::Rotate { provider: kms(), to: "k1".into() };
    let mut two = proven(&configured(kms(), &[]), &kms());
    two.stored.push(Stored { resource: "configmaps".into(), ..two.stored[0].clone() });
    let done = plan(&rotate, &two).to_string();
    let needs = "No value of secrets, configmaps needs a key id of kms:v2:keystead other than k1. Other resources were not looked at.";
    assert!(done.contains(needs), "{done}");
}

#[test]
fn a_wait_for_a_key_says_of_which_plugin() {
    let mut observed = proven(&configured(kms(), &[]), &kms());
    for server in &mut observed.servers {
        server.plugins[0].unwraps.insert("k2".into());
        let other = Provider::KmsV2 { name: "other".into() };
        server.plugins.insert(0, Plugin { provider: other, ..server.plugins[0].clone() });
    }
    observed.servers[1].plugins[1].reports = Some("k2".into());
    let planned = plan(&Goal::Rotate { provider: kms(), to: "k2".into() }, &observed).to_string();
    for wait in [
        "wait until a has a plugin of kms:v2:keystead that reports key id k2",
        "wait until b sees key id k2 of kms:v2:keystead",
    ] {
        assert!(planned.contains(wait), "{planned}");
    }
}

#[test]
fn an_undo_that_would_lose_something_names_the_way() {
    let observed = fleet(&configured(kms(), &[Provider::Identity]), kms());
    let why = blocked(&Goal::Undo { to: Configuration::NoEncryption }, &observed);
    let text = "40 secrets are stored as kms:v2:keystead (key id k1), which no encryption cannot read. Use `keystead cluster disable`.";
    assert_eq!(why, text);
    let aescbc = Provider::AesCbc { key: "k".into() };
    let why = blocked(&Goal::Undo { to: configured(aescbc, &[]) }, &observed);
    assert!(why.ends_with("Use `keystead cluster migrate` to aescbc:k."), "{why}");
}

#[test]
fn an_undo_does_not_go_back_to_a_plugin_that_is_down() {
    let to = configured(Provider::Identity, &[kms()]);
    let mut observed = proven(&Configuration::NoEncryption, &Provider::Identity);
    let first = steps(&Goal::Undo { to: to.clone() }, &observed);
    assert_eq!(first, [Step::Write { server: "a".into(), order: to.order() }]);
    observed.servers.iter_mut().for_each(|it| it.plugins[0].unhealthy = Some("connection refused".into()));
    let why = blocked(&Goal::Undo { to }, &observed);
    assert!(why.contains("on a is not healthy: connection refused"), "{why}");
}

#[test]
fn what_no_goal_allows_is_refused_with_what_to_do() {
    let plain = || fleet(&configured(Provider::Identity, &[]), Provider::Identity);
    let kms_v1 = Provider::KmsV1 { name: "old".into() };
    let mut inside = plain();
    inside.servers[1].plugins[0].behind_cluster = Some("10.96.0.7 is a Service".into());
    let mut mixed = plain();
    mixed.servers[2].minor = Some(28);
    let mut back = plain();
    back.removed.insert("b".into());
    let mut nothing = plain();
    nothing.stored.clear();
    let mut unhealthy = plain();
    unhealthy.servers.iter_mut().for_each(|it| it.plugins[0].unhealthy = Some("connection refused".into()));
    let mut alone = plain();
    alone.servers.iter_mut().for_each(|it| it.plugins[0].unwraps_others = false);
    let rotate = |provider| Goal::Rotate { provider, to: "k2".into() };
    let migrate = |to| Goal::Migrate { to, keep_identity: false };
    for (goal, observed, reason) in [
        (enable(), Observed::default(), "no API server is known"),
        (enable(), nothing, "no resource is named"),
        (enable(), inside, "only through the cluster that it would protect: 10.96.0.7 is a Service"),
        (enable(), mixed, "API servers of 1.28 and 1.36 run together"),
        (enable(), back, "b was said to be removed, but it is there"),
        (enable(), unhealthy, "the plugin of kms:v2:keystead on a is not healthy: connection refused"),
        (enable(), alone, "on a does not unwrap what the other hosts' plugins wrap"),
        (migrate(Provider::Identity), plain(), "Use `cluster disable`"),
        (migrate(kms_v1.clone()), plain(), "the plugin of kms:v1:old on a is not healthy: there is none"),
        (rotate(kms_v1), plain(), "do not say under which key they are"),
        (rotate(kms()), plain(), "no API server writes with kms:v2:keystead"),
    ] {
        let why = blocked(&goal, &observed);
        assert!(why.contains(reason), "{goal}: {why}");
    }
}

#[test]
fn a_silent_server_stops_every_switch_until_the_user_says_that_it_is_gone() {
    let mut observed = fleet(&configured(Provider::Identity, &[kms()]), Provider::Identity);
    let silent = &mut observed.servers[1];
    silent.answer = Answer::Silent { reason: "no route to host".into() };
    (silent.on_disk, silent.loaded, silent.epoch) = (None, Loaded::Unknown, None);
    let why = blocked(&enable(), &observed);
    assert!(why.contains("b (https://b:6443) does not answer (no route to host)"), "{why}");
    assert!(why.contains("--removed b"), "{why}");
    observed.removed.insert("b".into());
    let next = steps(&enable(), &observed);
    assert!(matches!(&next[..], [Step::Write { server, .. }] if server == "a"), "{next:?}");
}

#[test]
fn a_server_that_uses_what_nobody_knows_is_asked_before_anything_is_written() {
    // Somebody replaced a file before anybody looked, and a host joins that reads none of what the first one still writes.
    let secretbox = Provider::Secretbox { key: "k".into() };
    let mut observed = fleet(&configured(Provider::Identity, &[]), Provider::Identity);
    observed.servers[0].loaded = Loaded::Unknown;
    observed.servers[1] = server("b", Configuration::NoEncryption);
    assert_eq!(steps(&enable(), &observed), [Step::Canary { server: "a".into() }]);

    let stored_as = StoredAs { provider: secretbox.clone(), key_id: None };
    let writer = Writing { server: "a".into(), epoch: "1".into(), stored_as };
    observed.canaries.push(Canary { writer, readings: Vec::new() });
    assert_eq!(steps(&enable(), &observed), [Step::TakeInventory { resource: "secrets".into() }]);

    let writers = observed.writers();
    if let Inventory::Counted { began_with, .. } = &mut observed.stored[0].inventory {
        *began_with = writers;
    }
    let written = steps(&enable(), &observed);
    let reads = |it: &Step| matches!(it, Step::Write { order, .. } if order.reads(&secretbox));
    assert!(written.len() == 2 && written.iter().all(reads), "{written:?}");
    // Nor does an agent restart the one that joined.
    let restart = Step::Restart { server: "b".into() };
    let why = refusal(&restart, &observed).unwrap_or_default();
    assert!(why.contains("b could not read secretbox:k, which an API server writes"), "{why}");
}

#[test]
fn what_a_removed_server_wrote_is_read_before_anything_is_dropped() {
    let mut observed = proven(&configured(kms(), &[Provider::Identity]), &kms());
    let gone = &mut observed.servers[1];
    gone.answer = Answer::Silent { reason: "no route to host".into() };
    (gone.on_disk, gone.loaded, gone.epoch) = (None, Loaded::Unknown, None);
    observed.removed.insert("b".into());
    let writers = observed.writers();
    if let Inventory::Counted { began_with, .. } = &mut observed.stored[0].inventory {
        began_with.clone_from(&writers);
    }
    let reencrypt = Step::Reencrypt { resource: "secrets".into(), resume: false };
    assert_eq!(steps(&enable(), &observed), [reencrypt]);

    let passed = |refused| Pass::Done {
        began_with: writers.clone(),
        rounds: 2,
        ended_revision: 5,
        last_found: 0,
        refused,
    };
    observed.stored[0].pass = passed(1);
    assert!(blocked(&enable(), &observed).contains("1 secrets could not be rewritten"));
    observed.stored[0].pass = passed(0);
    let next = steps(&enable(), &observed);
    assert!(next.len() == 2 && next.iter().all(|it| matches!(it, Step::Write { .. })), "{next:?}");
}

#[test]
fn what_a_count_or_a_canary_finds_stops_before_anything_is_dropped() {
    let both = configured(kms(), &[Provider::Identity]);
    let mut malformed = proven(&both, &kms());
    if let Inventory::Counted { malformed, .. } = &mut malformed.stored[0].inventory {
        *malformed = 2;
    }
    assert!(blocked(&enable(), &malformed).contains("2 secrets cannot be read by any API server"));
    let mut refused = proven(&both, &kms());
    let began_with = refused.writers();
    if let Inventory::Counted { counts, .. } = &mut refused.stored[0].inventory {
        counts.push(Count { stored_as: stored_as(Provider::Identity), objects: 3 });
    }
    refused.stored[0].pass =
        Pass::Done { began_with, rounds: 2, ended_revision: 5, last_found: 0, refused: 3 };
    assert!(blocked(&enable(), &refused).contains("3 secrets could not be rewritten"));
    let mut adopted = proven(&both, &kms());
    adopted.servers[1].plugins[0].seen = Some("k2".into());
    assert_eq!(steps(&enable(), &adopted), [Step::Canary { server: "b".into() }]);
    let mut unread = proven(&both, &kms());
    unread.canaries[0].readings[2].failed = Some("no matching prefix found".into());
    let why = blocked(&enable(), &unread);
    assert!(why.contains("c cannot read what a writes with kms:v2:keystead (key id k1)"), "{why}");
}

#[test]
fn an_agent_refuses_what_breaks_the_rule_whoever_planned_it() {
    let plain = || fleet(&configured(Provider::Identity, &[]), Provider::Identity);
    let both = configured(kms(), &[Provider::Identity]);
    let write = |order: Configuration| Step::Write { server: "a".into(), order: order.order() };
    let mut starting = plain();
    starting.servers[1].answer = Answer::NotReady { reason: "it starts".into() };
    let mut overwritten = proven(&both, &kms());
    overwritten.servers[0].on_disk = Some(Configuration::NoEncryption);
    let mut restarted = proven(&both, &kms());
    restarted.servers[2].epoch = Some("2".into());
    let mut nothing = proven(&both, &kms());
    nothing.stored.clear();
    let mut uncounted = plain();
    uncounted.stored[0].inventory = Inventory::NotTaken;
    let ready_to_write = || fleet(&configured(Provider::Identity, &[kms()]), Provider::Identity);
    let mut lacking = ready_to_write();
    lacking.servers[1].plugins[0].unwraps.clear();
    let mut odd = fleet(&both, kms());
    odd.servers[0] = server("a", configured(Provider::Identity, &[kms()]));
    odd.servers[0].plugins[0].reports = Some("k9".into());
    let mut down = plain();
    down.servers[0].plugins[0].unhealthy = Some("connection refused".into());
    let mut only_loaded = fleet(&both, kms());
    only_loaded.servers[0].on_disk = Some(configured(kms(), &[]));
    let mut seen = plain();
    seen.seen_before.insert(Provider::Secretbox { key: "k".into() });
    let mut unknown = fleet(&both, kms());
    unknown.servers[0].loaded = Loaded::Unknown;
    let mut unread = proven(&both, &kms());
    unread.canaries[0].readings[2].failed = Some("no matching prefix found".into());
    let aescbc = Provider::AesCbc { key: "k".into() };
    let mut counted = proven(&both, &kms());
    if let Inventory::Counted { counts, .. } = &mut counted.stored[0].inventory {
        counts.push(Count { stored_as: stored_as(aescbc), objects: 1 });
    }
    let mut unhealthy = plain();
    unhealthy.servers[1].plugins[0].unhealthy = Some("connection refused".into());
    let mut since = proven(&both, &kms());
    since.written_since.insert(Provider::Identity);
    let mut strange = proven(&both, &kms());
    strange.servers[1].loaded = Loaded::Unknown;
    let mut behind = strange.clone();
    behind.servers[0].on_disk = Some(configured(kms(), &[]));
    let mut recounted = proven(&both, &kms());
    if let Inventory::Counted { began_with, .. } = &mut recounted.stored[0].inventory {
        began_with[1].epoch = "0".into();
    }
    let mut wrote = behind.clone();
    wrote.servers[1].loaded = Loaded::Known(both.clone());
    if let Inventory::Counted { began_with, .. } = &mut wrote.stored[0].inventory {
        began_with[2].stored_as = stored_as(Provider::Identity);
    }
    let mut adopted = proven(&both, &kms());
    adopted.servers[1].plugins[0].seen = Some("k2".into());
    let mut turning = proven(&both, &kms());
    turning.servers[1].on_disk = Some(configured(Provider::Identity, &[kms()]));
    let restart = || Step::Restart { server: "a".into() };
    let reencrypt = || Step::Reencrypt { resource: "secrets".into(), resume: false };
    let promote = |key_id: &str| Step::PromoteKey { provider: kms(), key_id: key_id.into() };
    for (step, observed, reason) in [
        (write(both.clone()), plain(), "b may not read kms:v2:keystead"),
        (
            write(configured(kms(), &[])),
            fleet(&both, kms()),
            "it is not certain that nothing is stored as identity",
        ),
        (write(configured(kms(), &[])), restarted, "it is not certain that nothing is stored as identity"),
        (write(configured(Provider::Identity, &[])), fleet(&both, kms()), "a could not read kms:v2:keystead"),
        (Step::RemoveFlag { server: "a".into() }, fleet(&both, kms()), "a could not read kms:v2:keystead"),
        (restart(), starting, "b is not ready, and two would be away at once"),
        (restart(), overwritten, "a could not read kms:v2:keystead, which an API server writes"),
        (promote("k2"), plain(), "a cannot unwrap what k2 wraps"),
        (reencrypt(), plain(), "nobody saw how a writes"),
        (write(configured(kms(), &[])), nothing.clone(), "no resource is named"),
        (restart(), nothing, "no resource is named"),
        (write(configured(Provider::Identity, &[])), uncounted, "nobody counted yet how secrets are stored"),
        (write(both.clone()), lacking, "on b cannot unwrap key id k1, which is stored or in use"),
        (write(both.clone()), odd, "the plugin of kms:v2:keystead on b cannot unwrap what that on a wraps"),
        (write(configured(Provider::Identity, &[kms()])), down, "is not healthy: connection refused"),
        (restart(), only_loaded, "it is not certain that nothing is stored as identity"),
        (restart(), seen, "it is not certain that nothing is stored as secretbox:k"),
        (restart(), unknown, "what a uses is not known"),
        (reencrypt(), unread, "nobody saw that c reads what a writes"),
        (reencrypt(), adopted, "b writes under another key since it was seen how it writes"),
        (reencrypt(), turning, "b may begin at any moment to write with identity"),
        (restart(), counted, "a could not read aescbc:k, which is stored"),
        (promote("k1"), unhealthy, "on b is not healthy: connection refused"),
        (write(configured(kms(), &[])), since, "it is not certain that nothing is stored as identity"),
        (write(configured(kms(), &[])), strange, "it is not certain that nothing is stored as identity"),
        (write(configured(kms(), &[])), recounted, "it is not certain that nothing is stored as identity"),
        (restart(), behind, "it is not certain that nothing is stored as identity"),
        (restart(), wrote, "it is not certain that nothing is stored as identity"),
    ] {
        let why = refusal(&step, &observed).unwrap_or_default();
        assert!(why.contains(reason), "{step}: {why:?}");
    }
    for (step, observed) in [
        (write(configured(Provider::Identity, &[kms()])), plain()),
        (write(configured(kms(), &[])), proven(&both, &kms())),
        (write(both.clone()), ready_to_write()),
        (restart(), plain()),
        (promote("k1"), plain()),
        (reencrypt(), proven(&both, &kms())),
    ] {
        assert_eq!(refusal(&step, &observed), None, "{step}");
    }
}
