//! What the crate promises to the key service.

#[cfg(test)]
mod conditions;
#[cfg(test)]
mod decisions;
