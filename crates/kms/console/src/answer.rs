//! What is sent: a page, a way to another one, an asset; each with the headers that keep a browser from doing anything else.

use std::sync::LazyLock;

use askama::Template;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use keystead_crypto::sha256;

use crate::ROOT;
use crate::language::Language;
use crate::visit::Address;

/// Nothing runs, loads or frames but what is served here; `self` is this server alone.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// With every answer. `same-origin` and not `no-referrer`, which would take the origin from our own forms too.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (http::header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (http::header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (http::header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// The cookie of a session. With this prefix a browser takes it from this host alone, over TLS alone, for all paths.
pub(crate) const SESSION_COOKIE: &str = "__Host-keystead-session";
/// The cookie of the language.
pub(crate) const LANGUAGE_COOKIE: &str = "keystead-language";

/// An answer of the console.
pub(crate) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    location: Option<String>,
    cookies: Vec<String>,
    /// An asset: its name changes with its content.
    forever: bool,
}

impl Answer {
    /// A page.
    pub(crate) fn page(status: StatusCode, page: &impl Template) -> Self {
        match page.render() {
            Ok(html) => Self::of(status, "text/html; charset=utf-8", html.into()),
            // Only writing to a text can fail, which does not.
            Err(_) => Self::of(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new()),
        }
    }

    /// A page with a form: the one to fill in, or the one that says what was refused.
    pub(crate) fn form(refused: bool, page: &impl Template) -> Self {
        Self::page(if refused { StatusCode::BAD_REQUEST } else { StatusCode::OK }, page)
    }

    /// After a form: the browser asks for another page, and a reload sends nothing again.
    pub(crate) fn see_other(path: impl Into<String>) -> Self {
        let mut answer = Self::of(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", Bytes::new());
        answer.location = Some(path.into());
        answer
    }

    /// Gives the browser the cookie of its session; an empty one takes it away.
    #[must_use]
    pub(crate) fn with_session(mut self, cookie: &str) -> Self {
        let end = if cookie.is_empty() { "; Max-Age=0" } else { "" };
        self.cookies.push(format!("{SESSION_COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Lax{end}"));
        self
    }

    /// Has the browser ask in this language for a year.
    #[must_use]
    pub(crate) fn with_language(mut self, language: Language) -> Self {
        let code = language.code();
        let cookie =
            format!("{LANGUAGE_COOKIE}={code}; Path={ROOT}; HttpOnly; SameSite=Lax; Max-Age=31536000");
        self.cookies.push(cookie);
        self
    }

    fn of(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        Self { status, content_type, body, location: None, cookies: Vec::new(), forever: false }
    }

    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        let cached = if self.forever { "public, max-age=31536000, immutable" } else { "no-store" };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cached));
        // A path with a letter that no header can have is no path of ours.
        if let Some(location) = self.location {
            let location = HeaderValue::try_from(location);
            headers.insert(LOCATION, location.unwrap_or(HeaderValue::from_static(ROOT)));
        }
        for mut cookie in self.cookies.into_iter().filter_map(|cookie| HeaderValue::try_from(cookie).ok()) {
            cookie.set_sensitive(true);
            headers.append(SET_COOKIE, cookie);
        }
        response
    }
}

/// A file that pages load.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

const STYLE: Asset = Asset {
    name: "console.css",
    content_type: "text/css; charset=utf-8",
    content: include_bytes!("../assets/console.css"),
};
const SCRIPT: Asset = Asset {
    name: "console.js",
    content_type: "text/javascript; charset=utf-8",
    content: include_bytes!("../assets/console.js"),
};
const ICON: Asset =
    Asset { name: "icon.svg", content_type: "image/svg+xml", content: include_bytes!("../assets/icon.svg") };

/// Where the assets are.
pub(crate) struct AssetPaths {
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) icon: String,
}

pub(crate) static ASSETS: LazyLock<AssetPaths> =
    LazyLock::new(|| AssetPaths { style: STYLE.path(), script: SCRIPT.path(), icon: ICON.path() });

impl Asset {
    fn path(&self) -> String {
        let digest = hex::encode(sha256(self.content));
        format!("{ROOT}/assets/{}/{}", digest.get(..16).unwrap_or_default(), self.name)
    }
}

/// The asset at an address. One of another version than ours is not kept by the browser.
pub(crate) fn asset(address: &Address) -> Option<Answer> {
    let ["assets", _, name] = address.segments()[..] else { return None };
    let asset = [STYLE, SCRIPT, ICON].into_iter().find(|asset| asset.name == name)?;
    let mut answer = Answer::of(StatusCode::OK, asset.content_type, Bytes::from_static(asset.content));
    answer.forever = asset.path() == address.path;
    Some(answer)
}
