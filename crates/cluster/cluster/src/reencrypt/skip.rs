//! How a list gets past an object that the API server cannot read.
//!
//! A continue token of kube-apiserver is base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"KEY"}`, the key below the listed prefix
//! (`storage/continue.go` in k8s.io/apiserver, unchanged since 1.9). With `rv` -1 the list goes on at the newest revision, as after an
//! expired token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::objects::Place;

/// The object that cannot be read, and the token that goes on after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) token: String,
}

/// Reads the object's etcd key from the API server's message: `unable to transform key "/registry/secrets/...": ...`, or, since 1.32,
/// `StorageError: corrupt object, Code: 7, Key: /registry/secrets/..., ResourceVersion: ...`. None
/// where it has another form, or where the key does not lie behind `token`: the list would go in circles.
pub(super) fn behind(message: &str, place: Place<'_>, token: &str) -> Option<Behind> {
    let key = message.split_once("key \"").or_else(|| message.split_once("Key: "))?.1;
    // Neither stands in a name.
    let key = key.split(['"', ',']).next()?;
    let mut parts = key.rsplit('/');
    let name = parts.next().filter(|it| !it.is_empty())?;
    let namespace = if place.resource.namespaced { parts.next()? } else { "" };
    if place.namespace.is_some_and(|it| it != namespace) {
        return None;
    }
    // The smallest key behind it, as kube-apiserver itself makes it.
    let start = match (namespace, place.namespace) {
        ("", _) | (_, Some(_)) => format!("{name}\0"),
        (namespace, None) => format!("{namespace}/{name}\0"),
    };
    if start_of(token).is_some_and(|before| start <= before) {
        return None;
    }
    let token = URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": -1, "start": start}).to_string());
    Some(Behind { namespace: namespace.to_owned(), name: name.to_owned(), token })
}

fn start_of(token: &str) -> Option<String> {
    let text = URL_SAFE_NO_PAD.decode(token).ok()?;
    let token: serde_json::Value = serde_json::from_slice(&text).ok()?;
    token.get("start")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Resource;

    #[test]
    fn the_list_goes_on_behind_the_object_that_is_named() {
        let resource = |name: &str, namespaced| Resource {
            group: String::new(),
            version: "v1".to_owned(),
            name: name.to_owned(),
            namespaced,
        };
        let secrets = resource("secrets", true);
        let all = Place { resource: &secrets, namespace: None };
        let message = "Internal error occurred: unable to transform key \"/registry/secrets/n/bad\": no";
        let found = behind(message, all, "").expect("found");
        assert_eq!((found.namespace.as_str(), found.name.as_str()), ("n", "bad"));
        assert_eq!(start_of(&found.token).as_deref(), Some("n/bad\0"));
        let message = "failed to read one or more secrets from the storage: StorageError: corrupt object, Code: 7, Key: \
                       /registry/secrets/n/bad, ResourceVersion: 0, AdditionalErrorMsg: no (and 2 more)";
        assert_eq!(behind(message, all, ""), Some(found));
        let one = Place { namespace: Some("n"), ..all };
        assert_eq!(start_of(&behind(message, one, "").expect("found").token).as_deref(), Some("bad\0"));
        assert_eq!(behind(message, Place { namespace: Some("m"), ..all }, ""), None);
        let nodes = resource("nodes", false);
        let message = "unable to transform key \"/registry/minions/a\": no";
        let found = behind(message, Place { resource: &nodes, namespace: None }, "").expect("found");
        assert_eq!((found.name.as_str(), start_of(&found.token).as_deref()), ("a", Some("a\0")));
    }

    #[test]
    fn it_never_goes_back() {
        let secrets = Resource {
            group: String::new(),
            version: "v1".to_owned(),
            name: "secrets".to_owned(),
            namespaced: true,
        };
        let all = Place { resource: &secrets, namespace: None };
        let message = "unable to transform key \"/registry/secrets/n/bad\": no";
        let token = behind(message, all, "").expect("found").token;
        assert_eq!(behind(message, all, &token), None);
        assert_eq!(behind("no key at all", all, ""), None);
    }
}
