//! Projects: what rings, service accounts and policies belong to.

mod create_project;
mod view_projects;

pub use create_project::CreateProject;
#[cfg(feature = "filling")]
pub(crate) use create_project::with_project;
pub use view_projects::{GetProject, ListProjects, ProjectPage};
