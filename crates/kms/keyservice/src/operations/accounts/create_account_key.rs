use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use keystead_audit::SafeFields;
use keystead_crypto::{SecretBytes, pem};
use keystead_iam::Permission;
use keystead_model::{ErrorClass, to_microseconds};
use keystead_store::{Batch, Expect, Write};
use serde::Serialize;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::records::service_account_key::{KEY_ID_LEN, MAX_KEYS};
use crate::records::{encode, record_name};
use crate::{
    AccountName, Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource, ServiceAccount,
    ServiceAccountKey,
};

/// Longest key file, in bytes: one with a key of 2,048 bits has about 2,300.
const MAX_FILE_LEN: usize = 4096;

/// Makes a key of a service account. Only its public half is stored.
pub struct CreateServiceAccountKey {
    name: AccountName,
    /// Made once, however often the operation starts over because somebody was faster: it takes half a second of one core.
    pair: OnceCell<Pair>,
}

impl CreateServiceAccountKey {
    /// For that account.
    pub fn new(name: AccountName) -> Self {
        Self { name, pair: OnceCell::new() }
    }
}

/// A key pair in DER: the private half as PKCS #8, the public one as X.509 has it.
struct Pair {
    private: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

/// A key that was made.
pub struct NewServiceAccountKey {
    /// What is known of it from now on.
    pub key: ServiceAccountKey,
    /// The key file, JSON in Google's form with our token address. Nobody can ask for it again.
    pub file: SecretBytes,
}

impl Operation for CreateServiceAccountKey {
    type Output = NewServiceAccountKey;

    fn method(&self) -> Method {
        Method {
            service: "iam.googleapis.com",
            name: "CreateServiceAccountKey",
            kind: MethodKind::AdminWrite,
        }
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ServiceAccountKeysCreate)
    }

    fn target(&self) -> Resource {
        self.name.resource()
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<NewServiceAccountKey, KmsError> {
        let (service, name) = (authorised.service(), authorised.command().name.clone());
        let account = service.find_account(name.email()?).await?.ok_or_else(|| name.not_found())?;
        // Written with the key and read before the keys are counted: of two calls that count the same the second starts over.
        // The account itself, so that a deletion in between is noticed too; one of clusters has no record.
        let guard = match account.is_of_clusters() {
            true => guard(record_name::newest_service_account_key(&account.email), service).await?,
            false => {
                let stored = service.read::<ServiceAccount>(&name.record()?).await?;
                let stored = stored.ok_or_else(|| name.not_found())?;
                let value = Some(encode(&stored.value)?);
                Write { name: name.record()?, expect: Expect::At(stored.revision), value }
            }
        };
        let keys = service.store.count(&record_name::service_account_keys(&account.email)).await?;
        if keys >= MAX_KEYS as u64 {
            let text = format!(
                "{} has {keys} keys, and an account has at most {MAX_KEYS}. Delete one first.",
                account.email
            );
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let pair = authorised.command().pair.get_or_try_init(generate).await?;
        let mut id = [0; KEY_ID_LEN];
        service.random.fill(&mut id).map_err(|_| failed())?;
        let id = hex::encode(id);
        let key = ServiceAccountKey::new(
            id,
            account.email.clone(),
            account.unique_id.clone(),
            &pair.public,
            to_microseconds(authorised.now()),
        );
        let file =
            key_file(&account, &key.id, &pair.private, &service.settings.token_uri).ok_or_else(failed)?;
        authorised.outcome().response = SafeFields::new().with("keyId", key.id.as_str());
        let record = record_name::service_account_key(&account.email, &key.id);
        let mut batch = Batch::default().create(record, encode(&key)?);
        batch.writes.push(guard);
        match authorised.commit(batch).await {
            Ok(_) => Ok(NewServiceAccountKey { key, file }),
            // The name of a key is random, so it is the guard that was written meanwhile.
            Err(error) if error.class() == ErrorClass::AlreadyExists => Err(authorised.start_over(error)),
            Err(error) => Err(error),
        }
    }
}

/// Writes a record that says nothing, if nobody else has meanwhile.
async fn guard(name: String, service: &KeyService) -> Result<Write, KmsError> {
    let expect = match service.store.get(&name).await? {
        Some(entry) => Expect::At(entry.revision),
        None => Expect::Absent,
    };
    Ok(Write { name, expect, value: Some(Vec::new()) })
}

async fn generate() -> Result<Pair, KmsError> {
    let made = tokio::task::spawn_blocking(|| {
        let key = KeyPair::generate(KeySize::Rsa2048).ok()?;
        let private: Pkcs8V1Der<'_> = key.as_der().ok()?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        Some(Pair { private: Zeroizing::new(private.as_ref().to_vec()), public: public.as_ref().to_vec() })
    });
    made.await.ok().flatten().ok_or_else(failed)
}

fn failed() -> KmsError {
    KmsError::new(ErrorClass::Bug, "a key cannot be made")
}

/// As Google's clients read it. There are no addresses in it at which nothing is.
#[derive(Serialize)]
struct KeyFile<'a> {
    r#type: &'static str,
    project_id: &'a str,
    private_key_id: &'a str,
    private_key: &'a str,
    client_email: &'a str,
    client_id: &'a str,
    token_uri: &'a str,
    universe_domain: &'static str,
}

fn key_file(account: &ServiceAccount, id: &str, private: &[u8], token_uri: &str) -> Option<SecretBytes> {
    let pem = pem("PRIVATE KEY", private);
    let file = KeyFile {
        r#type: "service_account",
        project_id: account.project.as_str(),
        private_key_id: id,
        private_key: &pem,
        client_email: &account.email,
        client_id: &account.unique_id,
        token_uri,
        // Clients refuse a key of another universe than the one that they talk to, and talk to this one by default.
        universe_domain: "googleapis.com",
    };
    // One allocation: growing would leave the key behind.
    let mut text = Vec::with_capacity(MAX_FILE_LEN);
    serde_json::to_writer_pretty(&mut text, &file).ok()?;
    text.push(b'\n');
    Some(SecretBytes::from(text))
}
