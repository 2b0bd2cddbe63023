use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::Principal;

use crate::operations::credential_list::CredentialList;
use crate::records::certificate::CertificateState;
use crate::records::record_name;
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Lists the client certificates that were issued or revoked here, in the order of their serial numbers.
pub struct ListCertificates(CredentialList);

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
        Ok(Self(CredentialList::new(service, principal, page_size, page_token).await?))
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
        self.0.owner.clone()
    }

    fn describe(&self) -> SafeFields {
        self.0.describe()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<CertificatePage, KmsError> {
        let (service, list) = (authorised.service(), &authorised.command().0);
        let take = |id: &str, state: CertificateState| {
            let wanted = list.principal.is_none() || list.principal == state.principal;
            wanted.then(|| KnownCertificate { serial: serial(id), state })
        };
        let (certificates, next_page_token) =
            list.page(service, "certificates", record_name::CERTIFICATES, take).await?;
        Ok(CertificatePage { certificates, next_page_token })
    }
}

/// The number as `openssl x509 -serial` prints it, in small letters: whole bytes. Records' names leave the zeros out.
fn serial(digits: &str) -> String {
    match digits.len() {
        0 => "00".to_owned(),
        even if even.is_multiple_of(2) => digits.to_owned(),
        _ => format!("0{digits}"),
    }
}
