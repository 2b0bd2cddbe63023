//! Whatever callers send, the audit log stays readable: it opens, verifies, exports, and its lines are bounded.

use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use keystead_audit::{AuditLog, AuditSettings, Export, ExportSettings, verify};
use keystead_proto::descriptor_pool;
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor, Value,
};
use tonic::body::Body;

use super::{KEY, LOCATION, PROJECT, RING, Server};
use crate::crash::Numbers;

/// The bound of a record's content, and what stands around it.
const LONGEST_LINE: usize = 384 * 1024 + 1024;
/// A few deep messages say as much as one without end.
const DEPTH: usize = 4;
/// `KEYSTEAD_HOSTILE_REQUESTS` asks for more.
const REQUESTS: u64 = 1_000;

#[tokio::test]
async fn whatever_is_in_any_text_the_audit_log_opens_verifies_and_exports() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let requests = number("KEYSTEAD_HOSTILE_REQUESTS").unwrap_or(REQUESTS);
    let seed = number("KEYSTEAD_HOSTILE_SEED")
        .unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs());
    println!("hostile texts: {requests} requests, KEYSTEAD_HOSTILE_SEED={seed}");
    let server = Server::with_key().await;
    let known = server.token_of("user:nobody@example.com").await;
    let bearers = [server.admin.clone(), known, "ks_nobody".to_owned()];
    let methods: Vec<MethodDescriptor> =
        descriptor_pool().services().flat_map(|it| it.methods().collect::<Vec<_>>()).collect();
    let mut hostile = Hostile { numbers: Numbers::new(seed), left: 0 };
    for _ in 0..requests {
        let method = &methods[hostile.numbers.index(methods.len())];
        let bearer = &bearers[hostile.numbers.index(bearers.len())];
        let request = match hostile.numbers.below(4) {
            0 => hostile.rest(&server, bearer),
            _ => hostile.grpc(method, bearer),
        };
        // Whatever the answer is, it is one.
        drop(server.respond(request).await);
    }
    let directory = close(server);
    check(&directory.path().join("audit"), &directory.path().join("copy.jsonl"));
}

fn close(server: Server) -> tempfile::TempDir {
    let Server { api, directory, .. } = server;
    drop(api);
    directory
}

