//! What every process of ours needs around its work: a configuration file with good errors, logs, tasks that have a name
//! and an end, signals, the admin port, and words to the service manager.
//!
//! It must never know what the process does. Read [`Tasks`] first.

mod admin;
mod config_file;
mod failure;
mod log_limit;
mod log_queue;
mod process;
mod setting;
mod tasks;
mod telemetry;
pub mod whole_file;

pub use admin::{Admin, Readiness, Report};
pub use config_file::{ConfigFileError, parse_config, read_config};
pub use failure::{Failure, exit};
pub use log_queue::dropped_log_lines;
pub use process::{NotHardened, Notify, harden, plain_environment, print_result, termination};
pub use setting::{AdminAddress, Span};
pub use tasks::{Drained, Tasks};
pub use telemetry::{LogFormat, LogLevel, start_logs};
