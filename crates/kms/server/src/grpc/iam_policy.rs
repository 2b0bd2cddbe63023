//! `google.iam.v1.IAMPolicy`, and the same three methods of the services that have them too.

use keystead_keyservice::operations::{GetIamPolicy, PolicyAndEtag, SetIamPolicy, TestIamPermissions};
use keystead_keyservice::{Detail, KmsError, Method, MethodKind, Resource};
use keystead_model::{Binding, Condition, CryptoKeyName, ErrorClass, KeyRingName, Policy, ProjectName};
use keystead_proto::google::r#type::Expr;
use keystead_proto::iam_policy as proto;
use keystead_proto::iam_policy::iam_policy_server::IamPolicy;
use tonic::{Request, Response, Status};

use super::call::IdentifiedCall;
use super::{Adapter, Answer};

const fn method(name: &'static str, kind: MethodKind) -> Method {
    Method::kms(name, kind)
}

/// Over gRPC the resource may be of any kind: Resource Manager's clients call this service too.
#[tonic::async_trait]
impl IamPolicy for Adapter {
    async fn get_iam_policy(&self, request: Request<proto::GetIamPolicyRequest>) -> Answer<proto::Policy> {
        let (call, request) = self.identify(request, method("GetIamPolicy", MethodKind::AdminRead)).await?;
        let resource = resource(&request.resource);
        get(&call, resource, &request).await
    }

    async fn set_iam_policy(&self, request: Request<proto::SetIamPolicyRequest>) -> Answer<proto::Policy> {
        let (call, request) = self.identify(request, method("SetIamPolicy", MethodKind::AdminWrite)).await?;
        let resource = resource(&request.resource);
        set(&call, resource, request).await
    }

    async fn test_iam_permissions(
        &self,
        request: Request<proto::TestIamPermissionsRequest>,
    ) -> Answer<proto::TestIamPermissionsResponse> {
        let (call, request) =
            self.identify(request, method("TestIamPermissions", MethodKind::AdminRead)).await?;
        let resource = resource(&request.resource);
        test(&call, resource, request).await
    }
}

pub(super) async fn get(
    call: &IdentifiedCall<'_>,
    resource: Result<Resource, KmsError>,
    request: &proto::GetIamPolicyRequest,
) -> Answer<proto::Policy> {
    let requested_version = request.options.map_or(0, |options| options.requested_policy_version);
    let command = resource.map(|resource| GetIamPolicy { resource, requested_version });
    Ok(Response::new(policy(call.run(&request.resource, command).await?)))
}

pub(super) async fn set(
    call: &IdentifiedCall<'_>,
    resource: Result<Resource, KmsError>,
    request: proto::SetIamPolicyRequest,
) -> Answer<proto::Policy> {
    let name = request.resource.clone();
    let command = resource.and_then(|resource| set_command(resource, request));
    Ok(Response::new(policy(call.run(&name, command).await?)))
}

pub(super) async fn test(
    call: &IdentifiedCall<'_>,
    resource: Result<Resource, KmsError>,
    request: proto::TestIamPermissionsRequest,
) -> Result<Response<proto::TestIamPermissionsResponse>, Status> {
    let proto::TestIamPermissionsRequest { resource: name, permissions } = request;
    let command = resource.map(|resource| TestIamPermissions { resource, permissions });
    let permissions = call.run(&name, command).await?;
    Ok(Response::new(proto::TestIamPermissionsResponse { permissions }))
}

fn set_command(resource: Resource, request: proto::SetIamPolicyRequest) -> Result<SetIamPolicy, KmsError> {
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let unknown = paths.iter().find(|path| {
        !matches!(path.as_str(), "bindings" | "etag" | "version" | "auditConfigs" | "audit_configs")
    });
    if let Some(unknown) = unknown {
        let unknown: String = unknown.chars().take(100).collect();
        return Err(invalid(
            "update_mask",
            format!("update_mask names {unknown:?}; a policy has bindings, etag and version."),
        ));
    }
    let keep_bindings = !paths.is_empty() && !paths.iter().any(|path| path == "bindings");
    let Some(policy) = request.policy else {
        return Err(invalid("policy", "The field policy is required.".to_owned()));
    };
    if !policy.audit_configs.is_empty() {
        let text = "Audit configurations cannot be set by policy: the audit log records every call. Data access of a key can \
                    be left out in the server's configuration.";
        return Err(KmsError::new(ErrorClass::Unimplemented, text));
    }
    Ok(SetIamPolicy {
        resource,
        etag: (!policy.etag.is_empty()).then_some(policy.etag),
        keep_bindings,
        policy: Policy {
            version: policy.version,
            bindings: policy.bindings.into_iter().map(binding).collect(),
        },
    })
}

fn binding(binding: proto::Binding) -> Binding {
    Binding {
        role: binding.role,
        members: binding.members,
        condition: binding.condition.map(|Expr { expression, title, description, .. }| Condition {
            expression,
            title,
            description,
        }),
    }
}

fn policy(PolicyAndEtag { policy, etag }: PolicyAndEtag) -> proto::Policy {
    let bindings = policy.bindings.into_iter().map(|binding| proto::Binding {
        role: binding.role,
        members: binding.members,
        condition: binding.condition.map(|Condition { expression, title, description }| Expr {
            expression,
            title,
            description,
            location: String::new(),
        }),
    });
    proto::Policy { version: policy.version, bindings: bindings.collect(), audit_configs: Vec::new(), etag }
}

/// What a name in the request is the name of.
fn resource(name: &str) -> Result<Resource, KmsError> {
    if name.contains("/importJobs/") || name.contains("/ekmConfig") || name.contains("/ekmConnections/") {
        let text = "Keystead serves no import jobs and no external key managers, and so no policies of them.";
        return Err(KmsError::new(ErrorClass::Unimplemented, text));
    }
    if name.contains("/cryptoKeys/") {
        return Ok(Resource::CryptoKey(name.parse::<CryptoKeyName>()?));
    }
    if name.contains("/keyRings/") {
        return Ok(Resource::KeyRing(name.parse::<KeyRingName>()?));
    }
    Ok(Resource::Project(name.parse::<ProjectName>()?))
}

fn invalid(field: &str, text: String) -> KmsError {
    KmsError::invalid(text.clone()).with(Detail::BadRequest { field: field.to_owned(), description: text })
}
