//! What a form or a query holds. Hostile: names come twice, values are long, nothing fits.

use std::fmt;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Uri};
use zeroize::Zeroizing;

/// Most fields that are looked at.
const MAX_FIELDS: usize = 200;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Names and values, in their order. It may hold a token, so it is not printed and wipes itself.
#[derive(Default)]
pub(crate) struct Form(Vec<(String, Zeroizing<String>)>);

/// Why a request is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another site's page has sent it.
    ForeignSite,
    TooLong,
    /// Neither GET, HEAD nor POST.
    Method,
}

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        let fields = form_urlencoded::parse(encoded).take(MAX_FIELDS);
        // Browsers end lines as mail does.
        let text = |value: &str| Zeroizing::new(value.replace("\r\n", "\n"));
        Self(fields.map(|(name, value)| (name.into_owned(), text(&value))).collect())
    }

    /// The first value of a field, without spaces around it; empty: there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(it, _)| it == name);
        field.map(|(_, value)| value.trim()).unwrap_or_default()
    }

    /// Every value of a field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.trim())
    }

    /// Whether a box was ticked.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Refuses a form that another site's page has sent. Browsers say where a form comes from; what says nothing is no browser, and
/// sends no cookie that its owner did not give it.
pub(crate) fn check_sender(uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let same_site = text(&SEC_FETCH_SITE).is_none_or(|site| matches!(site, "same-origin" | "none"));
    // In HTTP/2 the host is a part of the URI.
    let host = uri.authority().map(|authority| authority.as_str()).or(text(&HOST));
    let same_origin = text(&ORIGIN).is_none_or(|origin| {
        let from = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        from.is_some() && from == host
    });
    if same_site && same_origin { Ok(()) } else { Err(Refused::ForeignSite) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_form_is_read_and_never_printed() {
        let form = Form::parse(b"name=%20ring%20&label=a&label=b&box=on&text=a%0D%0Ab&x=%ff");
        assert_eq!((form.text("name"), form.text("nothing")), ("ring", ""));
        assert_eq!(form.all("label").collect::<Vec<_>>(), ["a", "b"]);
        assert!(form.ticked("box") && !form.ticked("other"));
        assert_eq!(form.text("text"), "a\nb");
        assert_eq!(form.text("x"), "\u{fffd}");
        assert_eq!(format!("{form:?}"), r#"["name", "label", "label", "box", "text", "x"]"#);
        let many = "a=1&".repeat(10_000);
        assert_eq!(Form::parse(many.as_bytes()).0.len(), MAX_FIELDS);
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let check = |headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let headers: HeaderMap = headers.collect();
            // The same of HTTP/2.
            let mut without_host = headers.clone();
            let host = without_host.remove(HOST).map(|host| format!("https://{}/", host.to_str().unwrap()));
            let uri = host.unwrap_or_else(|| "/".to_owned()).parse().unwrap();
            let checked = check_sender(&Uri::from_static("/"), &headers);
            assert_eq!(check_sender(&uri, &without_host), checked);
            checked
        };
        for same in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("origin", "https://kms.example:9443"), ("host", "kms.example:9443")],
            &[("origin", "http://127.0.0.1:1"), ("host", "127.0.0.1:1"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(check(same), Ok(()), "{same:?}");
        }
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "null")],
            &[("origin", "https://kms.example")],
            &[("origin", "https://evil.example"), ("host", "kms.example")],
            &[("origin", "https://kms.example.evil"), ("host", "kms.example")],
            &[("origin", "https://kms.example"), ("host", "kms.example"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(check(foreign), Err(Refused::ForeignSite), "{foreign:?}");
        }
    }
}
