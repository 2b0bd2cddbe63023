//! The plugin with its key in the real key service.

pub(crate) mod plugged;
mod restored;
pub(crate) mod service;
mod serving;
