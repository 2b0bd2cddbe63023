//! Whoever changes a log is found, whatever they change. A log of 1,000 records, each of which is changed in turn.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;

use keystead_audit::{AuditLog, AuditSettings, Head, ProblemKind, VerifyError, verify};

use crate::scene;

const RECORDS: usize = 1000;

/// A log, as the lines of its segments.
struct Log {
    segments: Vec<(PathBuf, Vec<Vec<u8>>)>,
    head: Head,
    _dir: tempfile::TempDir,
}

impl Log {
    fn make() -> Self {
        let dir = scene::directory();
        let log = AuditLog::open(dir.path(), AuditSettings { segment_bytes: 30_000, ..scene::settings() })
            .expect("opens");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        // Many at once, because one sync is enough for them; not all, because a group stays in one segment.
        for ids in (0..RECORDS).collect::<Vec<_>>().chunks(20) {
            let appends: Vec<_> = ids.iter().map(|id| log.append(&scene::event(id))).collect();
            for append in appends {
                runtime.block_on(append).expect("written");
            }
        }
        log.close();
        // After the last footer, which comes after the last answer.
        let head = verify(dir.path(), None).expect("good").head;
        let lines = |path: &Path| {
            let bytes = fs::read(path).expect("readable");
            bytes.split_inclusive(|it| *it == b'\n').map(<[u8]>::to_vec).collect()
        };
        let segments =
            scene::segments(dir.path()).into_iter().map(|path| (path.clone(), lines(&path))).collect();
        Self { segments, head, _dir: dir }
    }

    /// All places of records: segment and line.
    fn places(&self) -> Vec<(usize, usize)> {
        let lines = self.segments.iter().enumerate();
        lines.flat_map(|(segment, (_, lines))| (0..lines.len()).map(move |line| (segment, line))).collect()
    }

    /// Writes a changed copy for each place, and says for which of them the problem was not found where it is.
    fn missed(&self, change: impl Fn(&mut Vec<Vec<u8>>, usize) + Sync) -> Vec<(usize, usize)> {
        let places = self.places();
        let half = places.len() / 2;
        thread::scope(|scope| {
            let halves = [0..half, half..places.len()].map(|range: Range<usize>| {
                let (places, change) = (&places[range], &change);
                scope.spawn(move || self.missed_of(places, change))
            });
            halves.into_iter().flat_map(|it| it.join().expect("no panic")).collect()
        })
    }

    fn missed_of(
        &self,
        places: &[(usize, usize)],
        change: impl Fn(&mut Vec<Vec<u8>>, usize),
    ) -> Vec<(usize, usize)> {
        let dir = scene::directory();
        let copy = |path: &Path| dir.path().join(path.file_name().expect("a name"));
        for (path, lines) in &self.segments {
            fs::write(copy(path), lines.concat()).expect("writable");
        }
        verify(dir.path(), Some(&self.head)).expect("the copy is good");
        let mut missed = Vec::new();
        for &(segment, line) in places {
            let (path, lines) = &self.segments[segment];
            let mut changed = lines.clone();
            change(&mut changed, line);
            fs::write(copy(path), changed.concat()).expect("writable");
            let found = verify(dir.path(), Some(&self.head));
            fs::write(copy(path), lines.concat()).expect("writable");
            // On the line itself, on the next, or, past the end of a segment, on the first of the one after it.
            let near = match found {
                Err(VerifyError::Problems(found)) => {
                    let problem = &found.problems[0];
                    let after = self.segments.get(segment + 1).map(|(path, _)| copy(path));
                    let here = problem.path == copy(path) && problem.line.abs_diff(line as u64 + 1) <= 1;
                    here || (Some(&problem.path) == after.as_ref() && problem.line == 1)
                }
                _ => false,
            };
            if !near {
                missed.push((segment, line));
            }
        }
        missed
    }
}

