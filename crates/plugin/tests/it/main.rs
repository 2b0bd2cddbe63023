//! `keystead-plugin` from outside.

#[cfg(test)]
mod api_server;
mod bad_input;
mod key_commands;
mod plugin_process;
mod process_life;
mod settings;
mod transport_admission;
mod transport_clients;
mod transport_echo;
mod transport_frames;
mod transport_go;
mod transport_requests;
