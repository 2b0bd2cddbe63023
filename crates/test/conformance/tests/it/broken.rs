//! Broken plugins, and the checks that catch them: these and no others.

use std::time::{Duration, Instant};

use keystead_conformance::{Check, Options, Report, Socket, Verdict, checks, select};

use crate::fault::Fault;
use crate::process::{Reaper, hooks};
use crate::serve::Served;
use crate::{check, ids, options, with_hooks};

/// One test for each fault. `fails` and `warns` are all the findings that are neither pass nor skip.
macro_rules! caught {
    ($($name:ident: $fault:ident fails [$($fail:literal),*] warns [$($warn:literal),*];)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let report = report(Fault::$fault).await;
            let (fails, warns): (&[&str], &[&str]) = (&[$($fail),*], &[$($warn),*]);
            assert_eq!(ids(&report, Verdict::Fail), fails.iter().copied().collect(), "{report}");
            assert_eq!(ids(&report, Verdict::Warn), warns.iter().copied().collect(), "{report}");
        }
    )*};
}

caught! {
    status_version: StatusVersion fails ["v2-status-version"] warns [];
    status_version_alternates: StatusVersionAlternates fails ["v2-status-version-constant"] warns [];
    status_unhealthy: StatusUnhealthy fails ["v2-status-healthz"] warns [];
    status_key_id_empty: StatusKeyIdEmpty fails ["v2-status-key-id-size"] warns [];
    status_key_id_long: StatusKeyIdLong fails ["v2-status-key-id-size"] warns ["v2-encrypt-overhead"];
    status_key_id_drifts: StatusKeyIdDrifts fails ["v2-status-key-id-stable"] warns [];
    status_key_id_other: StatusKeyIdOther fails ["v2-status-equals-encrypt"] warns [];
    encrypt_empty_ciphertext: EncryptEmptyCiphertext fails ["v2-encrypt-roundtrip", "v2-encrypt-ciphertext-size"] warns [];
    encrypt_long_ciphertext: EncryptLongCiphertext fails ["v2-encrypt-ciphertext-size"] warns ["v2-encrypt-overhead"];
    encrypt_huge_annotations: EncryptHugeAnnotations fails ["v2-encrypt-annotations-size"] warns ["v2-encrypt-overhead"];
    encrypt_bad_annotation: EncryptBadAnnotation fails ["v2-encrypt-annotations-keys"] warns [];
    encrypt_same_nonce: EncryptSameNonce fails ["v2-encrypt-unique"] warns [];
    encrypt_shows_plaintext: EncryptShowsPlaintext fails ["v2-encrypt-no-plaintext"] warns [];
    encrypt_only_32: EncryptOnly32 fails [] warns ["v2-encrypt-lengths"];
    encrypt_uid_matters: EncryptUidMatters fails ["v2-encrypt-uid"] warns [];
    encrypt_huge: EncryptHuge fails ["v2-encrypt-oversized"] warns [];
    encrypt_few_at_once: EncryptFewAtOnce fails ["v2-load-encrypt"] warns [];
    decrypt_wrong_bytes: DecryptWrongBytes fails ["v2-encrypt-roundtrip"] warns [];
    decrypt_ignores_key_id: DecryptIgnoresKeyId fails ["v2-decrypt-wrong-key-id", "v2-decrypt-empty-key-id"] warns [];
    decrypt_empty_key_id_is_current: DecryptEmptyKeyIdIsCurrent fails ["v2-decrypt-empty-key-id"] warns [];
    decrypt_caches_by_ciphertext: DecryptCachesByCiphertext fails ["v2-decrypt-wrong-key-id", "v2-decrypt-empty-key-id"] warns ["v2-decrypt-extra-annotations"];
    decrypt_caches_by_head: DecryptCachesByHead fails ["v2-decrypt-bit-flips", "v2-decrypt-truncation", "v2-decrypt-extended", "v2-decrypt-spliced"] warns [];
    decrypt_caches_cut: DecryptCachesCut fails ["v2-decrypt-truncation"] warns [];
    decrypt_ignores_annotations: DecryptIgnoresAnnotations fails ["v2-decrypt-missing-annotations", "v2-decrypt-altered-annotations"] warns ["v2-decrypt-extra-annotations"];
    decrypt_annotations_unread: DecryptAnnotationsUnread fails ["v2-decrypt-altered-annotations"] warns ["v2-decrypt-extra-annotations"];
    decrypt_not_authenticated: DecryptNotAuthenticated fails ["v2-decrypt-bit-flips", "v2-decrypt-truncation", "v2-decrypt-extended", "v2-decrypt-spliced"] warns ["v2-decrypt-extra-annotations"];
    decrypt_ignores_one_bit: DecryptIgnoresOneBit fails ["v2-decrypt-bit-flips"] warns [];
    decrypt_ignores_tail: DecryptIgnoresTail fails ["v2-decrypt-extended"] warns [];
    decrypt_panics_on_empty: DecryptPanicsOnEmpty fails ["v2-decrypt-empty"] warns [];
    decrypt_empty_is_empty: DecryptEmptyIsEmpty fails ["v2-decrypt-empty"] warns [];
    decrypt_passes_unknown: DecryptPassesUnknown fails ["v2-decrypt-foreign"] warns [];
    decrypt_guesses_long: DecryptGuessesLong fails ["v2-decrypt-random", "v2-decrypt-foreign"] warns [];
    decrypt_hangs_on_large: DecryptHangsOnLarge fails ["v2-decrypt-oversized"] warns [];
    decrypt_few_at_once: DecryptFewAtOnce fails ["v2-load-decrypt-same", "v2-load-decrypt-different"] warns [];
    decrypt_mixes_answers: DecryptMixesAnswers fails ["v2-load-decrypt-different"] warns [];
    v1_version: V1Version fails ["v1-version"] warns [];
    v1_no_runtime: V1NoRuntime fails [] warns ["v1-version-runtime"];
    v1_only_32: V1Only32 fails ["v1-encrypt-ping"] warns [];
    v1_fails: V1Fails fails ["v1-encrypt-ping", "v1-encrypt-roundtrip", "v1-time"] warns [];
    v1_long_cipher: V1LongCipher fails ["v1-encrypt-cipher-size"] warns [];
    v1_same_nonce: V1SameNonce fails ["v1-encrypt-unique"] warns [];
    v1_shows_plaintext: V1ShowsPlaintext fails ["v1-encrypt-no-plaintext"] warns [];
    v1_ignores_one_bit: V1IgnoresOneBit fails ["v1-decrypt-bit-flips"] warns [];
    v1_cut: V1Cut fails ["v1-decrypt-truncation"] warns [];
    v1_panics_on_empty: V1PanicsOnEmpty fails ["v1-decrypt-junk"] warns [];
    v1_huge: V1Huge fails ["v1-encrypt-oversized"] warns [];
    v1_mixes_answers: V1MixesAnswers fails ["v1-load"] warns [];
    socket_mode_0666: SocketMode0666 fails ["socket-mode"] warns [];
    socket_mode_0755: SocketMode0755 fails [] warns ["socket-mode"];
    socket_folder_open: SocketFolderOpen fails ["socket-directory"] warns [];
    socket_few_connections: SocketFewConnections fails ["socket-many-connections"] warns [];
    socket_serves_in_turn: SocketServesInTurn fails ["socket-odd-connections"] warns [];
    authority_strict: AuthorityStrict fails ["v1-authority-raw", "v1-authority-encoded"] warns ["v2-authority-raw", "v2-authority-encoded"];
    answers_unknown_method: AnswersUnknownMethod fails ["grpc-unknown-method"] warns [];
    answers_malformed: AnswersMalformed fails ["grpc-malformed-message"] warns [];
    rotate_unseen: RotateUnseen fails ["v2-rotate-key-id"] warns [];
    rotate_reuses_key_id: RotateReusesKeyId fails ["v2-rotate-no-reuse"] warns [];
    rotate_changes_version: RotateChangesVersion fails ["v2-rotate-version"] warns [];
    rotate_status_lags: RotateStatusLags fails [] warns ["v2-rotate-agreement"];
    rotate_status_stays_behind: RotateStatusStaysBehind fails ["v2-rotate-agreement"] warns [];
    rotate_mislabels: RotateMislabels fails ["v2-rotate-label"] warns [];
    rotate_mislabels_unread: RotateMislabelsUnread fails ["v2-rotate-label", "v2-rotate-other-key-id", "v2-decrypt-wrong-key-id", "v2-decrypt-empty-key-id"] warns [];
    rotate_forgets: RotateForgets fails ["v2-rotate-old-ciphertext", "v1-rotate-old-ciphertext"] warns [];
    rotate_tries_all: RotateTriesAll fails ["v2-rotate-other-key-id"] warns [];
    rotate_fails: RotateFails fails [] warns ["v2-rotate-errors"];
    outage_text: OutageText fails ["v2-outage-status"] warns [];
    outage_status_hangs: OutageStatusHangs fails ["v2-outage-status-time"] warns [];
    outage_key_id: OutageKeyId fails ["v2-outage-key-id"] warns [];
    outage_encrypt_hangs: OutageEncryptHangs fails ["v2-outage-encrypt"] warns [];
    outage_loses_data: OutageLosesData fails ["v2-outage-encrypt"] warns [];
    outage_no_cache: OutageNoCache fails [] warns ["v2-outage-decrypt"];
    outage_forever: OutageForever fails ["v2-outage-recovery"] warns [];
    start_keeps_stale_socket: StartKeepsStaleSocket fails ["restart-stale-socket"] warns ["restart-socket-kept"];
    start_new_key_id: StartNewKeyId fails ["v2-restart-key-id", "v2-restart-old-ciphertext"] warns ["restart-socket-kept"];
    start_new_version: StartNewVersion fails ["v2-restart-version"] warns ["restart-socket-kept"];
    start_forgets: StartForgets fails ["v2-restart-old-ciphertext", "v1-restart-old-ciphertext"] warns ["restart-socket-kept"];
    peer_other_key: PeerOtherKey fails ["v2-peer-decrypt", "v1-peer-decrypt"] warns [];
    peer_other_key_id: PeerOtherKeyId fails ["v2-peer-decrypt", "v2-peer-key-id"] warns [];
}

