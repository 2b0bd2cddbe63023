//! Projects: what rings, service accounts and policies belong to.

mod create_project;
mod view_projects;

pub use create_project::CreateProject;
pub use view_projects::{GetProject, ListProjects, ProjectPage};
