//! The testkit against real programs.

mod control_plane;
mod encryption_config;
mod killed;
