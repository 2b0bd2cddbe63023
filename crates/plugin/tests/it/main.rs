//! `keystead-plugin` from outside.

mod api_server;
mod transport_admission;
mod transport_clients;
mod transport_echo;
mod transport_frames;
mod transport_go;
mod transport_requests;