fn check(log_dir: &Path, copy: &Path) {
    let export = ExportSettings { name: "copy".to_owned(), to: Export::File(copy.to_owned()) };
    let settings = || AuditSettings { exports: vec![export.clone()], ..AuditSettings::default() };
    // The server's own log may need a moment to close.
    let end = std::time::Instant::now() + Duration::from_secs(60);
    let log = loop {
        match AuditLog::open(log_dir, settings()) {
            Ok(log) => break log,
            Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(log.problems(), []);
    let head = log.head().sequence;
    assert!(head > 100, "{head} records");
    let copied = || std::fs::read(copy).unwrap_or_default();
    while copied().iter().filter(|it| **it == b'\n').count() as u64 != head {
        assert!(std::time::Instant::now() < end, "the export does not go on");
        std::thread::sleep(Duration::from_millis(10));
    }
    log.close();
    let verified = verify(log_dir, None).expect("the log is good");
    let text = String::from_utf8(copied()).expect("text");
    let longest = text.lines().map(str::len).max().unwrap_or_default();
    println!("{} records, the longest has {longest} bytes", verified.records);
    assert!(longest <= LONGEST_LINE, "a line of {longest} bytes");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
    assert!(
        text.contains("\"principal\":\"nobody@example.com\""),
        "malformed calls of a known caller are counted"
    );
}

/// Makes requests.
struct Hostile {
    numbers: Numbers,
    /// Bytes that texts of this request may still have.
    left: usize,
}

impl Hostile {
    fn grpc(&mut self, method: &MethodDescriptor, bearer: &str) -> Request<Body> {
        self.left = self.size();
        let mut message = self.message(method.input(), 0).encode_to_vec();
        if self.numbers.below(8) == 0 {
            message.extend_from_slice(&self.bytes());
        }
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
        frame.extend_from_slice(&message);
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let request = Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {bearer}"));
        let agent = self.text();
        let request = match http::HeaderValue::from_bytes(agent.as_bytes()) {
            Ok(agent) => request.header("user-agent", agent),
            Err(_) => request,
        };
        request.body(Body::new(Full::from(frame))).expect("a request")
    }

    /// A path with something else in the place of a name, and a body that is often none.
    fn rest(&mut self, server: &Server, bearer: &str) -> Request<Body> {
        self.left = 1 << self.numbers.below(17);
        let routes: Vec<_> = server.gateway_routes().collect();
        let route = routes[self.numbers.index(routes.len())];
        let mut path = crate::rest::example(&route.template);
        if self.numbers.below(2) == 0 {
            let text: String = self.text().bytes().take(2_000).map(|it| format!("%{it:02x}")).collect();
            path = path.replacen("/r", &format!("/{text}"), 1);
            path.push_str(&format!("?filter={text}&pageToken={text}"));
        }
        let body = match self.numbers.below(3) {
            0 => serde_json::json!({ self.text(): self.text() }).to_string().into_bytes(),
            1 => format!("{{\"policy\":{{\"bindings\":[{{\"role\":{:?}}}]}}}}", self.text()).into_bytes(),
            _ => self.bytes(),
        };
        Request::builder()
            .method(route.http_method.clone())
            .uri(path)
            .header("authorization", format!("Bearer {bearer}"))
            .body(Body::new(Full::from(body)))
            .expect("a request")
    }

    fn message(&mut self, kind: MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(kind.clone());
        for field in kind.fields() {
            if depth > 0 && self.numbers.below(3) == 0 {
                continue;
            }
            if let Some(value) = self.value(&field, depth) {
                message.set_field(&field, value);
            }
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Option<Value> {
        let most = if field.kind().as_message().is_some() { 3 } else { 300 };
        let many = [1, 2, most][self.numbers.index(3)];
        if field.is_map() {
            let of_entry = field.kind().as_message()?.map_entry_value_field();
            // The keys of all maps of these APIs are text.
            let entry = |_| Some((MapKey::String(self.text()), self.single(&of_entry, depth)?));
            return (0..many).map(entry).collect::<Option<_>>().map(Value::Map);
        }
        if field.is_list() {
            return (0..many).map(|_| self.single(field, depth)).collect::<Option<Vec<_>>>().map(Value::List);
        }
        self.single(field, depth)
    }

    fn single(&mut self, field: &FieldDescriptor, depth: usize) -> Option<Value> {
        let number = self.numbers.below(u64::MAX >> 11);
        Some(match field.kind() {
            Kind::String => Value::String(self.name_or_text(field)),
            Kind::Bytes => Value::Bytes(self.bytes().into()),
            Kind::Bool => Value::Bool(number.is_multiple_of(2)),
            Kind::Enum(_) => Value::EnumNumber((number % 5) as i32),
            Kind::Message(kind) if depth < DEPTH => Value::Message(self.message(kind, depth + 1)),
            Kind::Message(_) => return None,
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32((number % 100) as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64((number % 100_000) as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
            Kind::Float => Value::F32(0.5),
            Kind::Double => Value::F64(0.5),
        })
    }

    /// Most fields that name something name something good, so that requests get beyond the first check.
    fn name_or_text(&mut self, field: &FieldDescriptor) -> String {
        let good = match field.name() {
            "name" | "parent" | "resource" => {
                let project = format!("projects/{PROJECT}");
                let email = format!("{project}/serviceAccounts/account-1@{PROJECT}.iam.gserviceaccount.com");
                let version = format!("{KEY}/cryptoKeyVersions/1");
                let names = [KEY.to_owned(), RING.to_owned(), LOCATION.to_owned(), project, email, version];
                names[self.numbers.index(names.len())].clone()
            }
            "role" => "roles/cloudkms.viewer".to_owned(),
            "members" => format!("user:{}@example.com", "m".repeat(self.numbers.index(300))),
            "principal" => "user:ann@example.com".to_owned(),
            _ => return self.text(),
        };
        if self.numbers.below(4) > 0 { good } else { self.text() }
    }

    fn text(&mut self) -> String {
        // The first takes six bytes each once it is escaped.
        let pieces = [
            "\u{1}",
            "\u{1}",
            "\u{1}",
            "\"",
            "\\",
            "\n",
            "\u{7f}",
            "\u{e9}",
            "\u{10ffff}",
            "\u{2028}",
            "x",
            "projects/p",
        ];
        let piece = pieces[self.numbers.index(pieces.len())];
        let most = (self.left / piece.len()).min(self.size());
        let text = piece.repeat(self.numbers.index(most + 1));
        self.left -= text.len().min(self.left);
        text
    }

    /// Up to 256 KiB, and that often: what is escaped takes six times as much.
    fn size(&mut self) -> usize {
        let power = self.numbers.below(25).min(18);
        1 << power
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = self.left.min(1 << self.numbers.below(12));
        let len = self.numbers.index(most + 1);
        self.left -= len;
        let start = self.numbers.below(256);
        (start..).step_by(37).take(len).map(|it| (it % 256) as u8).collect()
    }
}
