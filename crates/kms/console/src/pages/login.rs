use askama::Template;
use http::StatusCode;
use keystead_keyservice::Origin;
use keystead_model::ErrorClass;

use super::Frame;
use crate::Console;
use crate::answer::Answer;
use crate::form::Form;
use crate::language::Language;
use crate::visit::{Address, way_back};

/// Somebody who is not logged in.
pub(crate) struct Stranger<'a> {
    pub(crate) console: &'a Console,
    pub(crate) address: &'a Address,
    pub(crate) language: Language,
    pub(crate) origin: Origin,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    frame: Frame,
    /// Where the login leads to.
    back: String,
    /// Why the last one did not; empty: it is the first.
    failed: &'static str,
}

impl Stranger<'_> {
    /// The login, whatever was asked for; it leads there.
    pub(crate) async fn answer(self, form: Option<Form>) -> Answer {
        match (self.address.segments()[..].as_ref(), &form) {
            (["language", code], None) => super::language(self.address, code),
            (["login"], None) => self.page(StatusCode::OK, self.address.query.text("back"), ""),
            (["login"], Some(form)) => self.log_in(form).await,
            (_, None) => {
                let back: String = form_urlencoded::byte_serialize(self.address.again().as_bytes()).collect();
                Answer::see_other(format!("/console/login?back={back}")).with_session("")
            }
            (_, Some(_)) => self.page(StatusCode::UNAUTHORIZED, "", self.language.texts().session_over),
        }
    }

    async fn log_in(self, form: &Form) -> Answer {
        let texts = self.language.texts();
        let back = form.text("back");
        if !self.console.may_try_login(&self.origin) {
            return self.page(StatusCode::TOO_MANY_REQUESTS, back, texts.too_many_logins);
        }
        let begun = self.console.keyservice.begin_session(form.text("token"), self.origin.clone()).await;
        match begun {
            Ok(session) => {
                let cookie = String::from_utf8_lossy(session.cookie.expose()).into_owned();
                Answer::see_other(way_back(back)).with_session(&zeroize::Zeroizing::new(cookie))
            }
            Err(error) if error.class() == ErrorClass::Unauthenticated => {
                self.page(StatusCode::UNAUTHORIZED, back, texts.token_refused)
            }
            Err(error) => super::error::without_session(self.language, &error),
        }
    }

    fn page(&self, status: StatusCode, back: &str, failed: &'static str) -> Answer {
        let back = way_back(back).to_owned();
        let frame = Frame::of_stranger(self.language, self.address.again());
        Answer::page(status, &Page { frame, back, failed })
    }
}
