//! The APIs that are on in a project.

mod switch_services;
mod view_services;

pub use switch_services::SwitchServices;
pub use view_services::{GetService, ListServices, ServiceView};
