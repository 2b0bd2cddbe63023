//! The clock of an API server, as the header `Date` of its answers has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::DATE;
use jiff::fmt::rfc2822::DateTimeParser;
use kube::client::Body;

use super::ApiServer;

/// Any answer will do.
const ASK: Duration = Duration::from_secs(10);
/// The header has whole seconds, cut off.
const HALF_A_SECOND: f64 = 0.5;

impl ApiServer {
    /// How far its clock is ahead of ours, in seconds, as exact as half a second and half of the call's time. None: it does not answer.
    pub async fn clock_ahead(&self) -> Option<f64> {
        let request = http::Request::get("/livez").body(Body::empty()).ok()?;
        let before = now()?;
        let answer = tokio::time::timeout(ASK, self.client.send(request)).await.ok()?.ok()?;
        let ours = (before + now()?) / 2.0;
        let date = answer.headers().get(DATE)?.to_str().ok()?;
        let theirs = DateTimeParser::new().parse_timestamp(date).ok()?;
        Some(theirs.as_second() as f64 + HALF_A_SECOND - ours)
    }
}

fn now() -> Option<f64> {
    Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}
