//! `keystead kms keys update`, `set-rotation-schedule`, `remove-rotation-schedule`

use keystead_runtime::Failure;
use serde_json::{Map, Value, json};

use super::create::enum_name;
use super::set_primary;
use crate::duration::{Seconds, rotation_period, time};
use crate::kms::names::{Key, id};
use crate::labels::LabelChanges;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// Stop making new versions by itself
    #[arg(long, conflicts_with_all = ["rotation_period", "next_rotation_time"])]
    remove_rotation_schedule: bool,
    /// Make this version primary: it encrypts from now on
    #[arg(long, value_name = "VERSION")]
    primary_version: Option<String>,
    #[command(flatten)]
    labels: LabelChanges,
    /// Algorithm of new versions
    #[arg(long, value_name = "ALGORITHM")]
    default_algorithm: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScheduleArgs {
    #[command(flatten)]
    key: Key,
    /// Make a new primary version so often, such as 90d; at least 1d
    #[arg(long, value_name = "SPAN", value_parser = rotation_period)]
    rotation_period: Option<Seconds>,
    /// Make the next one then, such as 2026-12-01T00:00:00Z or +p30d
    #[arg(long, value_name = "TIME", value_parser = time)]
    next_rotation_time: Option<String>,
}

const SCHEDULE: &str = "rotationPeriod,nextRotationTime";

/// `update`: the primary version by its own call, everything else by one.
pub(super) fn run(session: &Session<'_>, args: &UpdateArgs) -> Result<(), Failure> {
    let name = args.schedule.key.name(session)?;
    let path = format!("/v1/{name}");
    let mut fields = args.schedule.fields();
    if args.labels.any() {
        fields.insert(0, "labels");
    }
    if args.remove_rotation_schedule {
        fields.push(SCHEDULE);
    }
    if args.default_algorithm.is_some() {
        fields.push("versionTemplate.algorithm");
    }
    if fields.is_empty() && args.primary_version.is_none() {
        return Err(Failure::new("nothing to update: --help lists what can be changed").usage());
    }
    let mut key = session.server().get(&path, &[])?;
    if let Some(version) = &args.primary_version {
        key = set_primary(session, &name, id(version))?;
    }
    if !fields.is_empty() {
        let mut body = args.schedule.body();
        let labels = args.labels.apply(key.get("labels").unwrap_or(&Value::Null));
        if args.labels.any() {
            body.insert("labels".to_owned(), Value::Object(labels));
        }
        if let Some(algorithm) = &args.default_algorithm {
            body.insert("versionTemplate".to_owned(), json!({"algorithm": enum_name(algorithm)}));
        }
        key = patch(session, &path, &fields.join(","), Value::Object(body)).map_err(|failure| match &args
            .primary_version
        {
            Some(version) => {
                failure.caused_by(format!("the primary version was set to {} before that", id(version)))
            }
            None => failure,
        })?;
    }
    session.print_if_asked(key)
}

/// `set-rotation-schedule`
pub(super) fn set_schedule(session: &Session<'_>, args: &ScheduleArgs) -> Result<(), Failure> {
    let fields = args.fields();
    if fields.is_empty() {
        let text = "at least one of --rotation-period and --next-rotation-time is needed";
        return Err(Failure::new(text).usage());
    }
    let path = format!("/v1/{}", args.key.name(session)?);
    session.print_if_asked(patch(session, &path, &fields.join(","), Value::Object(args.body()))?)
}

/// `remove-rotation-schedule`: fields that the mask names and the body lacks are cleared.
pub(super) fn remove_schedule(session: &Session<'_>, key: &Key) -> Result<(), Failure> {
    let path = format!("/v1/{}", key.name(session)?);
    session.print_if_asked(patch(session, &path, SCHEDULE, json!({}))?)
}

fn patch(session: &Session<'_>, path: &str, mask: &str, body: Value) -> Result<Value, Failure> {
    session.server().patch(path, &[("updateMask", mask)], &body)
}

impl ScheduleArgs {
    fn fields(&self) -> Vec<&'static str> {
        let period = self.rotation_period.map(|_| "rotationPeriod");
        let next = self.next_rotation_time.as_ref().map(|_| "nextRotationTime");
        period.into_iter().chain(next).collect()
    }

    fn body(&self) -> Map<String, Value> {
        let period = self.rotation_period.map(|it| ("rotationPeriod".to_owned(), it.to_string().into()));
        let next =
            self.next_rotation_time.as_ref().map(|it| ("nextRotationTime".to_owned(), it.as_str().into()));
        period.into_iter().chain(next).collect()
    }
}
