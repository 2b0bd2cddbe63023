//! Who may do what: `(principal, permission, resource, policies) -> decision with its reason`. Pure.
