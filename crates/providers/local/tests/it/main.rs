//! Key files, their changes, their way to other hosts, and the provider that serves them.

#[cfg(test)]
mod access;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod fixed;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod printing;
#[cfg(test)]
mod published;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod text;
