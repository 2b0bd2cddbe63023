//! Whom a unit starts its process as: by the process, and while none runs by the unit's own words.

use std::process::Command;
use std::time::Duration;

use crate::api_server_unit::RunsAs;
use crate::host::program;
use crate::pod_user::PodUser;

/// For one name: a directory service that is asked for it may be far away, and answers or gives up sooner.
const LIMIT: Duration = Duration::from_secs(30);

/// Whom these words come to, as `systemd.exec`(5) says. The last of the groups is the one of files that it makes.
///
/// # Errors
///
/// In words: there is no such user or group, or systemd chooses one at each start.
pub(super) fn of_words(words: &RunsAs) -> Result<PodUser, String> {
    if words.is_dynamic {
        return Err("systemd chooses the user at each start".to_owned());
    }
    let Some(name) = &words.user else { return Ok(PodUser { user: 0, groups: vec![0] }) };
    // `NAME:x:UID:GID:...`, also of a number.
    let line = asked("getent", &["passwd", name])?;
    let mut fields = line.trim().split(':');
    let name = fields.next().unwrap_or_default();
    let (user, own) = (number(fields.nth(1), "getent")?, number(fields.next(), "getent")?);
    let mut groups = Vec::new();
    for group in asked("id", &["-G", "--", name])?.split_whitespace() {
        groups.push(number(Some(group), "id")?);
    }
    for group in &words.groups {
        groups.push(of_group(group)?);
    }
    let first = words.group.as_deref().map_or(Ok(own), of_group)?;
    // With `Group=` the user's own one does not count, and `id` tells it all the same.
    groups.retain(|it| *it != first && *it != own);
    groups.push(first);
    Ok(PodUser { user, groups })
}

fn of_group(name: &str) -> Result<u32, String> {
    match name.parse() {
        Ok(number) => Ok(number),
        // `NAME:x:GID:...`
        Err(_) => number(asked("getent", &["group", name])?.trim().split(':').nth(2), "getent"),
    }
}

fn number(text: Option<&str>, program: &str) -> Result<u32, String> {
    let number = text.and_then(|it| it.parse().ok());
    number.ok_or_else(|| format!("what `{program}` prints is not understood"))
}

fn asked(program: &str, words: &[&str]) -> Result<String, String> {
    let answer = program::told(Command::new(program).args(words).env("LC_ALL", "C"), LIMIT);
    // `getent` says nothing if there is no such name.
    answer.map_err(|reason| format!("`{program} {}` fails: {reason}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::of_words;
    use crate::api_server_unit::RunsAs;

    /// The first user of this machine that is not root and has another group than root's, with both numbers.
    fn somebody() -> (String, u32, u32) {
        let text = fs::read_to_string("/etc/passwd").expect("users");
        let users = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let number = |at: usize| fields.get(at)?.parse().ok();
            Some(((*fields.first()?).to_owned(), number(2)?, number(3)?))
        });
        users.into_iter().find(|(_, user, group)| *user != 0 && *group != 0).expect("a user")
    }

    #[test]
    fn a_user_is_who_the_words_say_without_a_process() {
        let (name, user, group) = somebody();
        let words = |text: &str| RunsAs { user: Some(text.to_owned()), ..RunsAs::default() };
        for text in [&name, &user.to_string()] {
            let found = of_words(&words(text)).expect("known");
            assert_eq!((found.user, found.groups.last()), (user, Some(&group)), "{text}");
        }
        let more = RunsAs { group: Some("4242".into()), groups: vec!["root".into()], ..words(&name) };
        let found = of_words(&more).expect("known");
        assert_eq!((found.user, found.groups.last()), (user, Some(&4242)));
        assert!(found.groups.contains(&0) && !found.groups.contains(&group), "{found:?}");
        assert_eq!(of_words(&RunsAs::default()).expect("root").user, 0);
    }

    #[test]
    fn nobody_is_taken_for_root_because_he_is_not_known() {
        let absent = RunsAs { user: Some("nobody-has-this-name".into()), ..RunsAs::default() };
        let said = of_words(&absent).expect_err("absent");
        assert!(said.contains("`getent passwd nobody-has-this-name` fails"), "{said}");
        let no_group =
            RunsAs { group: Some("nobody-has-this-name".into()), user: Some("0".into()), ..absent };
        assert!(of_words(&no_group).is_err());
        let dynamic = RunsAs { is_dynamic: true, ..RunsAs::default() };
        assert!(of_words(&dynamic).is_err());
    }
}
