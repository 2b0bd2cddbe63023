//! Random fleets and failures: each server can always read what any writes, and every plan ends.

mod choices;
mod flaws;
mod fleet;
mod operator;
mod run;

use choices::{Choices, shrunk};
use flaws::Flaw;
use run::{Outcome, run};

/// How many fleets the quick run has. `KEYSTEAD_FLEETS` asks for more, `KEYSTEAD_FIRST_FLEET` for others.
const FLEETS: u64 = 2_000;

#[test]
fn every_server_reads_what_any_writes_and_every_plan_ends() {
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |it| it.parse().expect(name));
    let first = number("KEYSTEAD_FIRST_FLEET", 0);
    let (mut done, mut blocked) = (0, 0);
    for seed in first..first + number("KEYSTEAD_FLEETS", FLEETS) {
        let mut choices = Choices::seeded(seed);
        match run(&mut choices, None) {
            Ok(Outcome::Done) => done += 1,
            Ok(Outcome::Blocked) => blocked += 1,
            Err(_) => panic!("fleet {seed}:\n{}", smallest(choices.record(), None)),
        }
    }
    println!("{done} plans ended at their goal, {blocked} with a reason");
    assert!(done > 3 * blocked, "only {done} of {} plans reached their goal", done + blocked);
}

/// The story of the smallest run that fails.
fn smallest(record: Vec<u32>, flaw: Option<Flaw>) -> String {
    let failure = |numbers: &[u32]| run(&mut Choices::replayed(numbers.to_vec()), flaw).err();
    let numbers = shrunk(record, |it| failure(it).is_some());
    failure(&numbers).unwrap_or_default()
}
