use std::collections::HashMap;
use std::sync::Arc;

use keystead_model::{Condition, Policy, Principal};

use crate::permission::PermissionSet;
use crate::{Expression, Member, Query, Role};

/// A policy made ready for decisions: found by member, conditions compiled. The cost of a decision does not grow with the
/// number of bindings, only with those of the caller.
#[derive(Debug, Default)]
pub struct CompiledPolicy {
    principals: HashMap<Principal, Grants>,
    groups: HashMap<String, Grants>,
    everyone: Grants,
    ignored: Vec<String>,
}

/// What one member has.
#[derive(Debug, Default)]
struct Grants {
    /// All that the roles in `always` grant: most questions end at one bit.
    set: PermissionSet,
    always: Vec<&'static Role>,
    sometimes: Vec<(&'static Role, Arc<Expression>)>,
}

impl CompiledPolicy {
    /// Makes a stored policy ready. A binding that this version does not understand (a role, member or condition of a
    /// newer one) grants nothing: see [`Self::ignored`].
    pub fn compile(policy: &Policy) -> Self {
        let mut compiled = Self::default();
        let mut conditions: HashMap<&Condition, Arc<Expression>> = HashMap::new();
        for binding in &policy.bindings {
            let Some(role) = Role::find(&binding.role) else {
                compiled.ignored.push(format!("role {} is unknown", binding.role));
                continue;
            };
            let condition = match &binding.condition {
                None => None,
                Some(condition) => match conditions.get(condition) {
                    Some(known) => Some(Arc::clone(known)),
                    None => match Expression::compile(&condition.expression) {
                        Ok(expression) => {
                            let expression = Arc::new(expression);
                            conditions.insert(condition, Arc::clone(&expression));
                            Some(expression)
                        }
                        Err(error) => {
                            compiled.ignored.push(format!("condition of role {}: {error}", binding.role));
                            continue;
                        }
                    },
                },
            };
            for member in &binding.members {
                match Member::parse(member) {
                    Ok(member) => compiled.of(member).add(role, condition.clone()),
                    Err(error) => compiled.ignored.push(error.to_string()),
                }
            }
        }
        compiled
    }

    /// What was not understood and grants nothing, in words for the log.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The role by which `query` is granted here, if any.
    pub(crate) fn granted_by(&self, query: &Query<'_>) -> Option<&'static Role> {
        let own = self.principals.get(query.principal).into_iter();
        let groups = query.groups.iter().filter_map(|group| self.groups.get(group.as_str()));
        own.chain(groups).chain([&self.everyone]).find_map(|grants| grants.granted_by(query))
    }

    fn of(&mut self, member: Member) -> &mut Grants {
        match member {
            Member::Principal(principal) => self.principals.entry(principal).or_default(),
            Member::Group(email) => self.groups.entry(email).or_default(),
            Member::AllAuthenticatedUsers => &mut self.everyone,
        }
    }
}

impl Grants {
    fn add(&mut self, role: &'static Role, condition: Option<Arc<Expression>>) {
        match condition {
            Some(condition) => self.sometimes.push((role, condition)),
            None => {
                self.set = self.set.union(role.set());
                self.always.push(role);
            }
        }
    }

    fn granted_by(&self, query: &Query<'_>) -> Option<&'static Role> {
        if self.set.contains(query.permission) {
            return self.always.iter().copied().find(|role| role.has(query.permission));
        }
        self.sometimes
            .iter()
            .find(|(role, condition)| role.has(query.permission) && condition.is_true(query))
            .map(|(role, _)| *role)
    }
}
