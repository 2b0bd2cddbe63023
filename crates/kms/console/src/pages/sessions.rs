use askama::Template;
use http::StatusCode;
use keystead_keyservice::KmsError;
use keystead_keyservice::operations::{EndSession, ListSessions};

use super::Frame;
use crate::answer::Answer;
use crate::moment::Moment;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "sessions.html")]
struct Page {
    frame: Frame,
    sessions: Vec<Row>,
}

struct Row {
    id: String,
    token_id: String,
    /// The one that asks.
    this: bool,
    begun: Moment,
    used: Moment,
    ends: Moment,
    address: String,
    user_agent: String,
}

/// The sessions of whoever looks.
pub(super) async fn list(visit: &Visit<'_>) -> Result<Answer, KmsError> {
    let mut sessions = visit.run(ListSessions::of_caller(&visit.call)).await?;
    sessions.sort_by_key(|session| std::cmp::Reverse(session.last_use.time));
    let row = |session: keystead_keyservice::Session| Row {
        this: session.id == visit.session_id(),
        begun: visit.moment(session.create_time),
        used: visit.moment(session.last_use.time),
        ends: visit.moment(session.expire_time()),
        address: session.last_use.address.map(|it| it.to_string()).unwrap_or_default(),
        user_agent: session.user_agent.unwrap_or_default(),
        id: session.id,
        token_id: session.token_id,
    };
    let sessions = sessions.into_iter().map(row).collect();
    Ok(Answer::page(StatusCode::OK, &Page { frame: Frame::new(visit, ""), sessions }))
}

/// Ends one.
pub(super) async fn end(visit: &Visit<'_>, id: &str) -> Result<Answer, KmsError> {
    visit.run(EndSession::of_caller(&visit.call, id.to_owned())).await?;
    Ok(Answer::see_other("/console/sessions"))
}

/// Ends the one that asks.
pub(super) async fn log_out(visit: &Visit<'_>) -> Result<Answer, KmsError> {
    visit.run(EndSession::of_caller(&visit.call, visit.session_id().to_owned())).await?;
    Ok(Answer::see_other("/console/login").with_session(""))
}
