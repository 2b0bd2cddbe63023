//! The two calls that a run is made of: a page of a list, and a patch that changes nothing.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::api::{ApiServer, Call, CallError, METADATA, METADATA_LIST, Resource};

use super::outcome::Outcome;

/// kube-apiserver's own limit for one request.
const CALL: Duration = Duration::from_secs(60);
const MERGE_PATCH: &str = "application/merge-patch+json";
/// What Google's clusters are told to set when Secrets are to be encrypted anew; others look for it too.
pub(super) const ANNOTATION: &str = "encryption-key-rotation-time";
/// So many conflicts with others, and the patch goes without a condition: the API server then resolves them itself.
const CONDITIONAL: u32 = 3;

/// One page of a list.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) metadata: PageMetadata,
    // kube-apiserver writes null for an empty list.
    pub(super) items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMetadata {
    /// Empty on the last page.
    #[serde(default, rename = "continue")]
    pub(super) continue_token: String,
    /// How many objects follow; an estimate.
    #[serde(default)]
    pub(super) remaining_item_count: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) resource_version: String,
}

/// Where a list is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) resource: &'a Resource,
    pub(super) namespace: Option<&'a str>,
}

/// How an object is patched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch<'a> {
    /// Sets [`ANNOTATION`] to this; without it nothing is changed.
    pub(super) annotate: Option<&'a str>,
    /// Tells a rewrite of ours from what others wrote meanwhile, by a condition on the resource version. Costs more where others
    /// write.
    pub(super) exact: bool,
}

/// An object to be patched.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) version: String,
    /// How often others were faster.
    pub(super) conflicts: u32,
}

pub(super) async fn list(
    server: &ApiServer,
    place: Place<'_>,
    limit: usize,
    continue_token: &str,
) -> Result<Page, CallError> {
    let collection = place.resource.collection(place.namespace);
    let path = format!("{collection}?limit={limit}&continue={}", escaped(continue_token));
    server.json(&Call::get(&path, METADATA_LIST, CALL)).await
}

/// Patches one object and says whether that stored it anew.
pub(super) async fn patch(
    server: &ApiServer,
    resource: &Resource,
    how: Patch<'_>,
    object: &Object,
) -> Result<Outcome, CallError> {
    let collection = resource.collection(Some(&object.namespace));
    let path = format!("{collection}/{}", escaped(&object.name));
    let fresh = match how.exact && object.conflicts > 0 {
        true => Some(server.json::<Item>(&Call::get(&path, METADATA, CALL)).await?.metadata.resource_version),
        false => None,
    };
    let before = fresh.as_ref().unwrap_or(&object.version);
    let conditional = how.exact && object.conflicts <= CONDITIONAL;
    let body = body(how.annotate, conditional.then_some(before));
    let call = Call {
        method: Method::PATCH,
        path: &path,
        accept: METADATA,
        body: Some((MERGE_PATCH, &body)),
        limit: CALL,
    };
    let after = server.json::<Item>(&call).await?.metadata.resource_version;
    Ok(match (after == *before, how.exact && !conditional) {
        (true, _) => Outcome::Current,
        (false, false) => Outcome::Rewritten,
        (false, true) => Outcome::ChangedMeanwhile,
    })
}

fn body(annotate: Option<&str>, version: Option<&String>) -> String {
    match (annotate, version) {
        (None, None) => "{}".to_owned(),
        (None, Some(version)) => json!({"metadata": {"resourceVersion": version}}).to_string(),
        (Some(time), None) => json!({"metadata": {"annotations": {ANNOTATION: time}}}).to_string(),
        (Some(time), Some(version)) => {
            json!({"metadata": {"annotations": {ANNOTATION: time}, "resourceVersion": version}}).to_string()
        }
    }
}

/// A path segment or a value of a query. Kubernetes forbids `/` and `%` in names and nothing else.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                escaped.push(byte.into());
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_holds_what_it_must_and_no_more() {
        let version = "7".to_owned();
        assert_eq!(body(None, None), "{}");
        assert_eq!(body(None, Some(&version)), r#"{"metadata":{"resourceVersion":"7"}}"#);
        assert_eq!(
            body(Some("T"), None),
            r#"{"metadata":{"annotations":{"encryption-key-rotation-time":"T"}}}"#
        );
    }

    #[test]
    fn names_of_every_kind_become_one_segment() {
        assert_eq!(escaped("system:node"), "system:node");
        assert_eq!(escaped("a b?c#ä"), "a%20b%3Fc%23%C3%A4");
    }
}
