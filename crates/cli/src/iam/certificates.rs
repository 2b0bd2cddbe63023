//! `keystead iam certificates ...`

use keystead_runtime::Failure;

use crate::kms::checked;
use crate::output::say;
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum CertificatesCommand {
    /// Make one client certificate worthless from the next request on, also on open connections
    Revoke {
        /// Its serial number in hexadecimal digits, as `openssl x509 -noout -serial` prints it
        serial_number: String,
    },
}

pub(super) fn run(session: &Session<'_>, command: &CertificatesCommand) -> Result<(), Failure> {
    let CertificatesCommand::Revoke { serial_number } = command;
    let digits = serial_number.strip_prefix("serial=").unwrap_or(serial_number).replace(':', "");
    session.server().delete(&format!("/keystead/v1/certificates/{}", checked(&digits)?))?;
    say(&format!("Revoked certificate [{digits}]."));
    Ok(())
}
