//! Several members, and users with passwords.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use keystead_etcd::{ConnectError, Connection, Etcd, Layout, Login, TlsFiles, inventory};
use keystead_model::ErrorClass;
use keystead_proto::etcd::AuthenticateRequest;
use keystead_proto::etcd::auth_client::AuthClient;
use keystead_testkit::control_plane::{ControlPlane, Options};
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::Endpoint;

use crate::fake_etcd::FakeEtcd;

/// Port 1 needs root to listen on, and no test does.
const NOBODY: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn first_member_that_answers_is_read() {
    let (first, second) = (FakeEtcd::start().await, FakeEtcd::start().await);
    first.put("/registry/a", "first");
    second.put("/registry/a", "second");
    let read = async |endpoints: &[&str]| {
        let endpoints = endpoints.iter().map(|&it| it.to_owned()).collect();
        let connection = Connection { endpoints, ..Connection::plain("") };
        let etcd = Etcd::connect(&connection).await?;
        Ok::<_, ConnectError>(etcd.get(b"/registry/a").await.expect("read").expect("there").value)
    };
    let (one, two) = (first.endpoint(), second.endpoint());
    assert_eq!(read(&[NOBODY, &two, &one]).await.expect("connects").as_slice(), b"second");
    assert_eq!(read(&[&one, NOBODY]).await.expect("connects").as_slice(), b"first");
    let error = read(&[NOBODY, "http://127.0.0.1:2"]).await.expect_err("nobody");
    assert_eq!(error.class(), ErrorClass::Unavailable);
    for part in [NOBODY, "http://127.0.0.1:2", "Connection refused"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(matches!(read(&[]).await, Err(ConnectError::NoEndpoint)));
}

/// The kernel takes connections for a process that is stopped.
#[tokio::test]
async fn a_member_that_takes_connections_and_is_silent_is_passed_over() {
    let etcd = FakeEtcd::start().await;
    etcd.put("/registry/a", "second");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let (ca, password_file) = (directory.path().join("ca.crt"), directory.path().join("password"));
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&ca, authority.cert.pem()).expect("written");
    std::fs::write(&password_file, "password").expect("written");
    let login = Some(Login { user: "reader".to_owned(), password_file });
    for (scheme, login) in [("http", None), ("http", login), ("https", None)] {
        let endpoints = vec![format!("{scheme}://{silent}"), etcd.endpoint()];
        let tls = Some(TlsFiles { ca: ca.clone(), client: None });
        let connection = Connection { endpoints, tls, login: None.or(login) };
        let connected = tokio::time::timeout(Duration::from_secs(60), Etcd::connect(&connection)).await;
        match connected.expect("it does not wait for ever") {
            Ok(connected) => assert_eq!(connected.endpoint(), etcd.endpoint()),
            // The etcd in memory knows no users, and says so.
            Err(ConnectError::Refused { endpoint, .. }) => assert_eq!(endpoint, etcd.endpoint()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn wrong_settings_are_named_before_anything_is_sent() {
    let etcd = FakeEtcd::start().await;
    let login = || Some(Login { user: "reader".to_owned(), password_file: "no/password".into() });
    let error = async |connection: Connection| Etcd::connect(&connection).await.expect_err("refused");
    let to = Connection::plain;
    assert!(matches!(error(to("https://127.0.0.1:1")).await, ConnectError::NoAuthority(_)));
    for text in ["127.0.0.1:2379", "ftp://127.0.0.1:2379", "http://127.0.0.1:2379/v3", "", "http://"] {
        assert!(matches!(error(to(text)).await, ConnectError::Endpoint(_)), "{text}");
    }
    let remote = Connection { login: login(), ..to("http://192.0.2.1:2379") };
    assert!(matches!(error(remote).await, ConnectError::PasswordInClear(_)));
    let local = Connection { login: login(), ..to(&etcd.endpoint()) };
    assert!(matches!(error(local).await, ConnectError::File { .. }));
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn user_with_password_reads_what_his_role_allows() -> Result<()> {
    let control_plane = ControlPlane::prepare(Options { api_servers: 0, ..Options::default() }).await?;
    let url = control_plane.etcd().url();
    let directory = tempfile::tempdir()?;
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    let (right, wrong) = (file("right", "a long password\n")?, file("wrong", "another")?);
    let with = |password: &Path| Connection {
        login: Some(Login { user: "reader".to_owned(), password_file: password.to_owned() }),
        ..Connection::plain(url)
    };
    Etcd::connect(&Connection::plain(url)).await?.put(b"/registry/secrets/ns/a", b"{}").await?;
    // Nobody needs a password yet.
    Etcd::connect(&with(&right)).await?;

    users(url).await?;
    let class =
        async |connection: Connection| Etcd::connect(&connection).await.map_err(|it| it.class()).err();
    assert_eq!(class(Connection::plain(url)).await, Some(ErrorClass::Unauthenticated));
    assert_eq!(class(with(&wrong)).await, Some(ErrorClass::Unauthenticated));
    let etcd = Etcd::connect(&with(&right)).await?;
    let layout = Layout::default();
    assert_eq!(inventory(&mut etcd.scan("/registry/"), &layout).await?.objects, 1);
    let denied = inventory(&mut etcd.scan(""), &layout).await.expect_err("more than the role allows");
    assert_eq!(denied.class(), ErrorClass::Denied);

    // A new password, even if it is the old one, ends all tokens of the user.
    let request = AuthenticateRequest { name: "root".to_owned(), password: "root's".to_owned() };
    let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
    let token = AuthClient::new(channel).authenticate(request).await?.into_inner().token;
    let same = Named { name: "reader".into(), second: "a long password".into() };
    auth(url, "UserChangePassword", same, &token).await?;
    assert_eq!(inventory(&mut etcd.scan("/registry/"), &layout).await?.objects, 1);
    assert!(format!("{etcd:?}").contains("Sensitive") && !format!("{etcd:?}").contains("a long password"));
    Ok(())
}

/// `root`, and `reader` who may read what is under `/registry/`. From then on everybody has to log in.
async fn users(url: &str) -> Result<()> {
    let two = |name: &str, second: &str| Named { name: name.into(), second: second.into() };
    for (call, request) in [
        ("UserAdd", two("root", "root's")),
        ("RoleAdd", two("root", "")),
        ("UserGrantRole", two("root", "root")),
        ("UserAdd", two("reader", "a long password")),
        ("RoleAdd", two("reads", "")),
        ("UserGrantRole", two("reader", "reads")),
    ] {
        auth(url, call, request, "").await?;
    }
    // READ is 0.
    let permission = Permission { key: b"/registry/".to_vec(), range_end: b"/registry0".to_vec() };
    let grant = Grant { name: "reads".to_owned(), permission: Some(permission) };
    auth(url, "RoleGrantPermission", grant, "").await?;
    auth(url, "AuthEnable", (), "").await
}

async fn auth<M: Message + Default + 'static>(url: &str, call: &str, message: M, token: &str) -> Result<()> {
    let mut client = Grpc::new(Endpoint::from_shared(url.to_owned())?.connect().await?);
    client.ready().await?;
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("token", token.parse()?);
    let codec = tonic_prost::ProstCodec::<M, ()>::default();
    client.unary(request, format!("/etcdserverpb.Auth/{call}").parse()?, codec).await?;
    Ok(())
}

/// Requests for a user with a password, a role, and a role for a user.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, PartialEq, Message)]
struct Grant {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, tag = "2")]
    permission: Option<Permission>,
}

#[derive(Clone, PartialEq, Message)]
struct Permission {
    #[prost(bytes, tag = "2")]
    key: Vec<u8>,
    #[prost(bytes, tag = "3")]
    range_end: Vec<u8>,
}
