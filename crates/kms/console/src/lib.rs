//! The web console: pages over the key service. It is an adapter as REST and gRPC are: whoever asks for a page is known by the
//! cookie of a session, and each form becomes a command of the key service, which decides.
//!
//! It must never decide who may do what, never take a change without the token of its form, and never answer with anything that
//! a browser would run. Every text is in `texts`, in each language. Read [`Console::answer`] first, then `pages/rings.rs`.
//!
//! | module | what it is |
//! |---|---|
//! | `texts` | every sentence, in English and in Korean |
//! | `language` | which of both a browser gets |
//! | `moment` | times as people say them |
//! | `answer` | pages, redirections, assets, and the headers that come with each |
//! | `form` | what a form or a query holds |
//! | `login_attempts` | how often an address may try a token |
//! | `visit` | one request: who it is, what it asks for |
//! | `pages` | what each address shows and does |

mod answer;
mod form;
mod language;
mod login_attempts;
mod moment;
mod pages;
mod texts;
mod visit;

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use keystead_keyservice::{KeyService, Origin, Presented};
use keystead_model::ErrorClass;

use answer::Answer;
use form::Form;
use language::Language;
use login_attempts::LoginAttempts;
use visit::{Address, Cookies, Visit};

/// Where the console is.
pub const ROOT: &str = "/console";
/// The longest form, in bytes: a policy condition of 2 KiB, encoded, and some fields.
const MAX_FORM_LEN: usize = 64 * 1024;

/// The console of one server.
pub struct Console {
    keyservice: Arc<KeyService>,
    logins: LoginAttempts,
}

impl Console {
    /// Pages over a key service.
    pub fn new(keyservice: Arc<KeyService>) -> Self {
        Self { keyservice, logins: LoginAttempts::default() }
    }

    /// Whether a path is the console's. A browser that asks for the server itself is sent to it.
    pub fn serves(path: &str) -> bool {
        path == "/" || path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request for a page, an asset or a form.
    pub async fn answer<B>(&self, request: Request<B>, origin: Origin) -> Response<Bytes>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send,
    {
        let head = request.method() == Method::HEAD;
        let mut response = self.route(request, origin).await.into_response();
        if head {
            response.body_mut().clear();
        }
        response
    }

    async fn route<B>(&self, request: Request<B>, origin: Origin) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send,
    {
        let (head, body) = request.into_parts();
        if head.uri.path() == "/" {
            return Answer::see_other(ROOT);
        }
        let address = Address::of(&head.uri);
        if let Some(asset) = answer::asset(&address) {
            return asset;
        }
        let cookies = Cookies::of(&head.headers);
        let language = cookies.language.unwrap_or_else(|| Language::accepted(&head.headers));
        let form = match head.method {
            Method::GET | Method::HEAD => None,
            Method::POST => match self.read_form(&head.uri, &head.headers, body).await {
                Ok(form) => Some(form),
                Err(refused) => return pages::error::malformed(language, refused),
            },
            _ => return pages::error::malformed(language, form::Refused::Method),
        };
        let presented =
            Presented { session: cookies.session.as_ref().map(|it| it.as_str()), ..Presented::default() };
        let call = match cookies.session {
            None => None,
            Some(_) => match self.keyservice.authenticate(presented, origin.clone()).await {
                Ok(call) => Some(call),
                Err(error) if error.class() == ErrorClass::Unauthenticated => None,
                Err(error) => return pages::error::without_session(language, &error),
            },
        };
        let Some(call) = call else {
            let stranger = pages::login::Stranger { console: self, address: &address, language, origin };
            return stranger.answer(form).await;
        };
        let session = cookies.session.unwrap_or_default();
        let visit = Visit::new(self, address, language, call, &session);
        match form {
            Some(form) if !visit.made_by_our_page(&form) => pages::error::foreign_form(&visit),
            form => pages::answer(&visit, form).await,
        }
    }

    async fn read_form<B>(&self, uri: &Uri, headers: &HeaderMap, body: B) -> Result<Form, form::Refused>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send,
    {
        form::check_sender(uri, headers)?;
        let body = Limited::new(body, MAX_FORM_LEN).collect().await.map_err(|_| form::Refused::TooLong)?;
        Ok(Form::parse(&body.to_bytes()))
    }

    fn may_try_login(&self, origin: &Origin) -> bool {
        self.logins.may_try(origin.address, Instant::now())
    }
}
