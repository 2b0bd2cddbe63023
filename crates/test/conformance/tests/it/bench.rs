//! The load generator, against the bare tonic server in a process of its own.

use std::process::Command;
use std::time::Duration;

use keystead_conformance::Socket;
use keystead_conformance::bench::{BenchError, Options, Target, bare_tonic, run};

#[test]
fn figures_are_measured_side_by_side() {
    let bare = start();
    let target =
        |name: &str| Target { name: name.to_owned(), socket: Socket::Path(bare.socket().to_owned()) };
    for v1 in [false, true] {
        let mut options = Options::new(vec![target("one"), target("other")]);
        (options.v1, options.clients, options.rounds) = (v1, vec![1, 4], 3);
        options.time = Duration::from_millis(150);
        let mut heard = 0;
        let report = run(&options, |_| heard += 1).unwrap();
        assert_eq!((heard, report.cells.len()), (12, 12));
        for cell in &report.cells {
            assert!(cell.requests > 3 && cell.rate > 0.0, "{report}");
            assert!(cell.slowest_rate <= cell.rate && cell.rate <= cell.fastest_rate, "{report}");
            assert!(
                cell.p50_us > 1.0 && cell.p50_us <= cell.p99_us && cell.p99_us <= cell.p999_us,
                "{report}"
            );
            assert!(cell.cpu_us.is_some(), "{report}");
            assert_eq!(report.beside_last(cell).is_some(), cell.target == "one", "{report}");
        }
        assert!(report.targets.iter().all(|it| it.resident_kib > Some(500)), "{report}");
        let text = report.to_string();
        assert!(text.contains("of other") && text.contains("encrypt"), "{text}");
    }
}

#[test]
fn a_target_that_refuses_or_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let socket = Socket::Path(dir.path().join("none.sock"));
    let error = run(&Options::new(vec![Target { name: "gone".to_owned(), socket }]), |_| {}).unwrap_err();
    assert!(matches!(&error, BenchError::Target { target, .. } if target == "gone"), "{error}");
}

#[test]
fn a_server_that_does_not_start_is_an_error() {
    let error = bare_tonic::Running::start(Command::new("false")).unwrap_err();
    assert!(error.to_string().contains("ended"), "{error}");
}

fn start() -> bare_tonic::Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // The harness takes the socket for one more filter, which matches no test.
    command.args(["--exact", "bench::serves_when_asked"]).env(SERVE, "1");
    bare_tonic::Running::start(command).unwrap()
}

/// Not a test by itself, and instantly over, unless `start` runs it.
#[test]
fn serves_when_asked() {
    if std::env::var_os(SERVE).is_some() {
        bare_tonic::serve(std::env::args().next_back().unwrap().as_ref()).unwrap();
    }
}

const SERVE: &str = "KEYSTEAD_CONFORMANCE_BARE_TONIC";