#[test]
fn every_record_that_is_altered_dropped_moved_or_repeated_is_found() {
    let log = Log::make();
    assert!(log.segments.len() > 3, "{}", log.segments.len());
    let places = log.places();
    assert!(places.len() >= RECORDS);

    // One byte in a place that is another for each record; what the byte becomes is a digit or a letter, as in a name.
    let altered = log.missed(|lines, at| {
        let line = &mut lines[at];
        let place = at * 7919 % (line.len() - 1);
        line[place] = if line[place] == b'x' { b'7' } else { b'x' };
    });
    assert_eq!(altered, []);
    assert_eq!(log.missed(|lines, at| drop(lines.remove(at))), []);
    assert_eq!(log.missed(|lines, at| lines.insert(at, lines[at].clone())), []);
    let swapped = log.missed(|lines, at| {
        let other = if at + 1 < lines.len() { at + 1 } else { at - 1 };
        lines.swap(at, other);
    });
    assert_eq!(swapped, []);
}

#[test]
fn a_problem_says_what_it_is() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=4);
    let early = log.head();
    scene::append(&log, 5..=6);
    let head = log.head();
    log.close();
    let segment = &scene::segments(dir.path())[0];
    let good = fs::read(segment).expect("readable");
    let lines: Vec<&[u8]> = good.split_inclusive(|it| *it == b'\n').collect();
    let problem = |bytes: Vec<u8>, kept: Option<&Head>| {
        fs::write(segment, bytes).expect("writable");
        match verify(dir.path(), kept).expect_err("there is a problem") {
            VerifyError::Problems(found) => {
                let text = found.to_string();
                let problem = found.problems.into_iter().next().expect("one at least");
                assert!(text.starts_with(&format!("{}:{}: ", segment.display(), problem.line)), "{text}");
                (problem.line, problem.kind)
            }
            other => panic!("{other}"),
        }
    };
    assert!(matches!(problem([b"x", &good[..]].concat(), None), (1, ProblemKind::Altered(_))));
    let gone = [&lines[..1], &lines[3..]].concat().concat();
    assert_eq!(problem(gone, None), (2, ProblemKind::Missing { first: 2, last: 3 }));
    let twice = [&lines[..3], &lines[2..]].concat().concat();
    assert_eq!(problem(twice, None), (4, ProblemKind::Repeated { sequence: 3 }));
    let cut = lines[..5].concat();
    assert_eq!(problem(cut.clone(), Some(&head)), (5, ProblemKind::Truncated { last: 5, kept: 6 }));
    // Without a head nobody can know.
    fs::write(segment, &cut).expect("writable");
    assert_eq!(verify(dir.path(), None).expect("good in itself").records, 5);
    assert!(verify(dir.path(), Some(&early)).expect("the early head is there").head_found);
    fs::remove_file(segment).expect("removable");
    match verify(dir.path(), Some(&head)).expect_err("nothing is left") {
        VerifyError::Problems(found) => {
            assert_eq!(found.problems[0].kind, ProblemKind::Truncated { last: 0, kept: 6 })
        }
        other => panic!("{other}"),
    }

    // Somebody writes a whole new chain, good in itself.
    let forged = scene::directory();
    let log = scene::open(forged.path());
    scene::append(&log, [1, 2, 3, 4, 7, 6, 8]);
    log.close();
    let forged = fs::read(&scene::segments(forged.path())[0]).expect("readable");
    let forged_lines: Vec<&[u8]> = forged.split_inclusive(|it| *it == b'\n').collect();
    assert_eq!(problem(forged.clone(), Some(&head)), (6, ProblemKind::Rewritten { kept: 6 }));
    // Or exchanges one record for another that is good in itself.
    let mixed = [&lines[..4], &forged_lines[4..5], &lines[5..]].concat().concat();
    assert_eq!(problem(mixed, None), (6, ProblemKind::Replaced));
}

#[test]
fn a_record_that_is_being_written_is_no_problem() {
    let dir = scene::directory();
    let log = scene::open(dir.path());
    scene::append(&log, 1..=2);
    log.close();
    let segment = &scene::segments(dir.path())[0];
    let mut bytes = fs::read(segment).expect("readable");
    bytes.extend_from_slice(b"{\"sequence\":3,");
    fs::write(segment, bytes).expect("writable");
    let verified = verify(dir.path(), None).expect("good");
    assert_eq!((verified.records, verified.first, verified.head.sequence, verified.torn), (2, 1, 2, 14));
    assert_eq!(verified.head.time, scene::time());
}

#[test]
fn a_log_without_records_is_good() {
    let dir = scene::directory();
    let verified = verify(dir.path(), Some(&Head::NONE)).expect("good");
    assert_eq!((verified.records, verified.first, verified.head_found), (0, 0, true));
}
