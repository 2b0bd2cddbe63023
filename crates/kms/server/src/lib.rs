//! REST and gRPC in front of the key service; the binary.

pub mod rest;
