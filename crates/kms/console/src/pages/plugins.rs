use askama::Template;
use http::StatusCode;
use keystead_keyservice::operations::{
    CreateServiceAccount, CreateToken, ListServiceAccounts, ListTokens, RevokeToken,
};
use keystead_keyservice::{KmsError, Resource, ServiceAccount, Token};
use keystead_model::{CryptoKeyName, ErrorClass, Principal, ProjectId};
use zeroize::Zeroizing;

use super::grants::{self, KEY_ROLES};
use super::{Crumb, Failed, Frame, KeyChoice, Part, project_id};
use crate::answer::Answer;
use crate::form::Form;
use crate::moment::Moment;
use crate::visit::Visit;

/// Accounts whose tokens are shown.
const MOST_ACCOUNTS: usize = 50;
/// Tokens of one account that are shown.
const MOST_TOKENS: usize = 50;
/// The account that is proposed.
const ACCOUNT: &str = "kms-plugin";
/// Longest description of a token, in bytes: `CreateToken`.
const MAX_DESCRIPTION_LEN: usize = 256;

#[derive(Template)]
#[template(path = "plugins.html")]
struct ListPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    project: String,
    tokens: Vec<Row>,
    /// Not all are shown.
    more: bool,
    account: String,
    choice: KeyChoice,
    failed: Option<Failed>,
}

/// What one plugin authenticates with.
struct Row {
    /// `KMS_USER_ID`.
    id: String,
    /// `KMS_KEY_ID`, as it was chosen when the token was issued.
    description: String,
    account: String,
    /// The id of the account, to issue another.
    account_id: String,
    created: Moment,
    used: Option<Moment>,
}

#[derive(Template)]
#[template(path = "plugin_access.html")]
struct IssuedPage {
    frame: Frame,
    crumbs: Vec<Crumb>,
    project: String,
    user_id: String,
    key: String,
    account_id: String,
    credentials: Zeroizing<String>,
    manifest: String,
}

/// What the host's `/etc/keystead/credentials.json` holds.
#[derive(Template)]
#[template(
    source = "{\n  \"endpoint\": \"{{ endpoint }}\",\n  \"caFile\": \"ca.pem\",\n  \"tokens\": [\"{{ secret }}\"]\n}\n",
    ext = "txt"
)]
struct Credentials<'a> {
    endpoint: &'a str,
    secret: &'a str,
}

/// The static pod, as `docs/guides/static-pod.md` has it.
#[derive(Template)]
#[template(path = "plugin_pod.yaml", escape = "none")]
struct Manifest<'a> {
    version: &'a str,
    key: &'a str,
    user_id: &'a str,
}

/// The tokens of the project's service accounts, and the form that requests the service.
pub(super) async fn list(
    visit: &Visit<'_>,
    project: &str,
    failed: Option<(Failed, &Form)>,
) -> Result<Answer, KmsError> {
    let project = project_id(project)?;
    let command =
        ListServiceAccounts { project: project.clone(), page_size: MOST_ACCOUNTS, page_token: String::new() };
    let accounts = visit.may_see(command).await?;
    let mut more = accounts.as_ref().is_some_and(|page| page.next_page_token.is_some());
    let mut tokens = Vec::new();
    for account in accounts.map(|page| page.accounts).unwrap_or_default() {
        let principal = Principal::ServiceAccount(account.email.clone());
        let command =
            ListTokens::new(visit.keyservice(), Some(principal), MOST_TOKENS, String::new()).await?;
        let Some(page) = visit.may_see(command).await? else { continue };
        more |= page.next_page_token.is_some();
        tokens.extend(page.tokens.into_iter().map(|token| Row::new(visit, &account, token)));
    }
    let form = failed.as_ref().map(|(_, form)| *form);
    let typed = form.map(|form| form.text("account").to_owned());
    let page = ListPage {
        frame: Frame::new(visit, &project),
        crumbs: Crumb::of_project(visit, &project),
        project: project.to_string(),
        tokens,
        more,
        account: typed.unwrap_or_else(|| ACCOUNT.to_owned()),
        choice: KeyChoice::new(visit, form, None).await?,
        failed: failed.map(|(failed, _)| failed),
    };
    Ok(Answer::form(page.failed.is_some(), &page))
}

