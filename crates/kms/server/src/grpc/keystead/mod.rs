//! `keystead.v1`: what Google's APIs have no word for.

mod tokens;
