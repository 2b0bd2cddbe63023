//! One run: a random fleet, a random goal, random failures, and what must hold all the time.

use std::collections::BTreeSet;

use keystead_cluster::rollout::{Configuration, Goal, Next, Observed, Plan, Provider, StoredAs, plan};

use super::choices::Choices;
use super::flaws::Flaw;
use super::fleet::{
    Author, Fleet, Host, Object, SimulatedPlugin, aescbc, kms_a, kms_b, kms_v1, order, secretbox,
};
use super::operator::{Operator, View};

/// Rounds with failures.
const TROUBLED: usize = 40;
/// Rounds without, in which every plan must end. One of three hosts and a drop takes about 40.
const QUIET: usize = 150;

/// How often somebody runs a plan again that is blocked.
const TRIED_AGAIN: usize = 2;
/// Lines of the story of a failure.
const TOLD: usize = 80;

/// The rule that every plan ends.
pub(crate) const ENDLESS: &str = "the plan does not end";

/// What came of a run.
pub(crate) enum Outcome {
    Done,
    Blocked,
}

/// A rule that was broken.
pub(crate) struct Broken {
    pub(crate) rule: String,
    /// The first events of the run.
    pub(crate) story: String,
}

pub(crate) fn run(choices: &mut Choices, flaw: Option<Flaw>) -> Result<Outcome, Broken> {
    let (mut fleet, goals) = setting(choices);
    let outcome = rounds(&mut fleet, &goals, choices, flaw);
    outcome.map_err(|rule| broken(rule, fleet))
}

pub(crate) fn broken(rule: String, mut fleet: Fleet) -> Broken {
    // A plan that does not end has a long tail.
    fleet.trace.truncate(TOLD);
    Broken { rule, story: fleet.trace.join("\n") }
}

fn rounds(
    fleet: &mut Fleet,
    goals: &[Goal],
    choices: &mut Choices,
    flaw: Option<Flaw>,
) -> Result<Outcome, String> {
    let mut operator = Operator::new(goals[0].clone(), choices);
    let mut last: Option<(Observed, usize)> = None;
    let troubled = choices.below(TROUBLED);
    for _ in 0..troubled {
        trouble(fleet, &mut operator, choices)?;
        if choices.one_in(10) {
            fleet.say(|| "operator is killed".into());
            operator.killed();
            last = None;
            if choices.one_in(3) {
                operator.goal = goals[choices.below(goals.len())].clone();
                let line = format!("the goal is now to {}", operator.goal);
                fleet.say(|| line);
            }
        }
        let stale = last.take().filter(|_| choices.one_in(8));
        let (observed, saw) = match stale {
            Some(it) => it,
            None => {
                let mut meanwhile = |fleet: &mut Fleet, choices: &mut Choices| happens(fleet, choices);
                operator.observe(fleet, choices, &mut meanwhile)?
            }
        };
        let (plan, believed) = planned(&operator.goal, &observed, flaw);
        if let Next::Steps(steps) = &plan.next {
            for step in steps {
                if choices.one_in(12) {
                    break;
                }
                let mut meanwhile = |fleet: &mut Fleet, choices: &mut Choices| happens(fleet, choices);
                let view = View { observed: &observed, believed: &believed, saw, flawed: flaw.is_some() };
                operator.perform(&step.step, view, fleet, choices, &mut meanwhile)?;
                judge(fleet)?;
                if choices.one_in(4) {
                    trouble(fleet, &mut operator, choices)?;
                }
            }
        } else if matches!(plan.next, Next::Blocked(_)) {
            operator.killed();
        } else {
            is_stored_as_asked(fleet, &operator.goal, |it| !it.by_stranger)?;
            operator.reached();
        }
        last = Some((observed, saw));
    }
    heal(fleet, &mut operator, choices);
    let mut blocked = 0;
    operator.killed();
    for _ in 0..QUIET {
        for at in 0..fleet.hosts.len() {
            // Not everything at once: plugins take up a new key one after the other.
            if !choices.one_in(3) {
                fleet.settle(at);
                judge(fleet)?;
            }
        }
        let at = choices.below(fleet.hosts.len());
        let object = choices.below(fleet.objects.len());
        fleet.write(at, object);
        judge(fleet)?;
        let (observed, saw) = operator.observe(fleet, choices, &mut |_, _| Ok(()))?;
        let (plan, believed) = planned(&operator.goal, &observed, flaw);
        match &plan.next {
            Next::Steps(steps) => {
                for step in steps {
                    let view = View { observed: &observed, believed: &believed, saw, flawed: flaw.is_some() };
                    operator.perform(&step.step, view, fleet, choices, &mut |_, _| Ok(()))?;
                    judge(fleet)?;
                }
            }
            Next::Done(_) => return reached(fleet, &operator).map(|()| Outcome::Done),
            Next::Blocked(_) if blocked < TRIED_AGAIN => {
                blocked += 1;
                operator.killed();
            }
            Next::Blocked(obstacles) => {
                let why: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
                return if has_a_cause(fleet, &operator) {
                    Ok(Outcome::Blocked)
                } else {
                    Err(format!("blocked without a cause: {}", why.join("; ")))
                };
            }
        }
    }
    Err(ENDLESS.into())
}

