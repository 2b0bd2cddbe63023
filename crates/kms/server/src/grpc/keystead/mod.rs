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

/// What a refusal names: the account of a credential, as it was sent. A person's credentials belong to the server.
fn account(principal: &str) -> String {
    Some(principal).filter(|it| it.starts_with("serviceAccount:")).unwrap_or_default().to_owned()
}

fn principal(text: &str) -> Result<Principal, KmsError> {
    text.parse().map_err(|error: InvalidPrincipal| KmsError::invalid(format!("{error}.")))
}
