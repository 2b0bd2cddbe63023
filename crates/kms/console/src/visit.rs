//! One request: where it goes, who makes it, and the token that each form of its page carries.

use http::HeaderMap;
use http::header::COOKIE;
use jiff::Timestamp;
use keystead_crypto::hkdf_sha256;
use keystead_keyservice::{Call, Credential, KeyService, KmsError, Operation};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::answer::{LANGUAGE_COOKIE, SESSION_COOKIE};
use crate::form::Form;
use crate::language::Language;
use crate::moment::Moment;
use crate::texts::Texts;
use crate::{Console, ROOT};

/// The field of each form that says which page it is from.
const FORM_TOKEN: &str = "form-token";

/// The part of a URI that is ours.
pub(crate) struct Address {
    /// As it was sent.
    pub(crate) path: String,
    /// What stands after `/console`, decoded.
    segments: Vec<String>,
    pub(crate) query: Form,
    raw_query: String,
}

/// What a browser brings back.
#[derive(Default)]
pub(crate) struct Cookies {
    pub(crate) session: Option<Zeroizing<String>>,
    pub(crate) language: Option<Language>,
}

/// A request of somebody who is known.
pub(crate) struct Visit<'a> {
    pub(crate) console: &'a Console,
    pub(crate) address: Address,
    pub(crate) language: Language,
    pub(crate) call: Call,
    /// What each form of the page carries.
    pub(crate) form_token: String,
}

impl Address {
    pub(crate) fn of(uri: &http::Uri) -> Self {
        let path = uri.path().to_owned();
        let inside = path.strip_prefix(ROOT).unwrap_or_default();
        let decoded = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let segments = inside.split('/').filter(|it| !it.is_empty()).map(decoded).collect();
        let raw_query = uri.query().unwrap_or_default().to_owned();
        Self { path, segments, query: Form::parse(raw_query.as_bytes()), raw_query }
    }

    pub(crate) fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// To come back to, after a login or in another language.
    pub(crate) fn again(&self) -> String {
        if self.raw_query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.raw_query)
        }
    }
}

/// Where somebody is sent who was on the way there: only to the console itself, whatever the query says.
pub(crate) fn way_back(wanted: &str) -> &str {
    let ours = wanted == ROOT || wanted.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with(['/', '?']));
    let plain = wanted.bytes().all(|it| it.is_ascii_graphic() && it != b'\\');
    if ours && plain { wanted } else { ROOT }
}

impl Cookies {
    /// The first of each name counts: a browser sends the one of the longest path first.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut cookies = Self::default();
        let texts = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        for (name, value) in texts.flat_map(|text| text.split(';')).filter_map(|it| it.trim().split_once('='))
        {
            match name {
                SESSION_COOKIE if cookies.session.is_none() => {
                    cookies.session = Some(Zeroizing::new(value.to_owned()));
                }
                LANGUAGE_COOKIE if cookies.language.is_none() => cookies.language = Language::of_code(value),
                _ => {}
            }
        }
        cookies
    }
}

impl<'a> Visit<'a> {
    pub(crate) fn new(
        console: &'a Console,
        address: Address,
        language: Language,
        call: Call,
        session: &str,
    ) -> Self {
        let mut token = [0; 16];
        // It fails for lengths that are not these.
        let derived = hkdf_sha256(session.as_bytes(), b"", b"keystead console form 1", &mut token);
        let form_token = derived.map(|()| hex::encode(token)).unwrap_or_default();
        Self { console, address, language, call, form_token }
    }

    /// Whether a form comes from a page that we gave to this session.
    pub(crate) fn made_by_our_page(&self, form: &Form) -> bool {
        let sent = form.text(FORM_TOKEN).as_bytes();
        !sent.is_empty() && bool::from(sent.ct_eq(self.form_token.as_bytes()))
    }

    pub(crate) fn keyservice(&self) -> &'a KeyService {
        &self.console.keyservice
    }

    /// Has a command done for whoever asks, as a call of its own.
    pub(crate) async fn run<O: Operation>(&self, command: O) -> Result<O::Output, KmsError> {
        let call = self.keyservice().continue_call(&self.call)?;
        self.keyservice().run(&call, command).await
    }

    pub(crate) fn texts(&self) -> &'static Texts {
        self.language.texts()
    }

    /// The id of the session that this is a request of.
    pub(crate) fn session_id(&self) -> &str {
        match &self.call.caller().credential {
            Credential::Session(id) => id,
            _ => "",
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.call.time()
    }

    pub(crate) fn moment(&self, time: Timestamp) -> Moment {
        Moment::new(time, self.now(), self.texts())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_way_back_leads_nowhere_else() {
        for ours in ["/console", "/console/projects/p?x=%0d", "/console?page=2"] {
            assert_eq!(way_back(ours), ours);
        }
        for elsewhere in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/console",
            "/consoles",
            "/console\\@evil.example",
            "/console/\r\nSet-Cookie: a=b",
            "/console/ä",
            "javascript:alert(1)",
            "/\\evil.example",
            "\t/console",
        ] {
            assert_eq!(way_back(elsewhere), ROOT, "{elsewhere}");
        }
    }

    #[test]
    fn cookies_are_found_among_others() {
        let header =
            "a=b; __Host-keystead-session=kss_1; keystead-language=ko; __Host-keystead-session=kss_2";
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(header))]);
        let cookies = Cookies::of(&headers);
        assert_eq!(cookies.session.as_ref().map(|it| it.as_str()), Some("kss_1"));
        assert_eq!(cookies.language, Some(Language::Korean));
    }

    #[test]
    fn an_address_is_split_before_it_is_decoded() {
        let address = Address::of(&"/console/projects/a%2Fb//c?x=1".parse().unwrap());
        assert_eq!(address.segments(), ["projects", "a/b", "c"]);
        assert_eq!(
            (address.query.text("x"), address.again().as_str()),
            ("1", "/console/projects/a%2Fb//c?x=1")
        );
    }
}
