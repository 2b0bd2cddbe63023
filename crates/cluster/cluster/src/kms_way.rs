//! Whether a plugin's KMS can be reached only through the cluster that it protects: an API server that starts would wait for the KMS, and the KMS
//! for the API server.
//!
//! What is said comes from what the plugin is told and from how it runs. A setting whose name says that it is the address of a service is
//! certain; any other mention of a place in the cluster, such as where traces go, is only worth a warning.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// One thing that a plugin is told.
pub struct Setting {
    /// Where it stands, in words.
    pub place: String,
    /// What it is called there.
    pub name: String,
    /// What it says; perhaps a secret.
    pub value: Zeroizing<String>,
}

/// What is known of a plugin on its host.
#[derive(Debug, Default)]
pub struct PluginFacts {
    /// What it is told.
    pub settings: Vec<Setting>,
    /// Uid of the pod that it runs in, if the kubelet has that pod from an API server.
    pub pod: Option<String>,
}

/// Addresses that exist only inside of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The flag that names it.
    flag: &'static str,
    address: IpAddr,
    prefix: u8,
}

/// What is known of the way to a plugin's KMS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsWay {
    /// Evidence that it leads through the cluster.
    pub behind_cluster: Option<String>,
    /// What may mean so.
    pub doubts: Vec<String>,
}

impl Range {
    /// The ranges of a flag's value, separated by commas. What is none is left out.
    pub fn parse(flag: &'static str, text: &str) -> Vec<Self> {
        let range = |text: &str| {
            let (address, prefix) = text.trim().split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.parse().ok().filter(|it| *it <= longest)?;
            Some(Self { flag, address, prefix })
        };
        text.split(',').filter_map(range).collect()
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let host_bits = 32 - u32::from(self.prefix);
                (range.to_bits() ^ address.to_bits()).checked_shr(host_bits).unwrap_or_default() == 0
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let host_bits = 128 - u32::from(self.prefix);
                (range.to_bits() ^ address.to_bits()).checked_shr(host_bits).unwrap_or_default() == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{} {}/{}", self.flag, self.address, self.prefix)
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("place", &self.place)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Whether a word is the name of a flag, short and plain. A key in PEM begins with dashes too, and names are shown.
pub(crate) fn is_flag(word: &str) -> bool {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
    !name.starts_with('-') && is_name(name)
}

/// Whether a text may be shown as the name of a flag, a variable or a setting.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-');
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Characters of the longest name that is shown.
const NAME_MAX: usize = 64;

/// What these facts say. Of a value only the hosts in it are repeated.
pub fn kms_way(facts: &PluginFacts, ranges: &[Range]) -> KmsWay {
    let mut way = KmsWay {
        behind_cluster: facts.pod.as_ref().map(|uid| {
            format!("it runs in the pod {uid}, which is no static pod: without an API server nothing starts it again")
        }),
        doubts: Vec::new(),
    };
    for Setting { place, name, value } in &facts.settings {
        let certainty = certainty_of(name);
        if certainty == Certainty::None {
            continue;
        }
        for host in hosts(value) {
            let Some((reason, is_certain)) = inside(&host, ranges) else { continue };
            let text = format!("{name} of {place} names {host}, {reason}");
            match certainty == Certainty::Address && is_certain {
                true => drop(way.behind_cluster.get_or_insert(text)),
                false => way.doubts.push(text),
            }
        }
    }
    way.doubts.sort();
    way.doubts.dedup();
    way.doubts.truncate(DOUBTS_MAX);
    way
}

/// More than a person reads.
const DOUBTS_MAX: usize = 5;

/// How much a setting of some name says about the way to a KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// It is the address of what the plugin works with.
    Address,
    /// It may be.
    Doubt,
    /// It is where a proxy is not used.
    None,
}

/// The last word of names such as `--kms-endpoint`, `VAULT_ADDR`, `kmsEndpoint`, `server.host`.
const ADDRESS: [&str; 8] = ["addr", "address", "endpoint", "url", "uri", "server", "host", "hostname"];
/// Words of settings without which a plugin still works.
const ASIDE: [&str; 19] = [
    "otel",
    "otlp",
    "opentelemetry",
    "telemetry",
    "trace",
    "traces",
    "tracing",
    "metric",
    "metrics",
    "log",
    "logs",
    "logging",
    "jaeger",
    "zipkin",
    "statsd",
    "sentry",
    "admin",
    "health",
    "audit",
];

fn certainty_of(name: &str) -> Certainty {
    let words = words(name);
    if words.join("_").ends_with("no_proxy") {
        return Certainty::None;
    }
    let is_address = words.last().is_some_and(|it| ADDRESS.contains(&it.as_str()));
    match is_address && !words.iter().any(|it| ASIDE.contains(&it.as_str())) {
        true => Certainty::Address,
        false => Certainty::Doubt,
    }
}

/// The words of a name in any of the usual spellings, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if !letter.is_ascii_alphanumeric() || (was_small && letter.is_ascii_uppercase()) {
            words.push(String::new());
        }
        was_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if let Some(word) = words.last_mut().filter(|_| letter.is_ascii_alphanumeric()) {
            word.push(letter.to_ascii_lowercase());
        }
    }
    words.retain(|it| !it.is_empty());
    words
}

