//! What the crate promises to the key service.

#[cfg(test)]
mod conditions;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod other_cel;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod roles;
