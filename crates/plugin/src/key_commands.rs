//! `keystead-plugin key ...`: the life of a key file.

use std::path::{Path, PathBuf};

use keystead_crypto::SystemRandom;
use keystead_provider_local::{
    DiskError, Identity, KeyFile, Recipient, SealedError, VersionInfo, create, edit, load, open_sealed,
    seal_to, store,
};
use keystead_runtime::Failure;

/// Longest sealed key file that is read, in bytes.
const MAX_SEALED_LEN: u64 = 128 * 1024;

/// Make, look at, change and move the key file of the provider `local`.
///
/// This rotates a local key file only. A KMS's key is rotated with `kms keys versions create --primary`.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The key file
    #[arg(
        long,
        env = "KEYSTEAD_KEY_FILE",
        value_name = "FILE",
        default_value = "/etc/keystead/key",
        global = true
    )]
    key_file: PathBuf,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a new key file with one version
    Create,
    /// Show the versions and their fingerprints, to compare between hosts
    List {
        /// Form of the list
        #[arg(long, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
    },
    /// Make a version that only unwraps; every control-plane host needs it before any host promotes it
    Add,
    /// Make a version the one that wraps; also to go back to an earlier one
    Promote {
        /// Its number
        version: u32,
    },
    /// Forget a version for ever; what was encrypted with it can never be read again
    Remove {
        /// Its number; not the primary
        version: u32,
        /// Do it
        #[arg(long)]
        yes: bool,
        /// Only say what would be done
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
    },
    /// Add a version and promote it at once
    Rotate {
        /// There is only one control-plane host; with more, use `add`, `export`, `import`, then `promote` on each
        #[arg(long, required = true)]
        single_host: bool,
    },
    /// Print the key file, sealed so that only one recipient can open it
    Export {
        /// Who may open it: the line that `import --new-identity` printed on the other host
        #[arg(long, value_name = "RECIPIENT")]
        recipient: String,
    },
    /// Put a sealed key file in place; refuses to lose a version that is there already
    Import {
        /// The sealed file
        #[arg(value_name = "FILE", required_unless_present = "new_identity")]
        file: Option<PathBuf>,
        /// Identity that opens it
        #[arg(long, value_name = "FILE", required_unless_present = "new_identity")]
        identity: Option<PathBuf>,
        /// First step: make an identity in FILE and print its recipient for `export` on the other host
        #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "identity"])]
        new_identity: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ListFormat {
    Table,
    Json,
}

/// Runs one command and gives what to print.
pub fn run(args: KeyArgs) -> Result<String, Failure> {
    let path = args.key_file.as_path();
    match args.command {
        KeyCommand::Create => create_key(path),
        KeyCommand::List { format } => list(path, format),
        KeyCommand::Add => add(path),
        KeyCommand::Promote { version } => promote(path, version),
        KeyCommand::Remove { version, yes, dry_run } => remove(path, version, yes, dry_run),
        KeyCommand::Rotate { .. } => rotate(path),
        KeyCommand::Export { recipient } => export(path, &recipient),
        KeyCommand::Import { new_identity: Some(identity), .. } => new_identity(&identity),
        KeyCommand::Import { file: Some(file), identity: Some(identity), .. } => {
            import(path, &file, &identity)
        }
        KeyCommand::Import { .. } => Err(Failure::new("import needs FILE and --identity FILE").usage()),
    }
}

fn create_key(path: &Path) -> Result<String, Failure> {
    let file = KeyFile::generate(&now(), &SystemRandom).map_err(|error| Failure::from_error(&error))?;
    create(path, &file).map_err(disk)?;
    Ok(format!(
        "made key file {} with id {}\n\n\
         Losing this file loses every Secret that is encrypted with it. Copy it now to a safe place that is not this\n\
         machine and not the cluster's backup, and to every other control-plane host (`key export` and `key import`).\n",
        path.display(),
        file.id()
    ))
}

fn list(path: &Path, format: ListFormat) -> Result<String, Failure> {
    let file = load(path).map_err(disk)?;
    Ok(match format {
        ListFormat::Table => table(&file, &file.versions()),
        ListFormat::Json => json(&file, &file.versions()),
    })
}

fn add(path: &Path) -> Result<String, Failure> {
    let number = edit(path, |file| file.add(&now(), &SystemRandom)).map_err(disk)?;
    Ok(format!(
        "added version {number}; it only unwraps until it is promoted\n\
         Bring it to every control-plane host first (`key export`, `key import`), compare with `key list`, then run\n\
         `key promote {number}` on each.\n"
    ))
}

fn promote(path: &Path, version: u32) -> Result<String, Failure> {
    let activation = edit(path, |file| file.promote(version).map(|()| file.activation())).map_err(disk)?;
    Ok(format!("version {version} is the primary now (activation {activation})\n{}", AFTER_ROTATION))
}

fn remove(path: &Path, version: u32, yes: bool, dry_run: bool) -> Result<String, Failure> {
    if !yes {
        let mut file = load(path).map_err(disk)?;
        file.remove(version).map_err(|error| Failure::from_error(&error))?;
        let plan = format!(
            "would remove version {version} from {}; Secrets in etcd and in backups that were encrypted with it could\n\
             never be read again\n",
            path.display()
        );
        if dry_run {
            return Ok(plan);
        }
        return Err(Failure::new(plan.trim_end().replace('\n', " "))
            .hint("re-encrypt first; then run it again with --yes".to_owned()));
    }
    edit(path, |file| file.remove(version)).map_err(disk)?;
    Ok(format!("removed version {version}\n"))
}

fn rotate(path: &Path) -> Result<String, Failure> {
    let change = |file: &mut KeyFile| {
        let number = file.add(&now(), &SystemRandom)?;
        file.promote(number).map(|()| number)
    };
    let number = edit(path, change).map_err(disk)?;
    Ok(format!("added version {number} and made it the primary\n{AFTER_ROTATION}"))
}

const AFTER_ROTATION: &str = "A running plugin takes it up with its next probe. Secrets that are stored already stay on their old version\n\
     until they are rewritten; keep that version until then.\n";

fn export(path: &Path, recipient: &str) -> Result<String, Failure> {
    let recipient: Recipient = recipient.parse().map_err(|error: SealedError| sealed(error).usage())?;
    seal_to(&recipient, &load(path).map_err(disk)?).map_err(sealed)
}

fn new_identity(path: &Path) -> Result<String, Failure> {
    let identity = Identity::generate().map_err(sealed)?;
    identity.save(path).map_err(sealed)?;
    Ok(format!("{}\n", identity.recipient()))
}

fn import(path: &Path, sealed_file: &Path, identity: &Path) -> Result<String, Failure> {
    let identity = Identity::load(identity).map_err(sealed)?;
    let unreadable =
        |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", sealed_file.display()));
    let len = std::fs::metadata(sealed_file).map_err(unreadable)?.len();
    if len > MAX_SEALED_LEN {
        return Err(sealed(SealedError::NotSealed));
    }
    let text = std::fs::read(sealed_file).map_err(unreadable)?;
    let file = open_sealed(&identity, &text).map_err(sealed)?;
    let shown = table(&file, &file.versions());
    store(path, file).map_err(disk)?;
    Ok(format!("put key file {} in place\n{shown}", path.display()))
}

fn table(file: &KeyFile, versions: &[VersionInfo]) -> String {
    let mut text = format!("key {}  activation {}\n", file.id(), file.activation());
    text.push_str("VERSION  STATE    CREATED               FINGERPRINT\n");
    for VersionInfo { version, created, primary, fingerprint } in versions {
        let state = if *primary { "primary" } else { "unwraps" };
        text.push_str(&format!("{version:<7}  {state}  {created}  {fingerprint}\n"));
    }
    text
}

fn json(file: &KeyFile, versions: &[VersionInfo]) -> String {
    let versions: Vec<_> = versions
        .iter()
        .map(|info| {
            serde_json::json!({
                "version": info.version,
                "primary": info.primary,
                "created": info.created,
                "fingerprint": info.fingerprint,
            })
        })
        .collect();
    let value = serde_json::json!({ "id": file.id(), "activation": file.activation(), "versions": versions });
    format!("{value:#}\n")
}

fn disk(error: DiskError) -> Failure {
    Failure::from_error(&error).hint(error.hint())
}

fn sealed(error: SealedError) -> Failure {
    Failure::from_error(&error)
}

/// Whole seconds in UTC.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
