//! Projects and the APIs that are on in them.

mod create_project;
mod enabled;
mod get_project;
mod list_projects;
mod project;
mod service_api;
mod switch_services;
mod view_services;

pub use create_project::CreateProject;
pub(crate) use enabled::ServiceState;
pub use get_project::GetProject;
pub use list_projects::{ListProjects, ProjectPage};
pub use project::Project;
pub use service_api::{ServiceApi, ServiceView};
pub use switch_services::SwitchServices;
pub use view_services::{GetService, ListServices};
