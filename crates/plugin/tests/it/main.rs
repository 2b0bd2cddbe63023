//! `keystead-plugin` from outside.
#![cfg(test)]

mod alerts;
mod api_server;
mod bad_input;
mod calls;
mod cloud_kms;
mod exhaustion;
mod key_commands;
mod key_service;
mod log_reader;
mod open_files;
mod plugin_in_process;
mod plugin_process;
mod process_life;
mod readiness;
mod secrets;
mod settings;
mod transport_admission;
mod transport_clients;
mod transport_echo;
mod transport_frames;
mod transport_go;
mod transport_requests;
mod upgrade;
