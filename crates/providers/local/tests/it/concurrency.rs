//! Several commands and readers at once, and a crash in between.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use keystead_crypto::SystemRandom;
use keystead_provider_local::{DiskError, create, edit, load};

use crate::fixed::{NOW, Place, fresh, mode, numbers};

#[test]
fn edits_by_16_threads_lose_nothing() {
    let place = Place::with_key_file();
    let path = &place.key_file();
    let mut answered: Vec<u32> = thread::scope(|scope| {
        let add = || edit(path, |file| file.add(NOW, &SystemRandom)).expect("edited");
        let threads: Vec<_> =
            (0..16).map(|_| scope.spawn(move || (0..4).map(|_| add()).collect::<Vec<u32>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    answered.sort_unstable();
    assert_eq!(answered, (2..=65).collect::<Vec<u32>>(), "each edit has a number of its own");
    assert_eq!(numbers(&load(path).expect("loaded")), (1..=65).collect::<Vec<u32>>());
    assert_eq!(place.others(), [""; 0], "nothing is left behind");
}

#[test]
fn of_16_creations_one_wins() {
    let place = Place::new();
    let path = &place.key_file();
    let winners: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let file = fresh();
                    match create(path, &file) {
                        Ok(()) => Some(file.id()),
                        Err(DiskError::Exists(_)) => None,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(winners, [load(path).expect("loaded").id()]);
}

#[test]
fn reader_sees_a_good_file_during_200_edits() {
    let place = Place::with_key_file();
    let path = &place.key_file();
    edit(path, |file| file.add(NOW, &SystemRandom)).expect("edited");
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let edits = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut activation = 0;
            while !done.load(Ordering::SeqCst) {
                let file = load(path).expect("a good file at every moment");
                assert!(file.activation() >= activation, "never an older one");
                activation = file.activation();
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        // On a busy machine the reader may get its turn late: it is waited for, with edits.
        let mut edits = 0;
        while (edits < 200 || reads.load(Ordering::SeqCst) < 200) && !reader.is_finished() {
            let promoted = edit(path, |file| file.promote(2 - edits % 2));
            done.store(promoted.is_err(), Ordering::SeqCst);
            promoted.expect("edited");
            edits += 1;
        }
        done.store(true, Ordering::SeqCst);
        edits
    });
    assert_eq!(load(path).expect("loaded").activation(), 1 + edits);
}

/// A crash between write and rename leaves the temporary file, whole or half, and the lock file without a lock.
#[test]
fn crash_before_the_rename_leaves_the_old_file() {
    let place = Place::with_key_file();
    let before = load(&place.key_file()).expect("loaded");
    let half = before.print()[..100].to_owned();
    std::fs::write(place.path(".keystead-crashed"), half).expect("written");
    assert!(place.path("kek.lock").exists());

    assert_eq!(load(&place.key_file()).expect("loaded").versions(), before.versions());
    assert_eq!(edit(&place.key_file(), |file| file.add(NOW, &SystemRandom)).expect("edited"), 2);
    assert_eq!(numbers(&load(&place.key_file()).expect("loaded")), [1, 2]);
    assert_eq!(mode(&place.key_file()), 0o600);
    assert_eq!(place.others(), [".keystead-crashed"], "somebody else's file is left alone");
}

/// An edit that panics is a crash under the lock.
#[test]
fn crash_within_an_edit_leaves_the_old_file_and_no_lock() {
    let place = Place::with_key_file();
    let path = place.key_file();
    let crashed = thread::spawn({
        let path = path.clone();
        move || edit(&path, |file| -> Result<(), _> { panic!("crash with {} versions", numbers(file).len()) })
    });
    assert!(crashed.join().is_err());
    assert_eq!(numbers(&load(&path).expect("loaded")), [1]);
    assert_eq!(edit(&path, |file| file.add(NOW, &SystemRandom)).expect("the lock is free"), 2);
    assert_eq!(place.others(), [""; 0]);
}
