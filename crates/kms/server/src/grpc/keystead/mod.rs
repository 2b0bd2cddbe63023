//! `keystead.v1`: what Google's APIs have no word for.

mod audit;
mod backups;
mod certificates;
mod policy;
mod tokens;
mod usage;

use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::{InvalidPrincipal, Principal};

const fn method(name: &'static str, kind: MethodKind) -> Method {
    Method { service: "keystead.io", name, kind }
}

fn principal(text: &str) -> Result<Principal, KmsError> {
    text.parse().map_err(|error: InvalidPrincipal| KmsError::invalid(format!("{error}.")))
}
