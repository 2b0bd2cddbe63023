//! `keystead-plugin` from outside.

mod api_server;
