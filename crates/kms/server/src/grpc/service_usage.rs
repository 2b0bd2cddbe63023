//! `google.api.serviceusage.v1.ServiceUsage`: which APIs are on in a project.

use keystead_keyservice::operations::{GetService, ListServices, ServiceView, SwitchServices};
use keystead_keyservice::{KmsError, Method, MethodKind, ServiceApi};
use keystead_model::ProjectId;
use keystead_model::listing::{Node, Operator, Restriction, parse_filter};
use keystead_proto::longrunning::Operation;
use keystead_proto::service_usage as proto;
use keystead_proto::service_usage::service_usage_server::ServiceUsage;
use tonic::{Request, Response};

use super::call::IdentifiedCall;
use super::finished::Finished;
use super::status::packed;
use super::{Adapter, Answer, projects};

const fn reads(name: &'static str) -> Method {
    Method { service: "serviceusage.googleapis.com", name, kind: MethodKind::AdminRead }
}

const fn writes(name: &'static str) -> Method {
    Method { service: "serviceusage.googleapis.com", name, kind: MethodKind::AdminWrite }
}

#[tonic::async_trait]
impl ServiceUsage for Adapter {
    async fn enable_service(&self, request: Request<proto::EnableServiceRequest>) -> Answer<Operation> {
        let (call, proto::EnableServiceRequest { name }) =
            self.identify(request, writes("EnableService")).await?;
        let views = call.run(&name, switch(&call, &name, true).await).await?;
        Ok(Response::new(switched(&views, false)))
    }

    async fn disable_service(&self, request: Request<proto::DisableServiceRequest>) -> Answer<Operation> {
        let (call, request) = self.identify(request, writes("DisableService")).await?;
        let views = call.run(&request.name, switch(&call, &request.name, false).await).await?;
        Ok(Response::new(switched(&views, false)))
    }

    async fn batch_enable_services(
        &self,
        request: Request<proto::BatchEnableServicesRequest>,
    ) -> Answer<Operation> {
        let (call, request) = self.identify(request, writes("BatchEnableServices")).await?;
        let apis = request.service_ids.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>();
        let command = match (projects::id_of(&call, &request.parent).await, apis) {
            (Ok(project), Ok(apis)) => Ok(SwitchServices { project, apis, enable: true }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let views = call.run(&request.parent, command).await?;
        Ok(Response::new(switched(&views, true)))
    }

    async fn get_service(&self, request: Request<proto::GetServiceRequest>) -> Answer<proto::Service> {
        let (call, proto::GetServiceRequest { name }) = self.identify(request, reads("GetService")).await?;
        let command = parse(&call, &name).await.map(|(project, api)| GetService { project, api });
        Ok(Response::new(service(&call.run(&name, command).await?)))
    }

    async fn list_services(
        &self,
        request: Request<proto::ListServicesRequest>,
    ) -> Answer<proto::ListServicesResponse> {
        let (call, request) = self.identify(request, reads("ListServices")).await?;
        let project = projects::id_of(&call, &request.parent).await;
        let command =
            project.and_then(|project| Ok(ListServices { project, enabled: state(&request.filter)? }));
        let views = call.run(&request.parent, command).await?;
        let services = views.iter().map(service).collect();
        Ok(Response::new(proto::ListServicesResponse { services, next_page_token: String::new() }))
    }
}

/// The operation that switched services, in the words of the call that did it.
pub(super) fn switched(views: &[ServiceView], batch: bool) -> Operation {
    let services: Vec<proto::Service> = views.iter().map(service).collect();
    let names: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    let first = services.first().cloned();
    let response = match (batch, views.first().is_some_and(|view| view.enabled)) {
        (true, _) => packed(
            "google.api.serviceusage.v1.BatchEnableServicesResponse",
            &proto::BatchEnableServicesResponse { services, failures: Vec::new() },
        ),
        (false, true) => packed(
            "google.api.serviceusage.v1.EnableServiceResponse",
            &proto::EnableServiceResponse { service: first },
        ),
        (false, false) => packed(
            "google.api.serviceusage.v1.DisableServiceResponse",
            &proto::DisableServiceResponse { service: first },
        ),
    };
    let finished = Finished::SwitchedServices(names.join(","));
    let metadata = proto::OperationMetadata { resource_names: names };
    finished.with(Some(packed("google.api.serviceusage.v1.OperationMetadata", &metadata)), response)
}

async fn switch(call: &IdentifiedCall<'_>, name: &str, enable: bool) -> Result<SwitchServices, KmsError> {
    let (project, api) = parse(call, name).await?;
    Ok(SwitchServices { project, apis: vec![api], enable })
}

/// `projects/P/services/S`.
pub(super) async fn parse(
    call: &IdentifiedCall<'_>,
    name: &str,
) -> Result<(ProjectId, ServiceApi), KmsError> {
    let (project, service) = name.split_once("/services/").ok_or_else(|| {
        KmsError::invalid("The name is not one of a service: projects/PROJECT/services/SERVICE.")
    })?;
    Ok((projects::id_of(call, project).await?, service.parse()?))
}

fn state(filter: &str) -> Result<Option<bool>, KmsError> {
    let refused = || KmsError::invalid("The filter must be state:ENABLED or state:DISABLED.");
    match parse_filter(filter)? {
        None => Ok(None),
        Some(Node::Is(Restriction { path, operator: Operator::Has | Operator::Equal, value, .. }))
            if path == ["state"] =>
        {
            match value.as_str() {
                "ENABLED" => Ok(Some(true)),
                "DISABLED" => Ok(Some(false)),
                _ => Err(refused()),
            }
        }
        Some(_) => Err(refused()),
    }
}

fn service(view: &ServiceView) -> proto::Service {
    let parent = format!("projects/{}", view.project_number);
    let name = view.api.name();
    let state = if view.enabled { proto::State::Enabled } else { proto::State::Disabled };
    proto::Service {
        name: format!("{parent}/services/{name}"),
        parent,
        config: Some(proto::ServiceConfig { name: name.to_owned(), title: view.api.title().to_owned() }),
        state: state.into(),
    }
}
