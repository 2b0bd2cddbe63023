use askama::Template;
use http::StatusCode;
use keystead_keyservice::KmsError;

use super::Frame;
use crate::answer::Answer;
use crate::form::Refused;
use crate::language::Language;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "error.html")]
struct Page {
    frame: Frame,
    title: &'static str,
    text: &'static str,
    /// As the key service says it, in English; empty: there is no more.
    said: String,
}

/// What the key service refuses to show or to do.
pub(crate) fn refused(visit: &Visit<'_>, error: &KmsError) -> Answer {
    answer(Frame::new(visit, ""), error)
}

/// The same for somebody whose session cannot be looked up now.
pub(crate) fn without_session(language: Language, error: &KmsError) -> Answer {
    answer(Frame::of_stranger(language, crate::ROOT.to_owned()), error)
}

fn answer(frame: Frame, error: &KmsError) -> Answer {
    let status = StatusCode::from_u16(error.class().http_status());
    let (title, text) = (frame.texts.not_done, frame.texts.refused(error.class()));
    let page = Page { frame, title, text, said: error.message().to_owned() };
    Answer::page(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &page)
}

/// There is no such page.
pub(crate) fn not_found(visit: &Visit<'_>) -> Answer {
    let frame = Frame::new(visit, "");
    let (title, text) = (frame.texts.no_page, frame.texts.no_page_text);
    Answer::page(StatusCode::NOT_FOUND, &Page { frame, title, text, said: String::new() })
}

/// A form that no page of this session has sent. Nothing was done.
pub(crate) fn foreign_form(visit: &Visit<'_>) -> Answer {
    let frame = Frame::new(visit, "");
    let (title, text) = (frame.texts.not_done, frame.texts.foreign_form);
    Answer::page(StatusCode::FORBIDDEN, &Page { frame, title, text, said: String::new() })
}

/// A request that is not looked at.
pub(crate) fn malformed(language: Language, refused: Refused) -> Answer {
    let frame = Frame::of_stranger(language, crate::ROOT.to_owned());
    let (status, text) = match refused {
        Refused::ForeignSite => (StatusCode::FORBIDDEN, frame.texts.foreign_form),
        Refused::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, frame.texts.form_too_long),
        Refused::Method => (StatusCode::METHOD_NOT_ALLOWED, frame.texts.no_page_text),
    };
    let title = frame.texts.not_done;
    Answer::page(status, &Page { frame, title, text, said: String::new() })
}