/// Whether Encrypt comes between two Status that agree is chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotate_flips() {
    let report = report(Fault::RotateFlips).await;
    assert_eq!(ids(&report, Verdict::Fail), ["v2-rotate-no-flip"].into(), "{report}");
}

/// Every second call fails, so that chance decides which checks see it; but this one always does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decrypt_fails_after_error() {
    let report = report(Fault::DecryptFailsAfterError).await;
    let failed = ids(&report, Verdict::Fail);
    assert!(failed.contains("v2-decrypt-repeat"), "{report}");
    assert!(failed.iter().all(|id| id.starts_with("v2-decrypt-")), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_calls_are_reported() {
    for (fault, id) in [
        (Fault::StatusSlow, "v2-status-time"),
        (Fault::EncryptSlow, "v2-encrypt-time"),
        (Fault::DecryptSlow, "v2-decrypt-time"),
        (Fault::V1Slow, "v1-time"),
        (Fault::OutageStatusSlow, "v2-outage-status-time"),
    ] {
        let timeout = Duration::from_secs(2);
        let plugin = Served::new(fault, timeout);
        let mut options = with_hooks(options(&plugin.socket), &plugin.dir);
        options.timeout = timeout;
        options.only = select(id).unwrap();
        let report = check(&options).await;
        assert_eq!(report.findings[0].verdict, Verdict::Warn, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_idle_connection_is_reported() {
    let plugin = Served::new(Fault::SocketClosesIdle, Duration::from_secs(1));
    let mut options = options(&plugin.socket);
    options.idle = Some(Duration::from_millis(400));
    options.only = select("socket-idle").unwrap();
    let report = check(&options).await;
    assert_eq!(ids(&report, Verdict::Fail), ["socket-idle"].into(), "{report}");
}

/// What does not work at all fails in few checks; those that build on it are skipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_work_at_all_fails_once() {
    for (fault, fails) in [
        (Fault::StatusFails, ["v2-served", "v2-status-time"]),
        (Fault::StatusHangs, ["v2-served", "v2-status-time"]),
        (Fault::EncryptFails, ["v2-encrypt-roundtrip", "v2-encrypt-time"]),
    ] {
        let report = report(fault).await;
        assert_eq!(ids(&report, Verdict::Fail), fails.into(), "{report}");
    }
}

/// A listener that never speaks HTTP/2, and one that answers nonsense, must not hold up the suite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_borne() {
    for says in [b"".as_slice(), b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0xff; 4096]] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("kms.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let mut running = tokio::task::JoinSet::new();
        running.spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                drop(tokio::io::AsyncWriteExt::write_all(&mut stream, says).await);
                held.push(stream);
            }
        });
        let mut options = options(&socket);
        options.timeout = Duration::from_millis(50);
        let start = Instant::now();
        let report = check(&options).await;
        assert!(ids(&report, Verdict::Fail).contains("socket-answers"), "{report}");
        assert!(start.elapsed() < Duration::from_secs(60), "{report}");
    }
}

