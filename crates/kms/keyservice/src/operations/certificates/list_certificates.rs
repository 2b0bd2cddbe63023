use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::Principal;
use keystead_model::listing::{issue_token, read_token};

use crate::records::certificate::CertificateState;
use crate::records::{decode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Certificates on one page, and records that are read for it at once.
const MAX_PAGE: usize = 1000;

/// Lists the client certificates that were issued or revoked here, in the order of their serial numbers.
pub struct ListCertificates {
    principal: Option<Principal>,
    owner: Resource,
    page_size: usize,
    page_token: String,
}

/// A client certificate that was issued or revoked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCertificate {
    /// Hexadecimal digits, an even number of them.
    pub serial: String,
    /// What is known of it.
    pub state: CertificateState,
}

/// A page of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePage {
    /// In the order of their serial numbers as texts.
    pub certificates: Vec<KnownCertificate>,
    /// Where the next page begins; none: this is the last.
    pub next_page_token: Option<String>,
}

impl ListCertificates {
    /// Certificates of one principal, or with none of everybody. `page_size` 0: as many as a page can have.
    pub async fn new(
        service: &KeyService,
        principal: Option<Principal>,
        page_size: usize,
        page_token: String,
    ) -> Result<Self, KmsError> {
        let owner = match &principal {
            Some(principal) => service.credential_owner(principal).await?.0,
            None => Resource::Server,
        };
        let page_size = if page_size == 0 { MAX_PAGE } else { page_size.min(MAX_PAGE) };
        Ok(Self { principal, owner, page_size, page_token })
    }
}

impl Operation for ListCertificates {
    type Output = CertificatePage;

    fn method(&self) -> Method {
        Method { service: "keystead.io", name: "ListCertificates", kind: MethodKind::AdminRead }
    }

    fn permission(&self) -> Option<Permission> {
        // A certificate is a credential as a token is.
        Some(Permission::TokensList)
    }

    fn target(&self) -> Resource {
        self.owner.clone()
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("principal", self.principal.as_ref().map(ToString::to_string))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<CertificatePage, KmsError> {
        let command = authorised.command();
        if let Some(principal) = &command.principal {
            authorised.service().require_principal(principal).await?;
        }
        let principal = command.principal.as_ref().map(ToString::to_string).unwrap_or_default();
        let bound_to = ["certificates".to_owned(), principal];
        let mut after = match command.page_token.as_str() {
            "" => String::new(),
            token => record_name::certificate(&read_token(token, &bound_to)?),
        };
        let mut certificates: Vec<KnownCertificate> = Vec::new();
        loop {
            let records =
                authorised.service().store.list(record_name::CERTIFICATES, &after, MAX_PAGE).await?;
            for record in &records {
                let state: CertificateState = decode(&record.name, &record.value)?;
                if command.principal.is_some() && command.principal != state.principal {
                    continue;
                }
                if certificates.len() == command.page_size {
                    let last = certificates.last();
                    let next_page_token = last.map(|last| issue_token(&last.serial, &bound_to));
                    return Ok(CertificatePage { certificates, next_page_token });
                }
                certificates.push(KnownCertificate { serial: serial(&record.name), state });
            }
            match records.last() {
                Some(last) if records.len() == MAX_PAGE => after.clone_from(&last.name),
                _ => return Ok(CertificatePage { certificates, next_page_token: None }),
            }
        }
    }
}

/// The number as `openssl x509 -serial` prints it, in small letters: whole bytes. Records' names leave the zeros out.
fn serial(record: &str) -> String {
    let digits = record.strip_prefix(record_name::CERTIFICATES).unwrap_or(record);
    match digits.len() {
        0 => "00".to_owned(),
        even if even.is_multiple_of(2) => digits.to_owned(),
        _ => format!("0{digits}"),
    }
}