fn planned(goal: &Goal, observed: &Observed, flaw: Option<Flaw>) -> (Plan, Observed) {
    match flaw {
        None => (plan(goal, observed), observed.clone()),
        Some(flaw) => flaw.planned(goal, observed),
    }
}

/// A fleet that works, and goals that a user may have for it. The last is to go back.
pub(crate) fn setting(choices: &mut Choices) -> (Fleet, Vec<Goal>) {
    let plain = Provider::Identity;
    let start = match choices.below(8) {
        0 => Configuration::NoEncryption,
        1 => order(plain, &[]),
        2 => order(kms_a(), &[plain]),
        3 => order(kms_a(), &[]),
        4 => order(aescbc(), &[plain]),
        5 => order(kms_v1(), &[plain]),
        6 => order(kms_a(), &[aescbc(), plain]),
        _ => order(secretbox(), &[]),
    };
    let keep_identity = choices.below(2) == 1;
    let writer = start.order().writer;
    let to = [kms_a(), kms_b(), aescbc()];
    let to = to[choices.below(3)].clone();
    let goal = match choices.below(3) {
        0 if writer == Provider::Identity && to.is_kms() => Goal::Enable { to, keep_identity },
        1 if writer == kms_a() => Goal::Rotate { provider: kms_a(), to: "a2".into() },
        2 if writer != Provider::Identity => Goal::Disable,
        _ => Goal::Migrate { to, keep_identity },
    };
    let goals = vec![goal, Goal::Disable, Goal::Undo { to: start.clone() }];
    let minor = [36, 34, 31, 28][choices.below(4)];
    let automatic_reload = choices.below(2) == 1;
    let hosts = (0..=choices.below(3))
        .map(|at| {
            let mut host = new_host(at, minor, start.clone());
            host.automatic_reload = automatic_reload;
            host
        })
        .collect();
    let mut fleet = Fleet {
        hosts,
        objects: Vec::new(),
        revision: 1,
        clock: 0,
        primary: "a1".into(),
        trace: Vec::new(),
        only_known: None,
    };
    if choices.one_in(40) {
        fleet.hosts[0].minor = 57 - minor;
    }
    if choices.one_in(8) {
        let odd = choices.below(fleet.hosts.len());
        // Only where nothing is stored with such a key yet.
        if matches!(writer, Provider::Identity | Provider::KmsV2 { .. }) && !start.order().reads(&aescbc()) {
            fleet.hosts[odd].key_material = 1;
        }
    }
    for _ in 0..=choices.below(4) {
        let readable: Vec<Provider> = start.order().providers().cloned().collect();
        let provider = readable[choices.below(readable.len())].clone();
        let key_id = matches!(provider, Provider::KmsV2 { .. }).then(|| "a1".into());
        let key_material = 0;
        let stored_as = StoredAs { provider, key_id };
        fleet.objects.push(Object {
            stored_as,
            key_material,
            written_at: 0,
            by_stranger: false,
            by_unheard: true,
        });
    }
    let (hosts, objects) = (fleet.hosts.len(), fleet.objects.len());
    let line = format!(
        "{hosts} hosts of 1.{minor} with {start}, reload {automatic_reload}, {objects} objects; to {}",
        goals[0]
    );
    fleet.say(|| line);
    (fleet, goals)
}

