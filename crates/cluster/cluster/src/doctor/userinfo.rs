//! Names and passwords that stand in addresses: `https://root:password@host`. Nothing that is shown or given away has them.

use serde_json::Value;

/// The text without them. Addresses keep the rest; of a list with odd passwords an address may go too, and never a password stay.
pub(super) fn without_userinfo(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut word = String::new();
    for letter in text.chars() {
        if is_end(letter) {
            kept.push_str(&stripped(&word));
            kept.push(letter);
            word.clear();
        } else {
            word.push(letter);
        }
    }
    kept.push_str(&stripped(&word));
    kept
}

/// The same in every text of a document.
pub(super) fn without_userinfo_in(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_userinfo(text),
        Value::Array(items) => items.iter_mut().for_each(without_userinfo_in),
        Value::Object(fields) => fields.values_mut().for_each(without_userinfo_in),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a password, or a token in its place, stands in an address of the text.
pub(super) fn has_userinfo(text: &str) -> bool {
    without_userinfo(text) != text
}

/// What no address has in it.
fn is_end(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '"' | '\'' | '`' | '<' | '>' | '(' | ')')
}

fn stripped(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return stripped_bare(word) };
    // A list of addresses: the next one begins behind the last comma before its scheme.
    let next = rest.find("://").and_then(|it| rest.get(..it)?.rfind(','));
    let (address, others) = rest.split_at_checked(next.unwrap_or(rest.len())).unwrap_or((rest, ""));
    // `unix:///run/a@b.sock` has a path and no host.
    let kept =
        address.rsplit_once('@').filter(|(userinfo, _)| !userinfo.is_empty() && !userinfo.starts_with('/'));
    let address = kept.map_or(address, |(_, host)| host);
    let others = others.strip_prefix(',').map(|it| format!(",{}", stripped(it)));
    format!("{scheme}://{address}{}", others.unwrap_or_default())
}

/// `root:password@host:2379`, without a scheme. An image with a digest has a `/` or names its digest.
fn stripped_bare(word: &str) -> String {
    let Some((userinfo, host)) = word.rsplit_once('@') else { return word.to_owned() };
    let Some((name, password)) = userinfo.split_once(':') else { return word.to_owned() };
    let is_address = !password.is_empty() && !name.contains('/') && !host.starts_with("sha256:");
    if is_address { host.to_owned() } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_stay_and_passwords_go() {
        for (text, expected) in [
            ("cannot ask http://root:pw@10.0.0.1:2379/x: away", "cannot ask http://10.0.0.1:2379/x: away"),
            ("http://a:pw@h1:1,http://b:p,w@h2:2", "http://h1:1,http://h2:2"),
            ("http://root:p/w#@h@host:1", "http://host:1"),
            ("(https://token@kms.example)", "(https://kms.example)"),
            ("--etcd-servers=`root:pw@host:1`", "--etcd-servers=`host:1`"),
            (
                "unix:///run/kms.sock and unix:@name and @name",
                "unix:///run/kms.sock and unix:@name and @name",
            ),
            ("unix:///run/kms@1.sock", "unix:///run/kms@1.sock"),
            ("registry.k8s.io/etcd:3.5@sha256:ab", "registry.k8s.io/etcd:3.5@sha256:ab"),
            ("https://10.0.0.1:6443/a", "https://10.0.0.1:6443/a"),
        ] {
            assert_eq!(without_userinfo(text), expected);
        }
        let mut document = json!({"a": ["http://u:pw@h"], "b": {"c": "http://u:pw@h", "d": 1}});
        without_userinfo_in(&mut document);
        assert_eq!(document, json!({"a": ["http://h"], "b": {"c": "http://h", "d": 1}}));
    }
}
