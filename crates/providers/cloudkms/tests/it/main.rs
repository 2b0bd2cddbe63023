//! The provider against a server that speaks gRPC over HTTP/2 and TLS.
#![cfg(test)]

mod authorities;
mod contract;
mod credentials;
mod hostile;
mod place;
mod refusals;
mod server;
mod stand_in;
mod tls;
