//! The gRPC services: from a message to a command of the key service and back. No rule of who may do what is here, only what
//! a message must be like. Read [`Adapter::answer`] first, then `call.rs` and `cloud_kms.rs`.

mod call;
mod checksum;
mod cloud_kms;
mod container;
mod finished;
mod iam;
mod iam_policy;
mod keystead;
mod kms_inventory;
mod locations;
mod operations;
mod projects;
mod service_usage;
mod status;
mod time;
mod unserved;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use keystead_keyservice::KeyService;
use keystead_keyservice::operations::BackupStore;
use keystead_proto::cloud_kms::key_management_service_server::KeyManagementServiceServer;
use keystead_proto::container::cluster_manager_server::ClusterManagerServer;
use keystead_proto::iam_admin::iam_server::IamServer;
use keystead_proto::iam_policy::iam_policy_server::IamPolicyServer;
use keystead_proto::keystead_v1::agents_server::AgentsServer;
use keystead_proto::keystead_v1::audit_server::AuditServer;
use keystead_proto::keystead_v1::backups_server::BackupsServer;
use keystead_proto::keystead_v1::certificates_server::CertificatesServer;
use keystead_proto::keystead_v1::cluster_hosts_server::ClusterHostsServer;
use keystead_proto::keystead_v1::server_policy_server::ServerPolicyServer;
use keystead_proto::keystead_v1::tokens_server::TokensServer;
use keystead_proto::keystead_v1::usage_server::UsageServer;
use keystead_proto::kms_inventory::key_dashboard_service_server::KeyDashboardServiceServer;
use keystead_proto::kms_inventory::key_tracking_service_server::KeyTrackingServiceServer;
use keystead_proto::locations::locations_server::LocationsServer;
use keystead_proto::longrunning::operations_server::OperationsServer;
use keystead_proto::service_usage::service_usage_server::ServiceUsageServer;
use keystead_proto::{resource_manager_v1, resource_manager_v3};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt as _};

use crate::local_clusters::LocalStates;
use crate::methods::{self, Known, MAX_REQUEST_LEN, Served, code_name};
use crate::pki::Pki;

/// Generated servers have no type in common.
macro_rules! serve {
    ($server:ty, $adapter:expr, $request:expr) => {
        call(<$server>::from_arc($adapter).max_decoding_message_size(MAX_REQUEST_LEN), $request).await
    };
}

pub(crate) use call::{CallId, Credentials};

/// What a method answers.
type Answer<T> = Result<tonic::Response<T>, Status>;

/// Implements every generated service.
#[derive(Clone)]
pub(crate) struct Adapter {
    pub(crate) keyservice: Arc<KeyService>,
    /// Signs client certificates; none without TLS.
    pub(crate) authority: Option<Arc<Pki>>,
    /// Takes backups; none where no folder is configured.
    pub(crate) backups: Option<Arc<dyn BackupStore>>,
    /// What is seen of the clusters that this server runs.
    pub(crate) local_clusters: LocalStates,
}

impl Adapter {
    /// Answers one gRPC call, and says for the metrics which it was.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let Some(known) = methods::known(request.uri().path()) else {
            return Status::unimplemented("There is no such method here.").into_http();
        };
        let mut response = if known.served {
            self.serve(request).await
        } else {
            let (head, _) = request.into_parts();
            self.refuse_unserved(known, &head).await.into_http()
        };
        let failure = Status::from_header_map(response.headers());
        let code = code_name(failure.map_or(Code::Ok, |status| status.code()));
        response.extensions_mut().insert(Served { method: known.name(), code });
        response
    }

    async fn refuse_unserved(&self, known: &'static Known, head: &http::request::Parts) -> Status {
        let method = unserved::audited(known);
        match self.identify_head(&head.headers, &head.extensions, method).await {
            Ok(call) => call.refuse("", &unserved::sentence(method)).await,
            Err(unknown) => unknown,
        }
    }

    async fn serve(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        match service.map(|(service, _)| service) {
            Some("google.cloud.kms.v1.KeyManagementService") => {
                serve!(KeyManagementServiceServer<Adapter>, self, request)
            }
            Some("google.cloud.kms.inventory.v1.KeyDashboardService") => {
                serve!(KeyDashboardServiceServer<Adapter>, self, request)
            }
            Some("google.cloud.kms.inventory.v1.KeyTrackingService") => {
                serve!(KeyTrackingServiceServer<Adapter>, self, request)
            }
            Some("google.iam.v1.IAMPolicy") => serve!(IamPolicyServer<Adapter>, self, request),
            Some("google.cloud.location.Locations") => serve!(LocationsServer<Adapter>, self, request),
            Some("google.longrunning.Operations") => serve!(OperationsServer<Adapter>, self, request),
            Some("google.cloudresourcemanager.v1.Projects") => {
                serve!(resource_manager_v1::projects_server::ProjectsServer<Adapter>, self, request)
            }
            Some("google.cloud.resourcemanager.v3.Projects") => {
                serve!(resource_manager_v3::projects_server::ProjectsServer<Adapter>, self, request)
            }
            Some("google.api.serviceusage.v1.ServiceUsage") => {
                serve!(ServiceUsageServer<Adapter>, self, request)
            }
            Some("google.container.v1.ClusterManager") => {
                serve!(ClusterManagerServer<Adapter>, self, request)
            }
            Some("google.iam.admin.v1.IAM") => serve!(IamServer<Adapter>, self, request),
            Some("keystead.v1.Tokens") => serve!(TokensServer<Adapter>, self, request),
            Some("keystead.v1.Usage") => serve!(UsageServer<Adapter>, self, request),
            Some("keystead.v1.Backups") => serve!(BackupsServer<Adapter>, self, request),
            Some("keystead.v1.Audit") => serve!(AuditServer<Adapter>, self, request),
            Some("keystead.v1.ServerPolicy") => serve!(ServerPolicyServer<Adapter>, self, request),
            Some("keystead.v1.ClusterHosts") => serve!(ClusterHostsServer<Adapter>, self, request),
            Some("keystead.v1.Agents") => serve!(AgentsServer<Adapter>, self, request),
            Some("keystead.v1.Certificates") => serve!(CertificatesServer<Adapter>, self, request),
            _ => Status::unimplemented("There is no such service here.").into_http(),
        }
    }
}

async fn call<S>(server: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let Ok(response) = server.oneshot(request).await;
    response
}