fn new_host(at: usize, minor: u32, start: Configuration) -> Host {
    let plugin = |provider, key_id: &str| SimulatedPlugin {
        provider,
        up: true,
        reports: key_id.into(),
        unwraps: [key_id.to_owned()].into(),
        forgotten: [].into(),
        state: Some(key_id.into()),
    };
    let mut host = Host {
        name: format!("h{at}"),
        minor,
        automatic_reload: false,
        reachable: true,
        gone: false,
        heard_at: None,
        on_disk: start.clone(),
        disk_by: Author::Operator { saw: 0 },
        strange_writers_on_disk: [].into(),
        loaded: Some(start.clone()),
        loaded_by: Author::Operator { saw: 0 },
        strange_writer: false,
        maybe_loaded: Some(vec![start.clone()]),
        epoch: 0,
        stopped_by_operator: false,
        plugins: vec![plugin(kms_a(), "a1"), plugin(kms_b(), "b1"), plugin(kms_v1(), "")],
        key_material: 0,
    };
    for plugin in &mut host.plugins {
        if !start.order().reads(&plugin.provider) {
            plugin.state = None;
        }
    }
    host
}

/// The world goes on: what happens by itself, and users.
pub(crate) fn happens(fleet: &mut Fleet, choices: &mut Choices) -> Result<(), String> {
    let at = choices.below(fleet.hosts.len());
    match choices.below(8) {
        0 => fleet.settle(at),
        1 => fleet.start(at),
        2 => fleet.reload(at),
        3 => fleet.poll(at),
        4 => fleet.adopt(at),
        5 => {
            let object = choices.below(fleet.objects.len());
            if fleet.hosts[at].is_ready() {
                fleet.rewrite(at, object);
            }
        }
        _ => {
            let object = choices.below(fleet.objects.len() + usize::from(fleet.objects.len() < 6));
            if fleet.hosts[at].is_ready() {
                fleet.write(at, object);
            }
        }
    }
    judge(fleet)
}

/// The same, and now and then something that should not happen.
pub(crate) fn trouble(
    fleet: &mut Fleet,
    operator: &mut Operator,
    choices: &mut Choices,
) -> Result<(), String> {
    for _ in 0..choices.below(5) {
        happens(fleet, choices)?;
    }
    if !choices.one_in(6) {
        return Ok(());
    }
    let at = choices.below(fleet.hosts.len());
    let name = fleet.hosts[at].name.clone();
    match choices.below(11) {
        0 | 1 => {
            fleet.say(|| format!("h{at} crashes"));
            fleet.stop(at);
        }
        2 => {
            // It runs on, or it does not.
            fleet.say(|| format!("h{at} is not reachable"));
            fleet.hosts[at].reachable = false;
            if choices.below(2) == 0 {
                fleet.stop(at);
            }
        }
        3 => {
            if !fleet.hosts[at].gone {
                fleet.say(|| format!("h{at} is reachable"));
                fleet.hosts[at].reachable = true;
            }
        }
        4 | 5 => {
            let host = &mut fleet.hosts[at];
            let which = choices.below(host.plugins.len());
            let plugin = &mut host.plugins[which];
            plugin.up = !plugin.up;
            let line = format!("h{at} plugin of {} is up: {}", plugin.provider, plugin.up);
            fleet.say(|| line);
        }
        6 => {
            let provider = kms_a();
            let plugin = fleet.hosts[at].plugin(&provider);
            plugin.unwraps.insert("a2".into());
            fleet.say(|| format!("h{at} plugin learns a2"));
        }
        7 => {
            let forgotten = "a1".to_owned();
            let plugin = fleet.hosts[at].plugin(&kms_a());
            if plugin.unwraps.remove(&forgotten) {
                plugin.forgotten.insert(forgotten);
                fleet.say(|| format!("h{at} plugin loses a1"));
            }
        }
        8 => {
            let old = strange_file(choices);
            let line = format!("h{at} file is overwritten with {old}");
            fleet.say(|| line);
            let host = &mut fleet.hosts[at];
            host.overwrite(old);
        }
        9 => {
            let old = strange_file(choices);
            if fleet.hosts[at].gone {
                return Ok(());
            }
            let line = format!("h{at} is built anew from an image with {old}");
            fleet.say(|| line);
            fleet.stop(at);
            let host = &mut fleet.hosts[at];
            host.overwrite(old);
            host.reachable = true;
        }
        _ if fleet.hosts.len() < 4 && choices.below(2) == 0 => {
            let (next, minor) = (fleet.hosts.len(), fleet.hosts[0].minor);
            let mut host = new_host(next, minor, Configuration::NoEncryption);
            host.overwrite(Configuration::NoEncryption);
            (host.loaded_by, host.strange_writer) = (Author::Stranger, true);
            // Whoever let it join ought to have given it the keys of the others: what the KMS encrypts with, what their plugins report, what
            // their API servers go on with until they look again, and what is stored.
            for provider in [kms_a(), kms_b()] {
                let theirs = fleet.hosts.iter_mut().flat_map(|it| {
                    let plugin = it.plugin(&provider);
                    [Some(plugin.reports.clone()), plugin.state.clone()]
                });
                let mut theirs: BTreeSet<String> = theirs.flatten().collect();
                let stored = fleet.objects.iter().filter(|it| it.stored_as.provider == provider);
                theirs.extend(stored.filter_map(|it| it.stored_as.key_id.clone()));
                if provider == kms_a() {
                    theirs.insert(fleet.primary.clone());
                }
                let plugin = host.plugin(&provider);
                theirs.retain(|it| !plugin.unwraps.contains(it));
                plugin.forgotten.extend(theirs);
            }
            fleet.hosts.push(host);
            fleet.say(|| format!("h{next} joins"));
        }
        _ => {
            fleet.say(|| format!("h{at} is gone for good"));
            fleet.stop(at);
            fleet.hosts[at].reachable = false;
            fleet.hosts[at].gone = true;
            if choices.below(2) == 0 {
                operator.removed.insert(name);
            }
        }
    }
    judge(fleet)
}

