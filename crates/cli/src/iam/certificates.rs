//! `keystead iam certificates ...`

use keystead_runtime::Failure;

use crate::kms::checked;
use crate::output::{ListArgs, say};
use crate::session::Session;

const PATH: &str = "/keystead/v1/certificates";
const TABLE: &str =
    "table(serialNumber, principal, issueTime, expireTime, revokeTime, lastUseTime, lastUseAddress)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum CertificatesCommand {
    /// Certificates that were issued or revoked here, and when and from where they were last used
    List {
        /// Only of this principal: user:EMAIL or serviceAccount:EMAIL
        #[arg(long)]
        principal: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make one client certificate worthless from the next request on, also on open connections
    Revoke {
        /// Its serial number in hexadecimal digits, as `openssl x509 -noout -serial` prints it
        serial_number: String,
    },
}

pub(super) fn run(session: &Session<'_>, command: &CertificatesCommand) -> Result<(), Failure> {
    match command {
        CertificatesCommand::List { principal, list } => {
            let query: Vec<(&str, &str)> = principal.iter().map(|it| ("principal", it.as_str())).collect();
            let listed = session.list(PATH, "certificates", &query, list, None)?;
            session.output().print_list(listed, list, TABLE)
        }
        CertificatesCommand::Revoke { serial_number } => {
            let digits = serial_number.strip_prefix("serial=").unwrap_or(serial_number).replace(':', "");
            session.server().delete(&format!("{PATH}/{}", checked(&digits)?))?;
            say(&format!("Revoked certificate [{digits}]."));
            Ok(())
        }
    }
}
