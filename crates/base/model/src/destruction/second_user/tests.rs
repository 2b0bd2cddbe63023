use super::*;

fn user(name: &str) -> Principal {
    format!("user:{name}@example.com").parse().unwrap()
}

fn asking(principal: &Principal, is_approver: bool) -> Asking<'_> {
    Asking { principal, is_approver, can_be_others: false }
}

fn users(names: &[&str]) -> Vec<User> {
    // The words change with every inventory.
    names
        .iter()
        .enumerate()
        .map(|(at, who)| User { who: (*who).to_owned(), why: format!("had {at}") })
        .collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn requested(by: &str, is_approver: bool, of: &[&str]) -> ForcedDestruction {
    match ForcedDestruction::ask(None, asking(&user(by), is_approver), &users(of), at(0)) {
        Ok(Consent::Requested(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn p12_another_user_consents_if_one_of_both_is_an_approver() {
    for (first, second, given) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let request = requested("a", first, &["cluster x"]);
        let ask = |by: &str, is_approver| {
            ForcedDestruction::ask(
                Some(&request),
                asking(&user(by), is_approver),
                &users(&["cluster x"]),
                at(1),
            )
        };
        let approved = ForcedDestruction { approved_by: Some(user("b")), ..request.clone() };
        let expected = if given { Consent::Given(approved) } else { Consent::Waits(request.clone()) };
        assert_eq!(ask("b", second), Ok(expected), "{first} {second}");
        // Nobody alone, however often, and whatever became of their role.
        for is_approver in [false, true] {
            assert_eq!(ask("a", is_approver), Ok(Consent::Waits(request.clone())));
        }
    }
}

#[test]
fn p12_a_request_that_is_late_or_of_other_users_begins_anew() {
    let request = requested("a", false, &["cluster x", "it"]);
    let b = user("b");
    let ask = |before: &ForcedDestruction, of: &[&str], now| {
        ForcedDestruction::ask(Some(before), asking(&b, true), &users(of), now).unwrap()
    };
    let day = REQUEST_COUNTS.as_secs();
    for (of, now, given) in [
        (&["cluster x", "it"][..], at(day - 1), true),
        (&["it", "cluster x", "it"], at(1), true),
        (&["cluster x", "it"], at(day), false),
        (&["cluster x", "it"], at(-day), false),
        (&["cluster x"], at(1), false),
        (&["cluster x", "cluster y", "it"], at(1), false),
    ] {
        let answer = ask(&request, of, now);
        assert_eq!(matches!(answer, Consent::Given(_)), given, "{of:?} {now}");
        let anew =
            matches!(&answer, Consent::Requested(it) if it.requested_by == b && it.request_time == now);
        assert_eq!(anew, !given, "{answer:?}");
    }
    // What was carried out is no request any more.
    let Consent::Given(done) = ask(&request, &["cluster x", "it"], at(1)) else { panic!("it is given") };
    assert!(matches!(ask(&done, &["cluster x", "it"], at(2)), Consent::Requested(_)));
}

#[test]
fn p12_what_two_agreed_on_covers_those_users_and_no_others() {
    let request = requested("a", true, &["cluster x", "cluster y"]);
    let agreed = ForcedDestruction { approved_by: Some(user("b")), ..request.clone() };
    assert!(!request.covers(&users(&["cluster x"])));
    for (now, covered) in [
        (&["cluster x", "cluster y"][..], true),
        (&["cluster y"], true),
        (&["cluster x", "cluster z"], false),
    ] {
        assert_eq!(agreed.covers(&users(now)), covered, "{now:?}");
    }
}

#[test]
fn p12_who_can_be_somebody_else_does_not_count() {
    let of = users(&["it"]);
    let request = requested("a", false, &["it"]);
    for before in [None, Some(&request)] {
        let robot: Principal = "serviceAccount:robot@p.iam.gserviceaccount.com".parse().unwrap();
        let program = ForcedDestruction::ask(before, asking(&robot, true), &of, at(1));
        assert!(program.unwrap_err().to_string().starts_with("Service account robot@p."));
        let b = user("b");
        let anybody = Asking { can_be_others: true, ..asking(&b, true) };
        let refused = ForcedDestruction::ask(before, anybody, &of, at(1)).unwrap_err();
        assert_eq!(refused, NoConsent::Anybody(b));
    }
    let many: Vec<String> = (0..=MOST_USERS).map(|number| format!("cluster {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let a = user("a");
    let refused = ForcedDestruction::ask(None, asking(&a, true), &users(&many), at(0));
    assert_eq!(refused, Err(NoConsent::TooManyUsers(MOST_USERS + 1)));
    ForcedDestruction::ask(None, asking(&a, true), &users(&many[1..]), at(0)).unwrap();
}

#[test]
fn p12_the_answer_says_who_asked_until_when_and_what_the_other_one_does() {
    let version: CryptoKeyVersionName =
        "projects/key-project/locations/us/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3".parse().unwrap();
    let text = |is_approver| {
        let request = Box::new(requested("a", is_approver, &["cluster x"]));
        Waiting { version: Box::new(version.clone()), users: users(&["cluster x"]), request }.to_string()
    };
    for said in [
        "cryptoKeyVersions/3 is still in use: cluster x had 0. ",
        "The first one is user:a@example.com, at 2027-01-15T08:00:00Z;",
        "until another user with that role gives the same command before 2027-01-16T08:00:00Z",
        "`gcloud kms keys versions destroy 3 --key=k --keyring=r --location=us --project=key-project`",
    ] {
        assert!(text(false).contains(said), "{said}: {}", text(false));
    }
    assert!(text(true).contains("until another user gives"), "{}", text(true));
}
