use jiff::SignedDuration;
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::cluster_host::Joined;
use keystead_model::{ClusterHost, ErrorClass, Principal, to_microseconds};

use super::report_host::too_often;
use super::{calling_host, method};
use crate::operations::certificates::signed;
use crate::operations::{Sign, SignedCertificate};
use crate::records::{account_email, encode, record_name};
use crate::{Authorised, Credential, KmsError, Method, MethodKind, Operation, Resource};

/// The agent asks for another one each week.
const CERTIFICATE_TTL: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A host gets one certificate in this time: each is a record that stays.
const CERTIFICATE_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// Longest name that is repeated, in characters.
const MAX_SHOWN: usize = 253;

/// Makes a host one of its cluster's, and gives its agent a certificate for the calls that follow. With the join token, which counts for
/// one public key: an agent whose answer was lost asks again, and whoever has a copy of the token gets nothing. With the certificate that
/// it has, the agent gets the next one.
pub struct JoinCluster {
    /// SHA-256 of the public key in the signing request, hexadecimal; or what is wrong with the request, which only a host is told.
    pub public_key: Result<String, KmsError>,
    /// The name of the Node on which the agent is: a token that got to another host is not spent there.
    pub node: String,
    /// Signs it.
    pub sign: Box<Sign>,
}

/// What an agent has once it joined.
pub struct HostCertificate {
    /// Its host.
    pub host: ClusterHost,
    /// What it shows from now on.
    pub certificate: SignedCertificate,
}

impl Operation for JoinCluster {
    type Output = HostCertificate;

    fn method(&self) -> Method {
        method("JoinCluster", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<HostCertificate, KmsError> {
        let name = calling_host(authorised)?;
        let (service, now) = (authorised.service(), to_microseconds(authorised.now()));
        let stored = service.read_host(&name).await?;
        let Self { public_key, node, sign } = authorised.command();
        let public_key = public_key.as_ref().map_err(Clone::clone)?;
        if *node != stored.value.node {
            let text = format!(
                "Host {} was invited, and the agent is on {}: join there, or say how this host is called, by --node.",
                stored.value.node,
                node.escape_default().to_string().chars().take(MAX_SHOWN).collect::<String>()
            );
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let refused = |class, text: String| Err(KmsError::new(class, text));
        match (&authorised.call().caller().credential, &stored.value.joined) {
            (Credential::Certificate(_), Some(_)) => {}
            (Credential::Token(id), _) if stored.value.join_token.as_ref() != Some(id) => {
                return refused(
                    ErrorClass::Denied,
                    format!("Token {id} is not the one that host {name} joins with."),
                );
            }
            (Credential::Token(id), Some(joined)) if joined.public_key != *public_key => {
                return refused(
                    ErrorClass::Denied,
                    format!(
                        "Token {id} was used for another key, and counts once. If that was not you, remove host {} and invite it again.",
                        stored.value.node
                    ),
                );
            }
            (Credential::Token(_), _) => {}
            _ => {
                let text =
                    "A host joins with its join token, and renews its certificate with the one that it has.";
                return refused(ErrorClass::Denied, text.to_owned());
            }
        }
        let last = stored.value.certificate_time;
        if last.is_some_and(|last| now.duration_since(last).abs() < CERTIFICATE_AFTER) {
            return Err(too_often(CERTIFICATE_AFTER));
        }
        let principal = Principal::ServiceAccount(account_email::host(&name));
        let (certificate, batch) = signed(sign, principal, authorised.now(), CERTIFICATE_TTL)?;
        let joined = match &stored.value.joined {
            Some(joined) if joined.public_key == *public_key => joined.clone(),
            _ => Joined { time: now, public_key: public_key.clone() },
        };
        let host = ClusterHost { joined: Some(joined), certificate_time: Some(now), ..stored.value };
        authorised.outcome().response =
            SafeFields::new().with("node", host.node.as_str()).with("serial", certificate.serial.as_str());
        let batch = batch.replace(record_name::cluster_host(&name), stored.revision, encode(&host)?);
        authorised.commit(batch).await?;
        Ok(HostCertificate { host, certificate })
    }
}
