//! `keystead kms keys create`

use clap::ValueEnum;
use keystead_runtime::Failure;
use serde_json::{Map, Value, json};

use crate::duration::{Seconds, destroy_scheduled_duration, rotation_period, time};
use crate::kms::names::{Key, id, parent};
use crate::labels;
use crate::output::Shape;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    key: Key,
    /// What the key is for
    #[arg(long, value_enum)]
    purpose: Purpose,
    /// Make a new primary version so often, such as 90d; at least 1d
    #[arg(long, value_name = "SPAN", value_parser = rotation_period)]
    rotation_period: Option<Seconds>,
    /// Make the next one then, such as 2026-12-01T00:00:00Z or +p30d
    #[arg(long, value_name = "TIME", value_parser = time)]
    next_rotation_time: Option<String>,
    /// Labels
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = labels::pair)]
    labels: Vec<(String, String)>,
    /// Where the material is and computes
    #[arg(long, value_enum, default_value_t = ProtectionLevel::Software)]
    protection_level: ProtectionLevel,
    /// Algorithm of new versions; google-symmetric-encryption for the purpose encryption
    #[arg(long, value_name = "ALGORITHM")]
    default_algorithm: Option<String>,
    /// How long a version waits between `versions destroy` and its end, such as 30d; at most 120d
    #[arg(long, value_name = "SPAN", value_parser = destroy_scheduled_duration)]
    destroy_scheduled_duration: Option<Seconds>,
    /// Make the key without a version: it encrypts nothing until one is made primary
    #[arg(long)]
    skip_initial_version_creation: bool,
    /// Take only versions that are imported
    #[arg(long)]
    import_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Purpose {
    Encryption,
    RawEncryption,
    AsymmetricSigning,
    AsymmetricEncryption,
    Mac,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtectionLevel {
    Software,
    Hsm,
    External,
    ExternalVpc,
}

pub(super) fn run(session: &Session<'_>, args: &CreateArgs) -> Result<(), Failure> {
    let name = args.key.name(session)?;
    let body = body(args)?;
    let mut query = vec![("cryptoKeyId", id(&name))];
    if args.skip_initial_version_creation {
        query.push(("skipInitialVersionCreation", "true"));
    }
    let made = session.server().post(&format!("/v1/{}/cryptoKeys", parent(&name)), &query, &body)?;
    // gcloud gives what it creates here as a list of one.
    session.output().print(vec![made], "none", Shape::Many)
}

fn body(args: &CreateArgs) -> Result<Value, Failure> {
    let purpose = match args.purpose {
        Purpose::Encryption => "ENCRYPT_DECRYPT",
        Purpose::RawEncryption => "RAW_ENCRYPT_DECRYPT",
        Purpose::AsymmetricSigning => "ASYMMETRIC_SIGN",
        Purpose::AsymmetricEncryption => "ASYMMETRIC_DECRYPT",
        Purpose::Mac => "MAC",
    };
    let level = match args.protection_level {
        ProtectionLevel::Software => "SOFTWARE",
        ProtectionLevel::Hsm => "HSM",
        ProtectionLevel::External => "EXTERNAL",
        ProtectionLevel::ExternalVpc => "EXTERNAL_VPC",
    };
    let algorithm = match &args.default_algorithm {
        Some(algorithm) => enum_name(algorithm),
        None if args.purpose == Purpose::Encryption => "GOOGLE_SYMMETRIC_ENCRYPTION".to_owned(),
        None => {
            return Err(
                Failure::new("--default-algorithm is needed for every purpose but encryption").usage()
            );
        }
    };
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("purpose", purpose.into());
    put("versionTemplate", json!({"algorithm": algorithm, "protectionLevel": level}));
    if let Some(period) = args.rotation_period {
        put("rotationPeriod", period.to_string().into());
    }
    if let Some(time) = &args.next_rotation_time {
        put("nextRotationTime", time.as_str().into());
    }
    if let Some(duration) = args.destroy_scheduled_duration {
        put("destroyScheduledDuration", duration.to_string().into());
    }
    if !args.labels.is_empty() {
        put("labels", Value::Object(labels::map(&args.labels)));
    }
    if args.import_only {
        put("importOnly", true.into());
    }
    Ok(Value::Object(body))
}

/// `google-symmetric-encryption` as the API has it.
pub(super) fn enum_name(word: &str) -> String {
    word.to_ascii_uppercase().replace('-', "_")
}