fn strange_file(choices: &mut Choices) -> Configuration {
    match choices.below(4) {
        0 | 1 => Configuration::NoEncryption,
        2 => order(Provider::Identity, &[]),
        _ => order(kms_a(), &[Provider::Identity]),
    }
}

/// The failures end. Some have consequences that only a person can end.
fn heal(fleet: &mut Fleet, operator: &mut Operator, choices: &mut Choices) {
    fleet.say(|| "all failures end".into());
    for host in &mut fleet.hosts {
        if host.gone && choices.below(4) != 1 {
            operator.removed.insert(host.name.clone());
        }
        host.reachable = !host.gone;
        for plugin in &mut host.plugins {
            plugin.up = true;
            let forgotten = std::mem::take(&mut plugin.forgotten);
            plugin.unwraps.extend(forgotten);
            if plugin.provider == kms_a() {
                plugin.unwraps.insert("a2".into());
            }
        }
    }
}

/// Every server reads what is stored and what any server writes, as far as its plugins work and nobody else wrote its file.
pub(crate) fn judge(fleet: &mut Fleet) -> Result<(), String> {
    forgive_strangers_once(fleet);
    let fleet = &*fleet;
    for reader in fleet.hosts.iter().filter(|it| it.loaded.is_some()) {
        let Author::Operator { saw } = reader.loaded_by else { continue };
        for (at, object) in fleet.objects.iter().enumerate() {
            // What a stranger's file brought in could not be known before the operator looked. Nor could such values before it heard
            // of their provider, which may be at a count long after the file is gone, or from a server that answers at last.
            let heard_at = fleet.only_known.as_ref().map(|it| it.get(&object.stored_as.provider));
            let unheard_of = heard_at == Some(None)
                || (object.by_stranger || object.by_unheard)
                    && heard_at.flatten().is_some_and(|it| *it > saw);
            let unforeseen = object.by_stranger && object.written_at > saw || unheard_of;
            if !unforeseen && !reader.should_read(&object.stored_as) {
                return Err(format!("{} cannot read object {at}, {}", reader.name, object.stored_as));
            }
        }
        for writer in fleet.hosts.iter().filter(|it| it.loaded.is_some()) {
            let Some(stored_as) = writer.writes().filter(|_| !writer.strange_writer) else {
                continue;
            };
            // Of a server that never answered nobody knows with what it began, and only the next switch of writers waits for it.
            let unheard_of =
                writer.loaded_by == Author::Operator { saw: 0 } && writer.heard_at.is_none_or(|it| it > saw);
            if !unheard_of && !reader.should_read(&stored_as) {
                return Err(format!(
                    "{} cannot read what {} would write, {stored_as}",
                    reader.name, writer.name
                ));
            }
        }
    }
    Ok(())
}

