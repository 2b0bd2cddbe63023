use keystead_model::ErrorClass;

use crate::InvalidCondition;
use crate::validate::{MAX_CONDITIONAL_BINDINGS, MAX_DESCRIPTION_CHARS, MAX_MEMBERS, MAX_TITLE_CHARS};

/// Why a policy was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Neither 0, 1 nor 3.
    #[error("Policy version {version} is not supported: 1, or 3 for a policy with conditions.")]
    Version {
        /// What was given.
        version: i32,
    },
    /// A condition in a policy of another version than 3.
    #[error("The policy has a condition for role {role}: set the policy version to 3.")]
    ConditionNeedsVersion3 {
        /// The role of the binding.
        role: String,
    },
    /// Too many members over all bindings.
    #[error("The policy has {given} members in all its bindings; at most {MAX_MEMBERS} are allowed.")]
    TooManyMembers {
        /// How many there were.
        given: usize,
    },
    /// Too many bindings with a condition.
    #[error(
        "The policy has {given} bindings with a condition; at most {MAX_CONDITIONAL_BINDINGS} are allowed."
    )]
    TooManyConditions {
        /// How many there were.
        given: usize,
    },
    /// No such role, or not at this kind of resource.
    #[error("Role {role} is not supported for this resource.")]
    Role {
        /// What was given, cut.
        role: String,
    },
    /// No kind of member.
    #[error(
        "The member {member} is of an unknown type. Please set a valid type prefix for the member: user:, serviceAccount: or \
         group:, or allAuthenticatedUsers."
    )]
    MemberKind {
        /// What was given, cut.
        member: String,
    },
    /// Not an address.
    #[error("The member {member} does not have a valid e-mail address.")]
    MemberEmail {
        /// What was given, cut.
        member: String,
    },
    /// Everybody on the network.
    #[error("The member allUsers is not supported: this server answers authenticated callers only.")]
    Public,
    /// A domain.
    #[error(
        "The member {member} is not supported: this server does not know who belongs to a domain. Use a group."
    )]
    Domain {
        /// What was given, cut.
        member: String,
    },
    /// An identity that is gone.
    #[error("The member {member} is deleted. Remove it from the policy.")]
    Deleted {
        /// What was given, cut.
        member: String,
    },
    /// Owner, editor or viewer under a condition.
    #[error("Role {role} cannot be granted under a condition. Use a role of the service.")]
    BasicRoleWithCondition {
        /// The role.
        role: &'static str,
    },
    /// A condition without a title, or too long.
    #[error(
        "The condition for role {role} must have a title of 1 to {MAX_TITLE_CHARS} characters and a description of at most \
         {MAX_DESCRIPTION_CHARS}."
    )]
    ConditionTexts {
        /// The role.
        role: &'static str,
    },
    /// Not an expression that can be evaluated here.
    #[error("The condition for role {role} is not valid: {source}.")]
    Condition {
        /// The role.
        role: &'static str,
        /// What is wrong.
        source: InvalidCondition,
    },
}

impl InvalidPolicy {
    /// `Invalid`.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}
