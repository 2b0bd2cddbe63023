//! The pure rules of keys: states, schedules, destruction, settings, lists and masks.

#[cfg(test)]
mod destroying;
#[cfg(test)]
mod filters;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod masks;
#[cfg(test)]
mod rotating;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod states;