/// A stranger's choice of a writer that all read by now is as good as the operator's, and must stay so.
fn forgive_strangers_once(fleet: &mut Fleet) {
    for at in 0..fleet.hosts.len() {
        let host = &fleet.hosts[at];
        let mended = host.strange_writer && host.loaded_by != Author::Stranger;
        let Some(stored_as) = host.writes().filter(|_| mended) else { continue };
        if fleet.hosts.iter().all(|it| it.loaded.is_some() && it.should_read(&stored_as)) {
            fleet.hosts[at].strange_writer = false;
        }
    }
}

/// Done means done.
fn reached(fleet: &Fleet, operator: &Operator) -> Result<(), String> {
    let served: Vec<&Host> = fleet.hosts.iter().filter(|it| !operator.removed.contains(&it.name)).collect();
    let end = match &operator.goal {
        Goal::Enable { to, keep_identity } | Goal::Migrate { to, keep_identity } => {
            Some(order(to.clone(), if *keep_identity { &[Provider::Identity] } else { &[] }))
        }
        Goal::Rotate { .. } => None,
        Goal::Disable => Some(Configuration::NoEncryption),
        Goal::Undo { to } => Some(to.clone()),
    };
    for host in &served {
        if let Some(end) = &end
            && (host.loaded.as_ref() != Some(end) || host.on_disk != *end)
        {
            return Err(format!("done, and {} uses {:?}", host.name, host.loaded));
        }
        let writes = host.writes();
        let writer_is_right = writes.as_ref().is_some_and(|it| it.provider == operator.goal.writer());
        if !writer_is_right {
            return Err(format!("done, and {} writes {writes:?}", host.name));
        }
        for (at, object) in fleet.objects.iter().enumerate() {
            if !host.reads(object) {
                return Err(format!("done, and {} cannot read object {at}, {}", host.name, object.stored_as));
            }
        }
    }
    is_stored_as_asked(fleet, &operator.goal, |_| true)
}

fn is_stored_as_asked(fleet: &Fleet, goal: &Goal, which: impl Fn(&Object) -> bool) -> Result<(), String> {
    for (at, object) in fleet.objects.iter().enumerate().filter(|(_, it)| which(it)) {
        let stored_as = &object.stored_as;
        let right = match goal {
            Goal::Undo { .. } => true,
            Goal::Rotate { to, .. } => stored_as.key_id.as_ref() == Some(to),
            goal => stored_as.provider == goal.writer(),
        };
        if !right {
            return Err(format!("done, and object {at} is stored as {stored_as}"));
        }
    }
    Ok(())
}

/// What only a person can settle.
fn has_a_cause(fleet: &Fleet, operator: &Operator) -> bool {
    let mixed = || {
        let mut minors = fleet.hosts.iter().filter(|it| it.reachable).map(|it| it.minor >= 29);
        let first = minors.next();
        minors.any(|it| Some(it) != first)
    };
    let undeclared = fleet.hosts.iter().any(|it| it.gone && !operator.removed.contains(&it.name));
    let nobody_left = fleet.hosts.iter().all(|it| it.gone);
    let odd_key = fleet.hosts.iter().any(|it| it.key_material != 0);
    let undo = matches!(operator.goal, Goal::Undo { .. });
    // A stranger's files can leave a rotation without a server that writes with its provider.
    let writerless = matches!(operator.goal, Goal::Rotate { .. })
        && fleet.hosts.iter().all(|it| it.gone || it.on_disk.order().writer != kms_a());
    let unreadable = fleet
        .objects
        .iter()
        .any(|object| fleet.hosts.iter().filter(|it| it.is_ready()).all(|it| !it.reads(object)));
    // What a stranger replaced may be all that reads what nobody can count.
    let overwritten = !operator.etcd_access && fleet.hosts.iter().any(|it| it.maybe_loaded.is_none());
    mixed()
        || overwritten
        || undeclared
        || nobody_left
        || odd_key
        || undo
        || writerless
        || unreadable
        || operator.kms_inside
}
