//! Every sentence of the console. A language is one value of [`Texts`]: what is missing in one does not compile.

mod english;
mod korean;

pub(crate) use english::ENGLISH;
pub(crate) use korean::KOREAN;

use keystead_model::ErrorClass;

/// The sentences of one language, in the order of the pages. A name says what a text is for.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) skip: &'static str,
    pub(crate) copy: &'static str,
    pub(crate) copied: &'static str,
    pub(crate) log_in: &'static str,
    pub(crate) log_out: &'static str,
    pub(crate) token: &'static str,
    pub(crate) token_hint: &'static str,
    pub(crate) token_refused: &'static str,
    pub(crate) token_again: &'static str,
    pub(crate) too_many_logins: &'static str,
    pub(crate) session_over: &'static str,
    pub(crate) sessions: &'static str,
    pub(crate) sessions_text: &'static str,
    pub(crate) this_session: &'static str,
    pub(crate) end_session: &'static str,
    pub(crate) browser: &'static str,
    pub(crate) address: &'static str,
    pub(crate) begun: &'static str,
    pub(crate) last_used: &'static str,
    pub(crate) ends: &'static str,
    pub(crate) not_done: &'static str,
    pub(crate) no_page: &'static str,
    pub(crate) no_page_text: &'static str,
    pub(crate) foreign_form: &'static str,
    pub(crate) form_too_long: &'static str,
    pub(crate) to_the_start: &'static str,
    pub(crate) where_this_is: &'static str,
    pub(crate) command: &'static str,
    pub(crate) create: &'static str,
    pub(crate) cancel: &'static str,
    pub(crate) save: &'static str,
    pub(crate) save_changes: &'static str,
    pub(crate) optional: &'static str,
    pub(crate) name: &'static str,
    pub(crate) state: &'static str,
    pub(crate) created: &'static str,
    pub(crate) actions: &'static str,
    pub(crate) location: &'static str,
    pub(crate) next_page: &'static str,
    pub(crate) may_not_see: &'static str,
    pub(crate) enable: &'static str,
    pub(crate) disable: &'static str,
    pub(crate) enabled: &'static str,
    pub(crate) disabled: &'static str,
    pub(crate) destroy_scheduled: &'static str,
    pub(crate) destroyed: &'static str,
    pub(crate) never: &'static str,
    pub(crate) server: &'static str,
    pub(crate) project: &'static str,
    pub(crate) projects: &'static str,
    pub(crate) project_id: &'static str,
    pub(crate) project_number: &'static str,
    pub(crate) create_project: &'static str,
    pub(crate) no_projects: &'static str,
    pub(crate) project_id_hint: &'static str,
    pub(crate) bad_project_id: &'static str,
    pub(crate) cluster_account: &'static str,
    pub(crate) apis: &'static str,
    pub(crate) key_ring: &'static str,
    pub(crate) key_rings: &'static str,
    pub(crate) create_key_ring: &'static str,
    pub(crate) key_ring_name: &'static str,
    pub(crate) key_ring_text: &'static str,
    pub(crate) no_key_rings: &'static str,
    pub(crate) name_hint: &'static str,
    pub(crate) bad_name: &'static str,
    pub(crate) location_hint: &'static str,
    pub(crate) bad_location: &'static str,
    pub(crate) key: &'static str,
    pub(crate) keys: &'static str,
    pub(crate) create_key: &'static str,
    pub(crate) key_name: &'static str,
    pub(crate) no_keys: &'static str,
    pub(crate) rotation: &'static str,
    pub(crate) rotates: &'static str,
    pub(crate) rotation_days: &'static str,
    pub(crate) rotation_start: &'static str,
    pub(crate) rotation_hint: &'static str,
    pub(crate) next_rotation: &'static str,
    pub(crate) then_next: &'static str,
    pub(crate) rotate_now: &'static str,
    pub(crate) bad_days: &'static str,
    pub(crate) bad_date: &'static str,
    pub(crate) labels: &'static str,
    pub(crate) labels_hint: &'static str,
    pub(crate) bad_labels: &'static str,
    pub(crate) resource_name: &'static str,
    pub(crate) chosen: &'static str,
    pub(crate) primary: &'static str,
    pub(crate) make_primary: &'static str,
    pub(crate) version: &'static str,
    pub(crate) versions: &'static str,
    pub(crate) destruction: &'static str,
    pub(crate) destroy: &'static str,
    pub(crate) restore: &'static str,
    pub(crate) this_key: &'static str,
    pub(crate) used_by: &'static str,
    pub(crate) no_cluster_uses_it: &'static str,
    pub(crate) encrypts: &'static str,
    pub(crate) decrypts: &'static str,
    pub(crate) destroy_title: &'static str,
    pub(crate) type_the_name: &'static str,
    pub(crate) name_differs: &'static str,
    pub(crate) permissions: &'static str,
    pub(crate) permissions_hint: &'static str,
    pub(crate) member: &'static str,
    pub(crate) add_member: &'static str,
    pub(crate) member_hint: &'static str,
    pub(crate) bad_member: &'static str,
    pub(crate) role: &'static str,
    pub(crate) bad_role: &'static str,
    pub(crate) tick_a_key: &'static str,
    pub(crate) granted: &'static str,
    pub(crate) granted_at: &'static str,
    pub(crate) under_a_condition: &'static str,
    pub(crate) remove: &'static str,
    pub(crate) cluster_name_hint: &'static str,
    pub(crate) bad_cluster_name: &'static str,
    pub(crate) clusters: &'static str,
    pub(crate) create_cluster: &'static str,
    pub(crate) no_clusters: &'static str,
    pub(crate) api_servers: &'static str,
    pub(crate) one_api_server: &'static str,
    pub(crate) three_api_servers: &'static str,
    pub(crate) own_hosts: &'static str,
    pub(crate) api_servers_hint: &'static str,
    pub(crate) security: &'static str,
    pub(crate) secrets_encryption: &'static str,
    pub(crate) enable_encryption: &'static str,
    pub(crate) edit_encryption: &'static str,
    pub(crate) encryption_hint: &'static str,
    pub(crate) encryption_enabled: &'static str,
    pub(crate) encryption_disabled: &'static str,
    pub(crate) being_enabled: &'static str,
    pub(crate) being_disabled: &'static str,
    pub(crate) encryption_failed: &'static str,
    pub(crate) database_encryption_key: &'static str,
    pub(crate) choose_a_key: &'static str,
    pub(crate) or_key_name: &'static str,
    pub(crate) bad_key_name: &'static str,
    pub(crate) also_needed: &'static str,
    pub(crate) outdated: &'static str,
    pub(crate) operation_runs: &'static str,
    pub(crate) control_plane: &'static str,
    pub(crate) local_cluster: &'static str,
    pub(crate) no_hosts: &'static str,
    pub(crate) node: &'static str,
    pub(crate) agent: &'static str,
    pub(crate) not_joined: &'static str,
    pub(crate) reported: &'static str,
    pub(crate) key_ids: &'static str,
    pub(crate) progress: &'static str,
    pub(crate) plugin_access: &'static str,
    pub(crate) plugin_access_text: &'static str,
    pub(crate) no_plugins: &'static str,
    pub(crate) more_tokens: &'static str,
    pub(crate) request_service: &'static str,
    pub(crate) service_account: &'static str,
    pub(crate) service_account_hint: &'static str,
    pub(crate) issue_token: &'static str,
    pub(crate) issue_another: &'static str,
    pub(crate) revoke: &'static str,
    pub(crate) token_issued: &'static str,
    pub(crate) secret_once: &'static str,
    pub(crate) credentials_hint: &'static str,
    pub(crate) install_plugin: &'static str,
    pub(crate) or_manifest: &'static str,
    /// A length of time before now.
    pub(crate) ago: fn(&str) -> String,
    /// A length of time from now on.
    pub(crate) ahead: fn(&str) -> String,
    /// How long a version can be restored before it is destroyed.
    pub(crate) destroyed_after: fn(&str) -> String,
    /// Versions that are not on the page of their key.
    pub(crate) older_versions: fn(usize) -> String,
    /// How often something happens.
    pub(crate) every: fn(&str) -> String,
    pub(crate) seconds: fn(i64) -> String,
    pub(crate) minutes: fn(i64) -> String,
    pub(crate) hours: fn(i64) -> String,
    pub(crate) days: fn(i64) -> String,
    pub(crate) api_servers_count: fn(u8) -> String,
    refusals: Refusals,
}

