//! The trusted core against vectors of others, against our published vectors, and against every kind of damage.

#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod codec;
#[cfg(test)]
mod fixed;
#[cfg(test)]
mod printing;
#[cfg(test)]
mod published;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod wycheproof_vectors;
