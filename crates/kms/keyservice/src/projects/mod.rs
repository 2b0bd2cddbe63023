//! Projects and the APIs that are on in them.

mod enabled;

pub(crate) use enabled::ServiceState;
