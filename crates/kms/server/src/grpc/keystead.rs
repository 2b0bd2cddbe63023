//! `keystead.v1`: what Google's APIs have no word for.

mod agents;
mod audit;
mod backups;
mod certificates;
mod cluster_hosts;
mod policy;
mod tokens;
mod usage;

use keystead_keyservice::{KmsError, LastUse, Method, MethodKind};
use keystead_model::{InvalidPrincipal, Principal};

const fn method(name: &'static str, kind: MethodKind) -> Method {
    Method { service: "keystead.io", name, kind }
}

/// What a refusal names: the account of a credential, as it was sent. A person's credentials belong to the server.
fn account(principal: &str) -> String {
    Some(principal).filter(|it| it.starts_with("serviceAccount:")).unwrap_or_default().to_owned()
}

/// Whose credentials a list shows, and how many on a page.
fn page(whose: &str, size: i32) -> Result<(Option<Principal>, usize), KmsError> {
    let whose = if whose.is_empty() { None } else { Some(principal(whose)?) };
    let size = usize::try_from(size).map_err(|_| KmsError::invalid("page_size must not be negative."))?;
    Ok((whose, size))
}

fn address(last_use: Option<LastUse>) -> String {
    last_use.and_then(|last| last.address).map(|address| address.to_string()).unwrap_or_default()
}

fn principal(text: &str) -> Result<Principal, KmsError> {
    text.parse().map_err(|error: InvalidPrincipal| KmsError::invalid(format!("{error}.")))
}
