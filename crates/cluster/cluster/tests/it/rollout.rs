//! Random fleets and failures: each server can always read what any writes, and every plan ends.

use std::ops::Range;

mod choices;
mod flaws;
mod fleet;
mod operator;
mod run;
mod single_steps;

use choices::{Choices, shrunk};
use flaws::Flaw;
use run::{ENDLESS, Outcome, run};
use single_steps::{Allowed, single_steps};

/// How many fleets the quick run has. `KEYSTEAD_FLEETS` asks for more, `KEYSTEAD_FIRST_FLEET` for others.
const FLEETS: u64 = 2_000;

#[test]
fn every_server_reads_what_any_writes_and_every_plan_ends() {
    let (mut done, mut blocked): (u64, u64) = (0, 0);
    for seed in fleets() {
        let mut choices = Choices::seeded(seed);
        match run(&mut choices, None) {
            Ok(Outcome::Done) => done += 1,
            Ok(Outcome::Blocked) => blocked += 1,
            Err(broken) => {
                panic!("fleet {seed}:\n{}", smallest(choices.record(), broken.rule == ENDLESS))
            }
        }
    }
    println!("{done} plans ended at their goal, {blocked} with a reason");
    // Of a few fleets all may have a cause.
    let few = done + blocked < FLEETS;
    assert!(few || done > 3 * blocked, "only {done} of {} plans reached their goal", done + blocked);
}

#[test]
fn no_single_step_that_an_agent_allows_breaks_the_rule() {
    let mut allowed = Allowed::default();
    for seed in fleets() {
        let mut choices = Choices::seeded(seed);
        if single_steps(&mut choices, &mut allowed).is_err() {
            let again = |numbers: &[u32]| {
                single_steps(&mut Choices::replayed(numbers.to_vec()), &mut Allowed::default()).err()
            };
            let numbers = shrunk(choices.record(), |it| again(it).is_some());
            let story = again(&numbers).map_or_else(String::new, |it| format!("{}\n{}", it.story, it.rule));
            panic!("fleet {seed}:\n{story}");
        }
    }
    println!("{allowed:?}");
    let few = fleets().count() < 100;
    assert!(few || allowed.fewest() >= 20, "some steps are hardly ever allowed: {allowed:?}");
}

fn fleets() -> Range<u64> {
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |it| it.parse().expect(name));
    let first = number("KEYSTEAD_FIRST_FLEET", 0);
    first..first + number("KEYSTEAD_FLEETS", FLEETS)
}

/// Within so many fleets a flaw must show.
const UNTIL_FOUND: u64 = 4_000;

#[test]
fn every_flaw_of_a_planner_is_found() {
    for flaw in Flaw::ALL {
        // That it never ends shows soon with any flaw. What it would do to a cluster is the point.
        let harm = |seed| run(&mut Choices::seeded(seed), Some(flaw)).err().filter(|it| it.rule != ENDLESS);
        let found = (0..UNTIL_FOUND).find_map(|seed| Some((seed, harm(seed)?.rule)));
        println!("{flaw:?}: {found:?}");
        assert!(found.is_some(), "{flaw:?} is not found in {UNTIL_FOUND} fleets");
    }
}

/// The story of the smallest run that breaks the same rule.
fn smallest(record: Vec<u32>, endless: bool) -> String {
    let broken = |numbers: &[u32]| {
        run(&mut Choices::replayed(numbers.to_vec()), None).err().filter(|it| (it.rule == ENDLESS) == endless)
    };
    let numbers = shrunk(record, |it| broken(it).is_some());
    broken(&numbers).map_or_else(String::new, |it| format!("{}\n{}", it.story, it.rule))
}
