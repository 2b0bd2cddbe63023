//! Where a cluster's etcd is, and where in it the cluster is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keystead_cluster::encryption_configuration::{EncryptionConfiguration, GroupResource};
use keystead_cluster::etcd_path::etcd_path;
use keystead_cluster::owned_file::OwnedFile;
use keystead_cluster::yaml::MAX_LEN;
use keystead_etcd::{ClientFiles, ConnectError, Connection, Etcd, Layout, Login, TlsFiles};
use keystead_runtime::Failure;

use crate::output::{say, visible};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection to etcd")]
pub(crate) struct EtcdArgs {
    /// Addresses of etcd's members; the first that answers is read
    #[arg(long, value_name = "URL,...", value_delimiter = ',', default_value = LOCAL)]
    endpoints: Vec<String>,
    /// Certificate authority of etcd, in PEM. Without it that of a kubeadm host, if this is one: /etc/kubernetes/pki/etcd/ca.crt
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Our client certificate, in PEM. Without it and --cacert that of kube-apiserver on a kubeadm host:
    /// /etc/kubernetes/pki/apiserver-etcd-client.crt
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of --cert, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A user of etcd's own, where etcd has users
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// File with the user's password in one line
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

/// What of etcd belongs to the cluster, and what of that is wanted.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Contents")]
pub(crate) struct LayoutArgs {
    /// kube-apiserver's --etcd-prefix
    #[arg(long, value_name = "PREFIX", default_value = "/registry")]
    etcd_prefix: String,
    /// Only this resource, named as in the table (secrets, services/specs, cert-manager.io/certificates) or as in an
    /// EncryptionConfiguration (nodes, clusterroles.rbac.authorization.k8s.io, certificates.cert-manager.io). Again for more
    #[arg(long = "resource", value_name = "NAME")]
    resources: Vec<String>,
    /// kube-apiserver's file of that flag. Its keys open what they encrypted, where values are opened; nothing of them is shown. Where values
    /// are only counted it is needed if a key or KMS v1 provider has a name with `:` in it, which a stored value does not tell from what
    /// follows: such values are shown under a wrong name, or as ones that cannot be read
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
}

impl EtcdArgs {
    /// Whether an option says how to reach etcd.
    pub(super) fn is_given(&self) -> bool {
        let others = [&self.cacert, &self.cert, &self.key, &self.password_file];
        self.endpoints != [LOCAL] || others.iter().any(|it| it.is_some())
    }

    /// The same, or this is a kubeadm host.
    pub(super) fn is_known(&self) -> bool {
        self.is_given() || self.tls().is_some()
    }

    pub(super) async fn connect(&self) -> Result<Etcd, Failure> {
        Etcd::connect(&self.connection()).await.map_err(|error| failure(&error))
    }

    fn connection(&self) -> Connection {
        let tls = self.endpoints.iter().any(|it| it.starts_with("https:")).then(|| self.tls()).flatten();
        let login = self.user.clone().zip(self.password_file.clone());
        let login = login.map(|(user, password_file)| Login { user, password_file });
        Connection { endpoints: self.endpoints.clone(), tls, login }
    }

    fn tls(&self) -> Option<TlsFiles> {
        let kubeadm = Path::new(KUBEADM);
        let (ca, client) = (kubeadm.join("etcd/ca.crt"), kubeadm.join("apiserver-etcd-client.crt"));
        let given = self.cert.clone().zip(self.key.clone());
        let given = given.map(|(certificate, key)| ClientFiles { certificate, key });
        match &self.cacert {
            Some(ca) => Some(TlsFiles { ca: ca.clone(), client: given }),
            None if ca.is_file() => {
                let found = client.is_file().then(|| {
                    let key = client.with_extension("key");
                    ClientFiles { certificate: client, key }
                });
                Some(TlsFiles { ca, client: given.or(found) })
            }
            None => None,
        }
    }
}

impl LayoutArgs {
    pub(super) fn layout(&self) -> Result<Layout, Failure> {
        Ok(self.layout_with(self.configuration()?.as_ref()))
    }

    /// The same, where the file is read already.
    pub(super) fn layout_with(&self, configuration: Option<&EncryptionConfiguration>) -> Layout {
        let known_names = configuration.map(EncryptionConfiguration::known_names).unwrap_or_default();
        Layout { etcd_prefix: self.etcd_prefix.clone(), known_names }
    }

    pub(super) fn configuration(&self) -> Result<Option<EncryptionConfiguration>, Failure> {
        let Some(path) = &self.encryption_provider_config else { return Ok(None) };
        let file = OwnedFile::read(path, MAX_LEN).map_err(|error| Failure::from_error(&error).usage())?;
        let configuration = EncryptionConfiguration::read(file.bytes());
        configuration.map(Some).map_err(|error| Failure::from_error(&file.located(error)).usage())
    }

    /// As in the table, which is as etcd's keys have them.
    pub(super) fn resources(&self) -> Vec<String> {
        self.resources.iter().map(|it| path_of(it)).collect()
    }

    /// Says which of the named resources nothing is stored of, and what there is. `is_there` judges by what was found, if that is known;
    /// `there` is asked only then.
    pub(super) fn tell_missing(
        &self,
        is_there: impl Fn(&str) -> bool,
        there: impl FnOnce() -> Result<BTreeSet<String>, Failure>,
    ) -> Result<(), Failure> {
        let missing: Vec<&String> = self.resources.iter().filter(|it| !is_there(&path_of(it))).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let there = there()?;
        let all: Vec<String> = there.iter().map(|it| visible(it)).collect();
        let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        for name in missing.into_iter().filter(|it| !holds(&there, &path_of(it))) {
            say(&format!("nothing is stored of {}; there is {all}", visible(name)));
        }
        Ok(())
    }
}

/// Whether one of the resources is at this path or below it.
pub(super) fn holds<'r>(resources: impl IntoIterator<Item = &'r String>, path: &str) -> bool {
    let path = path.trim_matches('/');
    let below =
        |it: &&String| it.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resources.into_iter().any(|it| below(&it))
}

/// The path of a resource. Only paths have a `/`.
fn path_of(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { etcd_path(&GroupResource::parse(name)) }
}

fn failure(error: &ConnectError) -> Failure {
    let hint = match error {
        ConnectError::NoAuthority(_) => {
            "give --cacert, and --cert with --key if etcd wants a client certificate"
        }
        ConnectError::PasswordInClear(_) => "use https, with --cacert",
        ConnectError::Refused { .. } => {
            "log in with --user and --password-file, or with the certificate of a user (--cert, --key)"
        }
        ConnectError::Connect(_) => {
            "name the members with --endpoints; a member that wants a client certificate (--cert, --key) ends the connection without one"
        }
        _ => "",
    };
    let failure = Failure::from_error(error).hint(Some(hint.to_owned()).filter(|it| !it.is_empty()));
    match error {
        ConnectError::Connect(_) | ConnectError::Refused { .. } => failure.exit(error.class().exit()),
        // What the flags say, or the files that they name.
        _ => failure.usage(),
    }
}

/// As kubeadm's etcd has it.
const LOCAL: &str = "https://127.0.0.1:2379";
const KUBEADM: &str = "/etc/kubernetes/pki";
