//! `/livez`, `/readyz` and `/metrics` while the backend comes and goes.

use std::fs;
use std::time::{Duration, Instant};

use keystead_crypto::sha256;
use keystead_model::ErrorClass;
use keystead_proto::kms_v1;
use keystead_proto::kms_v2::{DecryptRequest, EncryptRequest, StatusRequest};
use keystead_provider::switchable::Mode;
use tonic::Code;

use crate::plugin_in_process::{OFTEN, ONE_PROBE, Served};
use crate::plugin_process::{DEADLINE, Place, clients, get, v2};

const UNAVAILABLE: Mode = Mode::Fails(ErrorClass::Unavailable);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_ready_with_the_reason_until_the_backend_is_there() {
    let served = Served::start(UNAVAILABLE, OFTEN, ONE_PROBE).await;
    assert_eq!(served.get("/livez"), (200, "ok\n".to_owned()));
    let (status, text) =
        served.until_readyz("starting: the key backend is not usable yet: the test told").await;
    assert_eq!(status, 503, "{text}");
    let mut client = v2(&served.socket()).await;
    let error = client.status(StatusRequest {}).await.expect_err("not ready");
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().starts_with("not ready yet: "), "{error}");
    assert_eq!(served.metric("keystead_plugin_serving"), 0.0);

    served.backend.set(Mode::Works);
    let (status, text) = served.until_readyz("ok: encrypting with local-v1-a1-").await;
    assert_eq!(status, 200);
    let answer = client.status(StatusRequest {}).await.expect("ready").into_inner();
    assert_eq!((answer.version.as_str(), answer.healthz.as_str()), ("v2", "ok"));
    assert_eq!(text, format!("ok: encrypting with {}\n", answer.key_id));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_and_does_not_make_it_unready_within_the_bound() {
    let served = Served::start(Mode::Works, OFTEN, ONE_PROBE).await;
    served.until_readyz("ok: ").await;
    served.backend.set(UNAVAILABLE);
    let (status, text) = served.until_readyz("outage: still encrypting with local-v1-a1-").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains(" s more; ") && text.contains("fail as unavailable"), "{text}");
    assert_eq!(served.metric("keystead_plugin_serving"), 1.0);
    assert!(v2(&served.socket()).await.status(StatusRequest {}).await.is_ok());
    served.backend.set(Mode::Works);
    assert_eq!(served.until_readyz("ok: ").await.0, 200);
    assert_eq!(served.metric("keystead_plugin_outage_seconds"), 0.0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_and_the_end_of_the_bound_make_it_unready() {
    for (mode, bound, reason, code) in [
        (Mode::Fails(ErrorClass::Denied), ONE_PROBE, "the key may not be used: ", Code::PermissionDenied),
        (Mode::Fails(ErrorClass::NotFound), ONE_PROBE, "the key may not be used: ", Code::NotFound),
        (UNAVAILABLE, Duration::ZERO, "the key backend has not answered for longer", Code::Unavailable),
    ] {
        let served = Served::start(Mode::Works, OFTEN, bound).await;
        served.until_readyz("ok: ").await;
        served.backend.set(mode);
        let (status, text) = served.until_readyz(&format!("refusing: {reason}")).await;
        assert_eq!(status, 503, "{text}");
        assert_eq!(served.get("/livez").0, 200, "a restart would not help");
        let error = v2(&served.socket()).await.status(StatusRequest {}).await.expect_err("refused");
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(served.metric("keystead_plugin_serving"), 0.0);
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_move_with_what_happens() {
    let served = Served::ready().await;
    let (mut v1, mut v2) = clients(&served.socket()).await;
    let count = |kms, method| {
        served.metric(&format!("keystead_plugin_call_seconds_count{{kms=\"{kms}\",method=\"{method}\"}}"))
    };
    let lookups =
        |result| served.metric(&format!("keystead_plugin_unwrap_cache_lookups_total{{result=\"{result}\"}}"));
    for (kms, method) in [
        ("v1", "Version"),
        ("v1", "Encrypt"),
        ("v1", "Decrypt"),
        ("v2", "Status"),
        ("v2", "Encrypt"),
        ("v2", "Decrypt"),
    ] {
        assert_eq!(count(kms, method), 0.0, "there from the start: {kms} {method}");
    }

    let key_id = v2.status(StatusRequest {}).await.expect("ready").into_inner().key_id;
    v2.encrypt(EncryptRequest { plaintext: b"seed".to_vec(), uid: "1".into() }).await.expect("sealed");
    let sealed = served.sealed_elsewhere(b"seed").await;
    let request = DecryptRequest {
        ciphertext: sealed.ciphertext,
        uid: "2".into(),
        key_id: sealed.key_id,
        annotations: Default::default(),
    };
    for _ in 0..2 {
        v2.decrypt(request.clone()).await.expect("opened");
    }
    assert!(v2.decrypt(DecryptRequest { key_id: "other".into(), ..request }).await.is_err());
    v1.version(kms_v1::VersionRequest { version: "v1beta1".into() }).await.expect("a version");
    let cipher =
        v1.encrypt(kms_v1::EncryptRequest { version: "v1beta1".into(), plain: b"ping".to_vec() }).await;
    let cipher = cipher.expect("sealed").into_inner().cipher;
    v1.decrypt(kms_v1::DecryptRequest { version: "v1beta1".into(), cipher }).await.expect("opened");

    assert_eq!((count("v2", "Status"), count("v2", "Encrypt"), count("v2", "Decrypt")), (1.0, 1.0, 3.0));
    assert_eq!((count("v1", "Version"), count("v1", "Encrypt"), count("v1", "Decrypt")), (1.0, 1.0, 1.0));
    let failed = "keystead_plugin_call_failures_total{kms=\"v2\",method=\"Decrypt\",class=\"invalid\"}";
    assert_eq!(served.metric(failed), 1.0);
    assert_eq!((lookups("miss"), lookups("hit"), lookups("joined")), (1.0, 2.0, 0.0));
    assert_eq!(served.metric("keystead_plugin_unwrap_cache_entries"), 2.0, "our own and the other host's");
    let backend = |operation| {
        served.metric(&format!(
            "keystead_plugin_backend_seconds_count{{operation=\"{operation}\",result=\"ok\"}}"
        ))
    };
    assert_eq!((backend("wrap"), backend("unwrap")), (1.0, 2.0));
    let hash: String = sha256(key_id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(served.metric(&format!("keystead_plugin_key_id{{key_id_hash=\"sha256:{hash}\"}}")), 1.0);
    assert!(served.metric("keystead_plugin_snapshot_age_seconds") < 60.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(served.metric(&format!("keystead_plugin_build_info{{version=\"{version}\"}}")), 1.0);
    assert!(served.get("/metrics").1.ends_with("# EOF\n"), "complete");
    drop((v1, v2));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_has_three_paths_and_no_more() {
    let served = Served::ready().await;
    for path in ["/", "/healthz", "/livez/", "/debug/pprof", "//livez"] {
        assert_eq!(served.get(path).0, 404, "{path}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_clients_cannot_reach_is_told_and_made_anew_when_its_place_is_free() {
    let served = Served::ready().await;
    let socket = served.socket();
    let mut early = v2(&socket).await;
    assert_eq!(served.metric("keystead_plugin_socket_lost"), 0.0);

    fs::remove_file(&socket).expect("removed");
    fs::write(&socket, "in the way").expect("written");
    let (status, text) = served.until_readyz("clients cannot reach the socket: ").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("is a file"), "{text}");
    assert_eq!(served.metric("keystead_plugin_socket_lost"), 1.0);
    assert!(early.status(StatusRequest {}).await.is_ok(), "who is connected is served");

    fs::remove_file(&socket).expect("removed");
    let (status, text) = served.until_readyz("ok: encrypting with ").await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.metric("keystead_plugin_socket_lost"), 0.0);
    assert_eq!(served.metric("keystead_plugin_socket_rebinds_total"), 1.0);
    assert!(v2(&socket).await.status(StatusRequest {}).await.is_ok(), "at the same path");
    assert!(early.status(StatusRequest {}).await.is_ok(), "the old connection still works");
    served.stop().await;
}

#[test]
fn a_key_file_that_a_start_would_not_find_is_told_and_the_last_good_one_goes_on() {
    let place = Place::new();
    let plugin = place.start();
    let admin = plugin.admin();
    let refused = || get(admin, "/metrics").1.contains("keystead_plugin_key_refused 1\n");
    let until_ready = || {
        let end = Instant::now() + DEADLINE;
        loop {
            let (status, text) = get(admin, "/readyz");
            if status == 200 {
                return text;
            }
            assert!(Instant::now() < end, "{text}");
            std::thread::yield_now();
        }
    };
    assert!(!until_ready().contains("could not start again") && !refused());

    let (file, away) = (place.key(), place.path("away"));
    fs::rename(&file, &away).expect("moved");
    let text = until_ready();
    assert!(
        text.contains("goes on with the last good key, could not start again: ") && text.contains("key"),
        "{text}"
    );
    assert!(refused());

    fs::rename(&away, &file).expect("moved back");
    assert!(!until_ready().contains("could not start again") && !refused());
    plugin.terminate();
}