/// Why the key service refuses something, by the class of its error. What it says itself is in English, and stands below.
#[derive(Debug)]
struct Refusals {
    already_exists: &'static str,
    aborted: &'static str,
    denied: &'static str,
    failed_precondition: &'static str,
    invalid: &'static str,
    not_found: &'static str,
    throttled: &'static str,
    unavailable: &'static str,
    unimplemented: &'static str,
    broken: &'static str,
}

impl Texts {
    /// What an error of this class means for whoever reads it.
    pub(crate) fn refused(&self, class: ErrorClass) -> &'static str {
        match class {
            ErrorClass::AlreadyExists => self.refusals.already_exists,
            ErrorClass::Aborted => self.refusals.aborted,
            ErrorClass::Denied => self.refusals.denied,
            ErrorClass::FailedPrecondition => self.refusals.failed_precondition,
            ErrorClass::Invalid => self.refusals.invalid,
            ErrorClass::NotFound => self.refusals.not_found,
            ErrorClass::Throttled => self.refusals.throttled,
            ErrorClass::Unavailable | ErrorClass::Timeout => self.refusals.unavailable,
            ErrorClass::Unimplemented => self.refusals.unimplemented,
            ErrorClass::Unauthenticated => self.session_over,
            _ => self.refusals.broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u1_every_text_is_there_in_both_languages_and_is_another() {
        let [english, korean] = [&ENGLISH, &KOREAN].map(|texts| format!("{texts:#?}"));
        let fields = |printed: &str| -> Vec<(String, String)> {
            let line = |line: &str| line.trim().split_once(": \"").map(|(a, b)| (a.to_owned(), b.to_owned()));
            printed.lines().filter_map(line).collect()
        };
        let (english, korean) = (fields(&english), fields(&korean));
        assert!(english.len() > 100, "{}", english.len());
        assert_eq!(english.len(), korean.len());
        let hangul = |text: &str| text.chars().any(|it| ('가'..='힣').contains(&it));
        for ((name, english), (_, korean)) in english.iter().zip(&korean) {
            assert!(!english.is_empty() && !hangul(english), "{name}: {english}");
            // The one word that is the same in both.
            assert!(hangul(korean) || name == "apis", "{name}: {korean}");
        }
    }
}
