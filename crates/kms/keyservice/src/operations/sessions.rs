//! Sessions of browsers: begun with a token, listed, ended.

mod begin_session;
mod end_session;
mod list_sessions;

pub use begin_session::NewSession;
pub use end_session::EndSession;
pub use list_sessions::ListSessions;

#[cfg(test)]
mod tests;