/// Runs everything against a plugin with `fault`, with the hooks of the fault's area.
async fn report(fault: Fault) -> Report {
    let name = format!("{fault:?}");
    let timeout = Duration::from_secs(3);
    if name.starts_with("Start") {
        return restarted(fault).await;
    }
    if name.starts_with("Peer") {
        let plugin = Served::new(Fault::None, timeout);
        let peer = Served::beside(&plugin.dir, "peer.sock", fault, timeout);
        let mut options = options(&plugin.socket);
        options.peer = Some(Socket::Path(peer.socket.clone()));
        options.only = concerned(&name);
        return check(&options).await;
    }
    let plugin = Served::new(fault, timeout);
    let mut options = options(&plugin.socket);
    options.only = concerned(&name);
    if name.starts_with("Rotate") || name.starts_with("Outage") {
        options = with_hooks(options, &plugin.dir);
    }
    check(&options).await
}

/// All checks, or without those that cost most, for faults that cannot touch them.
fn concerned(fault: &str) -> Vec<&'static Check> {
    let elsewhere =
        ["Socket", "Authority", "Rotate", "Outage", "Start", "Peer"].iter().any(|it| fault.starts_with(it));
    let costly =
        |id: &str| ["-load", "-oversized", "-bit-flips", "-spliced"].iter().any(|it| id.contains(it));
    checks().filter(|it| !(elsewhere && costly(it.id))).collect()
}

async fn restarted(fault: Fault) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let _reaper = Reaper(dir.path().to_owned());
    let mut options = options(&dir.path().join("kms.sock"));
    let (start, kill) = hooks(dir.path(), fault);
    assert!(std::process::Command::new("sh").args(["-c", &start]).status().unwrap().success());
    until_served(&options).await;
    (options.hooks.start, options.hooks.kill) = (Some(start), Some(kill));
    options.only = concerned("Start");
    check(&options).await
}

/// Waits until a started process serves.
pub(crate) async fn until_served(options: &Options) {
    let mut probe = options.clone();
    probe.only = select("socket-answers").unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while check(&probe).await.summary.fail > 0 {
        assert!(Instant::now() < end, "the model does not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
