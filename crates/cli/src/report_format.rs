use std::fmt::Display;

use keystead_runtime::{Failure, print_result};
use serde::Serialize;

/// In which form a report is printed: for people, or for programs.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    Table,
    Json,
}

impl ReportFormat {
    /// Prints a report to standard output.
    pub(crate) fn print(self, report: &(impl Display + Serialize)) -> Result<(), Failure> {
        let text = match self {
            Self::Table => report.to_string(),
            Self::Json => {
                serde_json::to_string_pretty(report).map_err(|error| Failure::from_error(&error))?
            }
        };
        print_result(&format!("{}\n", text.trim_end_matches('\n')))
    }
}
