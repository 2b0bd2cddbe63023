//! Results, as people and programs want them: gcloud's `--format`, `--filter`, `--sort-by` and `--flatten`.
//!
//! Data goes to standard output, what is said about it to standard error.

mod filter;
mod format;
mod list;
mod path;
mod render;
mod yaml;

use std::io::Write as _;

use keystead_model::Exit;
use keystead_runtime::{Failure, print_result};
use serde_json::Value;

use filter::Filter;
use format::Format;
pub(crate) use list::ListArgs;
pub(crate) use render::visible;

/// How results are printed.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// json, yaml, value(PATH,...), table(PATH,...), csv(PATH,...), text or none; a PATH is that of a field, such as
    /// primary.state, labels.list() or name.basename():label=KEY
    #[arg(long, global = true)]
    format: Option<Format>,
    /// Show each element of a list as a resource of its own, such as bindings[].members
    #[arg(long, global = true, value_name = "PATH")]
    flatten: Option<String>,
}

/// Whether a command's result is one resource or a list of them: JSON and YAML tell these apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    One,
    Many,
}

impl OutputArgs {
    /// Prints one resource; without `--format` in the given form.
    pub(crate) fn print_one(&self, resource: Value, default: &str) -> Result<(), Failure> {
        self.print(vec![resource], default, Shape::One)
    }

    /// Prints a list; without `--format` as the given table.
    pub(crate) fn print_list(
        &self,
        resources: Vec<Value>,
        list: &ListArgs,
        table: &str,
    ) -> Result<(), Failure> {
        let resources = self.flattened(resources)?;
        self.print_flat(list.choose(resources)?, table, Shape::Many)
    }

    /// Prints one resource that is a list with `--flatten`, and can be filtered then.
    pub(crate) fn print_parts(&self, resource: Value, list: &ListArgs) -> Result<(), Failure> {
        let shape = if self.flatten.is_some() { Shape::Many } else { Shape::One };
        let parts = self.flattened(vec![resource])?;
        self.print_flat(list.choose(parts)?, "yaml", shape)
    }

    /// Prints resources that nobody filters.
    pub(crate) fn print(&self, resources: Vec<Value>, default: &str, shape: Shape) -> Result<(), Failure> {
        let shape = if self.flatten.is_some() { Shape::Many } else { shape };
        let resources = self.flattened(resources)?;
        self.print_flat(resources, default, shape)
    }

    fn print_flat(&self, resources: Vec<Value>, default: &str, shape: Shape) -> Result<(), Failure> {
        let default: Format = default
            .parse()
            .map_err(|error| Failure::new(format!("format {default}: {error}")).exit(Exit::Bug))?;
        let format = match &self.format {
            Some(format) => format.clone().with_labels_of(&default),
            None => default,
        };
        if resources.is_empty() && shape == Shape::Many && format.is_for_people() {
            say("Listed 0 items.");
            return Ok(());
        }
        print_result(&render::render(&format, resources, shape))
    }

    fn flattened(&self, resources: Vec<Value>) -> Result<Vec<Value>, Failure> {
        match &self.flatten {
            None => Ok(resources),
            Some(text) => list::flatten(resources, text)
                .map_err(|error| Failure::new(format!("--flatten: {error}")).usage()),
        }
    }
}

/// Says what was done, beside the data. Whoever closed standard error does not want to know.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
