//! A small client of the Kubernetes API: Secrets, ConfigMaps and what tells how an API server is.

mod client;
mod error;
mod kubeconfig;
mod object;

pub use client::{Client, Method, Page, Readyz};
pub use error::Error;
pub use kubeconfig::kubeconfig;
pub use object::{Kind, Metadata, Object};