impl Row {
    fn new(visit: &Visit<'_>, account: &ServiceAccount, token: Token) -> Self {
        Self {
            id: token.id,
            description: token.description,
            account: account.email.clone(),
            account_id: account.email.split('@').next().unwrap_or_default().to_owned(),
            created: visit.moment(token.create_time),
            used: token.last_use.map(|used| visit.moment(used.time)),
        }
    }
}

/// Issues a token for a plugin: its account is made if it is not there, and may use the key. What was done stays if a later step
/// is refused, and is found done the next time.
pub(super) async fn issue(visit: &Visit<'_>, project: &str, form: &Form) -> Result<Answer, KmsError> {
    let id = project_id(project)?;
    let key = match KeyChoice::chosen(form, visit.texts()) {
        Ok(key) => key,
        Err(failed) => return list(visit, project, Some((failed, form))).await,
    };
    match request(visit, &id, form.text("account"), &key).await {
        Ok((user_id, secret)) => Ok(issued(visit, &id, &key, form.text("account"), user_id, &secret)),
        Err(error) => list(visit, project, Some((Failed::refused(visit, "account", &error), form))).await,
    }
}

async fn request(
    visit: &Visit<'_>,
    project: &ProjectId,
    account_id: &str,
    key: &CryptoKeyName,
) -> Result<(String, Zeroizing<String>), KmsError> {
    let command = CreateServiceAccount {
        project: project.clone(),
        account_id: account_id.to_owned(),
        display_name: String::new(),
        description: String::new(),
    };
    let email = match visit.run(command).await {
        Ok(account) => account.email,
        Err(error) if error.class() == ErrorClass::AlreadyExists => {
            format!("{account_id}@{project}.iam.gserviceaccount.com")
        }
        Err(error) => return Err(error),
    };
    let [(role, _), ..] = KEY_ROLES;
    let member = format!("serviceAccount:{email}");
    grants::grant(visit, Resource::CryptoKey(key.clone()), &member, role).await?;
    let mut description = key.to_string();
    if description.len() > MAX_DESCRIPTION_LEN {
        description.clear();
    }
    let principal = Principal::ServiceAccount(email);
    let command = CreateToken::new(visit.keyservice(), principal, description, None).await?;
    let made = visit.run(command).await?;
    let secret = Zeroizing::new(String::from_utf8_lossy(made.secret.expose()).into_owned());
    Ok((made.token.id, secret))
}

/// The only page that shows a secret, and shows it once: nobody can ask for it again.
fn issued(
    visit: &Visit<'_>,
    project: &ProjectId,
    key: &CryptoKeyName,
    account_id: &str,
    user_id: String,
    secret: &str,
) -> Answer {
    let endpoint = visit.keyservice().endpoint();
    let key = key.to_string();
    let manifest = Manifest { version: env!("CARGO_PKG_VERSION"), key: &key, user_id: &user_id };
    let page = IssuedPage {
        frame: Frame::new(visit, project),
        crumbs: Crumb::of_part(visit, project, Part::Plugins),
        project: project.to_string(),
        credentials: Zeroizing::new(Credentials { endpoint, secret }.render().unwrap_or_default()),
        manifest: manifest.render().unwrap_or_default(),
        account_id: account_id.to_owned(),
        user_id,
        key,
    };
    Answer::page(StatusCode::OK, &page)
}

/// Revokes a token.
pub(super) async fn revoke(visit: &Visit<'_>, project: &str, id: &str) -> Result<Answer, KmsError> {
    let project = project_id(project)?;
    let command = RevokeToken::new(visit.keyservice(), id).await?;
    visit.run(command).await?;
    Ok(Answer::see_other(format!("/console/projects/{project}/plugins")))
}
