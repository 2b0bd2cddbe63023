//! Whether a thing exists is told to those who may know, and to nobody else, however it is named.

use tonic::Code;

use super::calls::{ABSENT, EXISTING, Names, Transport, World};
use super::table::{Row, rows};

/// One way of naming things: what exists, and names of the same lengths of what does not.
struct Way {
    label: &'static str,
    existing: Vec<(&'static str, String)>,
    absent: Vec<(&'static str, String)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_the_permission_gets_the_same_answer_whether_or_not_a_thing_exists() {
    let world = World::new().await;
    let mut compared = 0;
    let mut wrong = Vec::new();
    for Way { label, existing, absent } in ways(&world).await {
        let (existing, absent) = (borrowed(&existing), borrowed(&absent));
        for row in rows() {
            for transport in [Transport::Rest, Transport::Grpc] {
                let answers = [&existing, &absent].map(async |names| {
                    let (code, text) = world.answer(&row, world.stranger(), transport, names).await;
                    (code, without(names, text))
                });
                let [there, not_there] = answers;
                let (there, not_there) = (there.await, not_there.await);
                compared += 1;
                if there != not_there {
                    wrong.push(format!(
                        "{} over {transport:?} by {label}:\n  {there:?}\n  {not_there:?}",
                        row.method
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 500, "only {compared} answers were compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_the_permission_hears_that_a_thing_does_not_exist() {
    let world = World::new().await;
    for Way { label, absent, .. } in ways(&world).await {
        for row in rows().into_iter().filter(|row| names_something(row) && !row.is_free()) {
            let expected = match () {
                // Cloud KMS takes no numbers of projects.
                () if label == "number" && is_of_kms(&row) => Code::InvalidArgument,
                // One that was signed elsewhere is not known, and still revoked.
                () if row.method.ends_with("/RevokeCertificate") => Code::Ok,
                () => Code::NotFound,
            };
            for transport in [Transport::Rest, Transport::Grpc] {
                let names = borrowed(&absent);
                let (code, text) = world.answer(&row, world.server.admin(), transport, &names).await;
                assert_eq!(code, expected, "{} over {transport:?} by {label}: {text}", row.method);
            }
        }
    }
}

/// What can be named in more than one way is named in each.
async fn ways(world: &World) -> Vec<Way> {
    let project = world.server.get("/v1/projects/key-project").await.ok();
    let number = project["projectNumber"].as_str().expect("a number").to_owned();
    let other_number = if number == "999999999999" { "999999999998" } else { "999999999999" };
    let robot = "robot-1@key-project.iam.gserviceaccount.com";
    let account = world.server.get(&format!("/v1/projects/-/serviceAccounts/{robot}")).await.ok();
    let unique_id = account["uniqueId"].as_str().expect("an id");
    let token = world.server.token_of(&format!("serviceAccount:{robot}")).await;
    world.server.call_as(world.server.admin(), "DELETE", "/keystead/v1/certificates/0a1b", "").await.ok();

    let cluster = |number: &str| format!("service-{number}@container-engine-robot.iam.gserviceaccount.com");
    let services = |number: &str| format!("projects/{number}/services/cloudkms.googleapis.com");
    let by_number = |number: &str| {
        vec![
            ("{project}", number.to_owned()),
            ("{location}", format!("projects/{number}/locations/us-central1")),
            ("{ring}", format!("projects/{number}/locations/us-central1/keyRings/ring-1")),
            ("{key}", format!("projects/{number}/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1")),
            (
                "{version}",
                format!(
                    "projects/{number}/locations/us-central1/keyRings/ring-1/cryptoKeys/key-1/cryptoKeyVersions/9"
                ),
            ),
            ("{cluster}", format!("projects/{number}/locations/us-central1/clusters/cluster-1")),
            ("{account}", format!("projects/{number}/serviceAccounts/{robot}")),
            ("{account-absent}", format!("projects/{number}/serviceAccounts/{robot}")),
            ("{email}", cluster(number)),
            ("{operation}", operation(&services(number))),
            ("{token}", "0000000000000000".to_owned()),
            ("{serial}", "0a1c".to_owned()),
        ]
    };
    let with = |names: Names<'static>, email: &str, account: &str, token: &str| {
        let mut names: Vec<_> = names.iter().map(|(it, name)| (*it, (*name).to_owned())).collect();
        for (placeholder, name) in &mut names {
            match *placeholder {
                "{account}" | "{account-absent}" => *name = format!("projects/{account}"),
                "{email}" => *name = email.to_owned(),
                "{token}" => *name = token.to_owned(),
                _ => {}
            }
        }
        names
    };
    let absent_robot = "robot-9@key-project.iam.gserviceaccount.com";
    let dash = |id: &str| format!("-/serviceAccounts/{id}");
    let id = token.get(3..19).expect("an id");
    let (here, gone) = (dash(robot), dash(absent_robot));
    let mut ways = vec![
        Way {
            label: "id",
            existing: with(EXISTING, robot, &format!("key-project/serviceAccounts/{robot}"), id),
            absent: with(
                ABSENT,
                "robot-1@non-project.iam.gserviceaccount.com",
                "non-project/serviceAccounts/robot-1@non-project.iam.gserviceaccount.com",
                "0000000000000001",
            ),
        },
        Way { label: "number", existing: by_number(&number), absent: by_number(other_number) },
    ];
    // The rest only differs in accounts: everything else is absent on both sides, so that it is asked for once more.
    for (label, email, existing, absent) in [
        ("address", absent_robot, here, gone),
        ("unique id", absent_robot, dash(unique_id), dash("100000000000000000000")),
        ("number in an address", absent_robot, dash(&cluster(&number)), dash(&cluster(other_number))),
    ] {
        let absent = with(ABSENT, email, &absent, "0000000000000001");
        let existing = with(ABSENT, robot, &existing, id);
        ways.push(Way { label, existing, absent });
    }
    for Way { existing, absent, .. } in &ways {
        for ((_, existing), (_, absent)) in existing.iter().zip(absent) {
            assert_eq!(existing.len(), absent.len(), "{existing} {absent}");
        }
    }
    ways
}

/// The name of the operation that switched a service.
fn operation(service: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!("operations/services.{}", URL_SAFE_NO_PAD.encode(service))
}

fn borrowed<'a>(names: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    names.iter().map(|(placeholder, name)| (*placeholder, name.as_str())).collect()
}

/// An answer with placeholders for the names that were sent, the longest first.
fn without(names: Names<'_>, mut text: String) -> String {
    let mut names = names.to_vec();
    names.sort_by_key(|(_, name)| std::cmp::Reverse(name.len()));
    for (placeholder, name) in names {
        text = text.replace(name, placeholder);
    }
    text
}

fn names_something(row: &Row) -> bool {
    row.message.contains("{project}") || EXISTING.iter().any(|(name, _)| row.message.contains(name))
}

fn is_of_kms(row: &Row) -> bool {
    [
        "google.cloud.kms.v1.",
        "google.cloud.kms.inventory.v1.KeyTrackingService/",
        "google.cloud.location.",
        "google.iam.v1.",
        "keystead.v1.Usage",
    ]
    .iter()
    .any(|service| row.method.starts_with(service))
}
