//! `keystead kms encrypt`, `decrypt`, `generate-random-bytes`: bytes from files and to files, with CRC32C both ways.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_model::Exit;
use keystead_runtime::{Failure, print_result};
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::names::{InKey, Location};
use crate::output_file;
use crate::session::Session;

/// What the API takes.
const MOST_PLAINTEXT: usize = 65_536;
/// Generously more than the ciphertext of so much plaintext, as in gcloud.
const MOST_CIPHERTEXT: usize = 2 * MOST_PLAINTEXT;

#[derive(Debug, clap::Args)]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    key: InKey,
    /// Encrypt with this version instead of the primary one
    #[arg(long)]
    version: Option<String>,
    /// What to encrypt; - reads standard input
    #[arg(long, value_name = "FILE")]
    plaintext_file: PathBuf,
    /// Where to write the ciphertext; - is standard output
    #[arg(long, value_name = "FILE")]
    ciphertext_file: PathBuf,
    #[command(flatten)]
    more: More,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    key: InKey,
    /// What to decrypt; - reads standard input
    #[arg(long, value_name = "FILE")]
    ciphertext_file: PathBuf,
    /// Where to write the plaintext; - is standard output. The file is readable by its owner only
    #[arg(long, value_name = "FILE")]
    plaintext_file: PathBuf,
    #[command(flatten)]
    more: More,
}

#[derive(Debug, clap::Args)]
struct More {
    /// Bytes that must be the same at encryption and decryption; - reads standard input
    #[arg(long, value_name = "FILE")]
    additional_authenticated_data_file: Option<PathBuf>,
    /// Send and check no CRC32C
    #[arg(long)]
    skip_integrity_verification: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RandomArgs {
    #[command(flatten)]
    location: Location,
    /// How many: 8 to 1024
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(8..=1024))]
    length: u16,
    /// Where to write them; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output_file: PathBuf,
    /// Who makes them; at Google only an HSM does
    #[arg(long, value_name = "LEVEL", default_value = "software", value_parser = ["software", "hsm"])]
    protection_level: String,
}

pub(crate) fn encrypt(session: &Session<'_>, args: &EncryptArgs) -> Result<(), Failure> {
    let name = match &args.version {
        Some(version) => args.key.version(session, version)?,
        None => args.key.name(session)?,
    };
    args.more.one_reader(&args.plaintext_file)?;
    let plaintext = read(&args.plaintext_file, MOST_PLAINTEXT)?;
    let mut body = args.more.body("plaintext", &plaintext)?;
    let answer = session.server().post(&format!("/v1/{name}:encrypt"), &[], &body);
    wipe(&mut body);
    let answer = answer.map_err(explain_mismatch)?;
    let ciphertext = bytes(&answer, "ciphertext")?;
    if args.more.checks() {
        let used = answer.get("name").and_then(Value::as_str).unwrap_or_default();
        let used = if args.version.is_some() {
            used
        } else {
            used.split("/cryptoKeyVersions/").next().unwrap_or_default()
        };
        if used != name {
            return Err(corrupt(&format!("{used:?} was used instead of {name}")));
        }
        for field in ["verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c"] {
            if answer.get(field) != Some(&Value::Bool(true)) {
                return Err(corrupt(&format!("the server does not say {field}")));
            }
        }
        check(&answer, "ciphertextCrc32c", &ciphertext)?;
    }
    write(&args.ciphertext_file, &ciphertext, false)
}

pub(crate) fn decrypt(session: &Session<'_>, args: &DecryptArgs) -> Result<(), Failure> {
    let name = args.key.name(session)?;
    args.more.one_reader(&args.ciphertext_file)?;
    let ciphertext = read(&args.ciphertext_file, MOST_CIPHERTEXT)?;
    let body = args.more.body("ciphertext", &ciphertext)?;
    let answer = session.server().post(&format!("/v1/{name}:decrypt"), &[], &body);
    let mut answer = answer.map_err(explain_mismatch)?;
    let plaintext = bytes(&answer, "plaintext");
    wipe(&mut answer);
    let plaintext = plaintext?;
    if args.more.checks() {
        check(&answer, "plaintextCrc32c", &plaintext)?;
    }
    write(&args.plaintext_file, &plaintext, true)?;
    if plaintext.is_empty() && !is_standard(&args.plaintext_file) {
        return print_result("Decrypted file is empty\n");
    }
    Ok(())
}

