use std::io::IsTerminal;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::log_limit::{LimitLayer, LogLimit};
use crate::log_queue::{QueueWriter, process_queue};

/// How much our own code logs. Libraries log warnings and errors at every level: at trace level theirs may hold what is
/// on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only errors.
    Error,
    /// And warnings.
    Warn,
    /// And what changes.
    #[default]
    Info,
    /// And every call, with kube-apiserver's uid.
    Debug,
    /// And everything else.
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts logging to standard error. A second call in one process changes nothing.
///
/// Logging never waits for the reader of standard error: a thread writes, and what does not fit into its queue is dropped and
/// counted ([`crate::dropped_log_lines`]). Warnings that repeat are limited in rate. [`crate::exit`] waits for the last lines.
pub fn start_logs(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let others = level.min(tracing::Level::WARN);
    let filter = Targets::new().with_default(others).with_target("keystead", level);
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let limit = Arc::new(LogLimit::default());
    let writer = match process_queue(&limit) {
        Some(queue) => BoxMakeWriter::new(move || QueueWriter(Arc::clone(&queue))),
        // No thread could be started: a log that may block is better than none.
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let layer = fmt::layer().with_writer(writer);
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        layer.with_ansi(terminal).with_target(false).boxed()
    };
    // The filter is for the whole subscriber: what it switches off costs nothing at the place of the call.
    let subscriber = tracing_subscriber::registry().with(filter).with(layer).with(LimitLayer(limit));
    if subscriber.try_init().is_ok() {
        log_panics();
    }
}

/// The usual report of a panic waits for the reader of standard error, and would hold a worker thread up.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));
}
