//! Which changes a key file allows.

use keystead_crypto::SystemRandom;
use keystead_provider_local::{DiskError, EditError, KeyFile, create, edit, load, store};
use proptest::prelude::*;

use crate::fixed::{NOW, Place, fresh, numbers, of_format_1, three_versions};

#[derive(Clone, Copy, Debug)]
enum Change {
    Add,
    Promote(u32),
    Remove(u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Add),
        (0..30_u32).prop_map(Change::Promote),
        (0..30_u32).prop_map(Change::Remove)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_are_never_used_again_and_the_primary_stays(
        changes in prop::collection::vec(change(), 0..60),
    ) {
        let mut file = fresh();
        let mut given = vec![1];
        for change in changes {
            let (before, activation, primary) = (numbers(&file), file.activation(), file.primary());
            let done = match change {
                Change::Add => file.add(NOW, &SystemRandom).map(|number| {
                    assert!(given.iter().all(|earlier| *earlier < number), "{number} after {given:?}");
                    given.push(number);
                }),
                Change::Promote(number) => file.promote(number),
                Change::Remove(number) => file.remove(number),
            };
            prop_assert!(numbers(&file).contains(&file.primary()), "the primary is there");
            if done.is_err() {
                prop_assert_eq!((numbers(&file), file.activation(), file.primary()), (before, activation, primary));
            } else if let Change::Promote(number) = change {
                prop_assert_eq!((file.activation(), file.primary()), (activation + 1, number));
            } else {
                prop_assert_eq!((file.activation(), file.primary()), (activation, primary));
            }
            // What is on disk between two commands must not forget the numbers either.
            file = KeyFile::parse(file.print().as_bytes()).expect("parsed");
        }
    }
}

#[test]
fn number_of_a_removed_version_is_not_given_again() {
    let mut file = three_versions();
    file.remove(3).expect("removed");
    assert_eq!(file.add(NOW, &SystemRandom), Ok(4));
    assert_eq!(numbers(&file), [1, 2, 4]);
}

#[test]
fn going_back_to_an_earlier_version_counts() {
    let mut file = three_versions();
    assert_eq!((file.primary(), file.activation()), (2, 2));
    file.promote(1).expect("promoted");
    file.promote(2).expect("promoted back");
    assert_eq!((file.primary(), file.activation()), (2, 4));
    assert_eq!(file.promote(2), Err(EditError::AlreadyPrimary(2)));
    assert_eq!(file.activation(), 4);
}

#[test]
fn primary_is_not_removed() {
    let mut file = three_versions();
    assert_eq!(file.remove(2), Err(EditError::IsPrimary(2)));
    assert_eq!(numbers(&file), [1, 2, 3]);
}

#[test]
fn version_that_is_not_there_is_named_with_those_that_are() {
    let mut file = three_versions();
    let expected = EditError::NoSuchVersion { given: 9, known: "1, 2, 3".to_owned() };
    assert_eq!(file.promote(9), Err(expected));
    assert!(matches!(file.remove(9), Err(EditError::NoSuchVersion { .. })));
}

#[test]
fn full_file_takes_a_new_version_after_one_is_removed() {
    let mut file = fresh();
    for _ in 0..255 {
        file.add(NOW, &SystemRandom).expect("added");
    }
    assert_eq!(file.add(NOW, &SystemRandom), Err(EditError::Full));
    file.remove(200).expect("removed");
    assert_eq!(file.add(NOW, &SystemRandom), Ok(257));
}

#[test]
fn time_must_look_like_one() {
    let mut file = fresh();
    for time in
        ["", "2026-01-31", "2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00Z\n", "2026-01-31 12:00:00Z"]
    {
        assert_eq!(file.add(time, &SystemRandom), Err(EditError::Time(time.to_owned())));
    }
}

#[test]
fn refused_edit_leaves_the_file_as_it_was() {
    let place = Place::with_key_file();
    let before = std::fs::read(place.key_file()).expect("read");
    let refused = edit(&place.key_file(), |file| {
        file.add(NOW, &SystemRandom)?;
        file.remove(1)
    });
    assert!(matches!(refused, Err(DiskError::Edit { source: EditError::IsPrimary(1), .. })));
    assert_eq!(std::fs::read(place.key_file()).expect("read"), before);
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn create_does_not_overwrite() {
    let place = Place::with_key_file();
    let before = std::fs::read(place.key_file()).expect("read");
    assert!(matches!(create(&place.key_file(), &fresh()), Err(DiskError::Exists(_))));
    assert_eq!(std::fs::read(place.key_file()).expect("read"), before);
}

#[test]
fn store_takes_a_later_state_and_loses_nothing() {
    let place = Place::new();
    let old = three_versions();
    let again = |file: &KeyFile| KeyFile::parse(file.print().as_bytes()).expect("parsed");
    let refusal = |file: &KeyFile| match store(&place.key_file(), again(file)) {
        Err(DiskError::Edit { source, .. }) => source,
        other => panic!("not refused: {other:?}"),
    };
    store(&place.key_file(), again(&old)).expect("there was none");

    let mut without_one = again(&old);
    without_one.remove(1).expect("removed");
    assert_eq!(refusal(&without_one), EditError::WouldLose(1));

    let given = fresh();
    assert_eq!(refusal(&given), EditError::OtherKey { have: old.id(), given: given.id() });

    let mut later = again(&old);
    later.add(NOW, &SystemRandom).expect("added");
    later.promote(4).expect("promoted");
    store(&place.key_file(), again(&later)).expect("a later state");
    assert_eq!(refusal(&old), EditError::Older { have: 3, given: 2 });

    // Another host also made a version 4.
    let mut other_host = again(&old);
    other_host.add(NOW, &SystemRandom).expect("added");
    other_host.promote(4).expect("promoted");
    assert_eq!(refusal(&other_host), EditError::WouldLose(4));

    let stored = load(&place.key_file()).expect("loaded");
    assert_eq!(stored.versions(), later.versions());
}

/// Two hosts add a version each under one number; one of them removes its own and is then given the other's.
#[test]
fn another_key_never_takes_the_number_of_a_removed_one() {
    let place = Place::with_key_file();
    let copy = load(&place.key_file()).expect("loaded");
    let add = |file: &mut KeyFile| file.add(NOW, &SystemRandom);
    assert!(matches!(edit(&place.key_file(), add), Ok(2)));
    let removed = load(&place.key_file()).expect("loaded");
    edit(&place.key_file(), |file| file.remove(2)).expect("removed");

    let mut elsewhere = copy;
    assert_eq!(add(&mut elsewhere), Ok(2));
    let refused = store(&place.key_file(), elsewhere);
    assert!(matches!(refused, Err(DiskError::Edit { source: EditError::UsedAgain(2), .. })), "{refused:?}");

    // A copy of before undoes the removal: it is the same key.
    store(&place.key_file(), removed).expect("the same key");
    assert_eq!(numbers(&load(&place.key_file()).expect("loaded")), [1, 2]);
}

/// What is known of removed versions is kept when a file comes from a host that does not know.
#[test]
fn removed_versions_are_remembered_over_an_import() {
    let place = Place::with_key_file();
    edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("added");
    edit(&place.key_file(), |file| file.remove(2)).expect("removed");
    let unknowing = of_format_1(&load(&place.key_file()).expect("loaded"));
    assert!(!unknowing.print().contains("removed 2"));
    store(&place.key_file(), unknowing).expect("imported");
    let text = load(&place.key_file()).expect("loaded").print();
    assert!(text.contains("\nremoved 2 "));
}