/// Why a host is inside of a cluster, and whether that is certain.
fn inside(host: &str, ranges: &[Range]) -> Option<(String, bool)> {
    if let Ok(address) = host.parse() {
        let range = ranges.iter().find(|it| it.contains(address))?;
        return Some((format!("which is in the cluster's {range}"), true));
    }
    let service = || "the name of a Service, which only a cluster answers".to_owned();
    let name = host.strip_suffix(".cluster.local").unwrap_or(host);
    if name.strip_suffix(".svc").is_some_and(|it| it.contains('.')) {
        return Some((service(), true));
    }
    // A cluster may have another domain than cluster.local, and somebody may have one that looks so.
    host.contains(".svc.").then(|| ("which looks like the name of a Service".to_owned(), false))
}

/// The hosts that a value names: of URLs, of HOST:PORT, and alone. Ranges of addresses are none.
fn hosts(value: &str) -> Vec<String> {
    let is_between =
        |it: char| it.is_whitespace() || matches!(it, ',' | ';' | '"' | '\'' | '=' | '@' | '(' | ')');
    let mut hosts = Vec::new();
    for word in value.split(is_between) {
        let (is_url, rest) = match word.split_once("://") {
            Some(("unix", _)) => continue,
            Some((_, rest)) => (true, rest),
            None => (false, word),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // 10.96.0.0/12.
        if !is_url && !path.is_empty() && authority.parse::<IpAddr>().is_ok() {
            continue;
        }
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None if authority.parse::<IpAddr>().is_ok() => authority,
            None => authority.split(':').next().unwrap_or_default(),
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.contains(['.', ':']) {
            hosts.push(host);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(name: &str, value: &str) -> KmsWay {
        let mut ranges = Range::parse("service-cluster-ip-range", "10.96.0.0/12,fd00:1::/112");
        ranges.extend(Range::parse("cluster-cidr", "10.244.0.0/16"));
        let value = Zeroizing::new(value.to_owned());
        let settings = vec![Setting { place: "a manifest".into(), name: name.into(), value }];
        kms_way(&PluginFacts { settings, pod: None }, &ranges)
    }

    #[test]
    fn the_address_of_a_service_inside_is_evidence() {
        for (name, value, host) in [
            ("--kms-endpoint", "https://kms.keystead.svc:8443", "kms.keystead.svc"),
            (
                "KEYSTEAD_KMS_ENDPOINT",
                "https://KMS.keystead.svc.cluster.local.:8443/x",
                "kms.keystead.svc.cluster.local",
            ),
            ("VAULT_ADDR", "http://10.96.3.4:8200", "10.96.3.4"),
            ("-vault-addr", "10.111.255.255", "10.111.255.255"),
            ("kmsEndpoint", "https://[fd00:1::7]:443", "fd00:1::7"),
            ("endpoint", "https://10.244.1.9:8443", "10.244.1.9"),
            ("server.host", "vault.vault.svc:8200", "vault.vault.svc"),
        ] {
            let way = way(name, value);
            let evidence = way.behind_cluster.expect(value);
            assert!(evidence.contains(&format!("names {host}, ")) && evidence.contains(name), "{evidence}");
            assert_eq!(way.doubts, Vec::<String>::new());
        }
    }

    #[test]
    fn what_may_be_something_else_is_a_doubt() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.monitoring.svc:4317"),
            ("--metrics-addr", "10.96.0.9:9090"),
            ("HTTPS_PROXY", "http://proxy.net.svc:3128"),
            ("command", "exec vault agent -address=https://vault.vault.svc:8200"),
            ("--kms-endpoint", "https://kms.keystead.svc.example.com"),
        ] {
            let way = way(name, value);
            assert_eq!((way.behind_cluster, way.doubts.len()), (None, 1), "{name}={value}");
        }
    }

    #[test]
    fn what_is_outside_is_nothing() {
        for (name, value) in [
            ("--kms-endpoint", "https://kms.example.com:8443"),
            ("--kms-endpoint", "https://10.0.0.7:8443"),
            ("--kms-endpoint", "https://10.112.0.0"),
            ("--kms-endpoint", "https://[fd00:2::7]"),
            ("--kms-endpoint", "https://svc:8443/a.svc"),
            ("--endpoint", "unix:///run/kms.svc/10.96.0.1"),
            ("NO_PROXY", "localhost,10.96.0.1,.svc,a.b.svc,10.244.0.0/16"),
            ("no_proxy", "a.b.svc"),
            ("--allowed", "10.96.0.0/12,10.244.0.0/16"),
            ("KMS_KEY_ID", "projects/p/locations/l/keyRings/r/cryptoKeys/k"),
            ("addr", ".svc"),
        ] {
            assert_eq!(way(name, value), KmsWay::default(), "{name}={value}");
        }
    }

    #[test]
    fn a_plugin_that_an_api_server_schedules_is_behind_it() {
        let facts = PluginFacts { settings: Vec::new(), pod: Some("2f9c".into()) };
        assert!(kms_way(&facts, &[]).behind_cluster.is_some_and(|it| it.contains("the pod 2f9c")));
    }

    #[test]
    fn ranges_are_read_as_the_flags_have_them() {
        assert_eq!(Range::parse("a", "10.0.0.0/33,x/8,10.0.0.0, ,10.0.0.0/-1"), []);
        let all = Range::parse("a", "0.0.0.0/0,::/0");
        assert!(all.iter().any(|it| it.contains([1, 2, 3, 4].into())));
        let one = Range::parse("a", "10.0.0.5/32");
        assert!(one[0].contains([10, 0, 0, 5].into()) && !one[0].contains([10, 0, 0, 4].into()));
        assert_eq!(one[0].to_string(), "--a 10.0.0.5/32");
    }
}
