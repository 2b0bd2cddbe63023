//! What the crate promises to the key service.

mod conditions;
mod decisions;