pub(crate) fn random(session: &Session<'_>, args: &RandomArgs) -> Result<(), Failure> {
    let path = format!("/v1/{}:generateRandomBytes", args.location.name(session)?);
    let level = args.protection_level.to_ascii_uppercase();
    let body = json!({"lengthBytes": args.length, "protectionLevel": level});
    let mut answer = session.server().post(&path, &[], &body)?;
    let data = bytes(&answer, "data");
    wipe(&mut answer);
    let data = data?;
    check(&answer, "dataCrc32c", &data)?;
    if data.len() != usize::from(args.length) {
        return Err(corrupt(&format!("{} bytes came instead of {}", data.len(), args.length)));
    }
    write(&args.output_file, &data, true)
}

impl More {
    fn checks(&self) -> bool {
        !self.skip_integrity_verification
    }

    fn one_reader(&self, file: &Path) -> Result<(), Failure> {
        let aad = self.additional_authenticated_data_file.as_deref();
        if is_standard(file) && aad.is_some_and(is_standard) {
            return Err(Failure::new("only one of the files can be standard input").usage());
        }
        Ok(())
    }

    /// Without AAD its checksum is sent all the same, as gcloud does: that of nothing.
    fn body(&self, field: &str, data: &[u8]) -> Result<Value, Failure> {
        let aad = self.additional_authenticated_data_file.as_deref();
        let aad = aad.map(|file| read(file, MOST_PLAINTEXT)).transpose()?;
        let mut body = Map::new();
        body.insert(field.to_owned(), STANDARD.encode(data).into());
        if let Some(aad) = &aad {
            body.insert("additionalAuthenticatedData".to_owned(), STANDARD.encode(aad).into());
        }
        if self.checks() {
            let aad = aad.as_deref().map_or(&[][..], Vec::as_slice);
            body.insert(format!("{field}Crc32c"), crc32c::crc32c(data).to_string().into());
            body.insert(
                "additionalAuthenticatedDataCrc32c".to_owned(),
                crc32c::crc32c(aad).to_string().into(),
            );
        }
        Ok(Value::Object(body))
    }
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(file: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // One more than allowed tells a long file from one that just fits, and a terabyte is not read.
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut data = Zeroizing::new(Vec::with_capacity(most.saturating_add(1)));
    let done = if is_standard(file) {
        std::io::stdin().take(limit).read_to_end(&mut data)
    } else {
        std::fs::File::open(file).and_then(|it| it.take(limit).read_to_end(&mut data))
    };
    done.map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?;
    if data.len() > most {
        let text = format!("{} is longer than {most} bytes", file.display());
        return Err(Failure::new(text)
            .hint("encrypt long data with a key of your own, and that key with this one".to_owned()));
    }
    Ok(data)
}

fn write(file: &Path, data: &[u8], secret: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", file.display()));
    if is_standard(file) {
        let mut out = std::io::stdout().lock();
        return match out.write_all(data).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(error)),
            _ => Ok(()),
        };
    }
    let replace = if secret { output_file::replace_secret } else { output_file::replace_public };
    replace(file, data).map_err(failed)
}

/// Bytes in an answer; the server leaves empty ones out.
fn bytes(answer: &Value, field: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = answer.get(field).and_then(Value::as_str).unwrap_or_default();
    STANDARD.decode(text).map(Zeroizing::new).map_err(|_| corrupt(&format!("{field} is not base64")))
}

/// The numbers come as text, as every 64-bit number in JSON; a bare number is taken, too.
fn check(answer: &Value, field: &str, data: &[u8]) -> Result<(), Failure> {
    let said = answer.get(field).and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
    if said == Some(u64::from(crc32c::crc32c(data))) {
        Ok(())
    } else {
        Err(corrupt(&format!("{field} does not fit")))
    }
}

fn corrupt(what: &str) -> Failure {
    Failure::new(format!("the answer is not to be trusted: {what}")).exit(Exit::Problem).hint(
        "try again; if it happens again, something between here and the server changes what is sent"
            .to_owned(),
    )
}

/// The server says that what reached it is not what was sent.
fn explain_mismatch(failure: Failure) -> Failure {
    let text = failure.to_string();
    if !(text.contains("The checksum in field") && text.contains("did not match")) {
        return failure;
    }
    failure.exit(Exit::Problem).hint("the request was changed on its way: try again".to_owned())
}

/// Text in JSON that stood for plaintext.
fn wipe(value: &mut Value) {
    for field in ["plaintext", "data"] {
        if let Some(Value::String(text)) = value.get_mut(field) {
            text.zeroize();
        }
    }
}
