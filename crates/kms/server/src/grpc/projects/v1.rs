use keystead_keyservice::operations::{CreateProject, GetProject, ListProjects};
use keystead_keyservice::{KmsError, Project};
use keystead_proto::iam_policy::{
    GetIamPolicyRequest, Policy, SetIamPolicyRequest, TestIamPermissionsRequest, TestIamPermissionsResponse,
};
use keystead_proto::longrunning::Operation;
use keystead_proto::resource_manager_v1 as proto;
use keystead_proto::resource_manager_v1::projects_server::Projects;
use tonic::{Request, Response};

use super::filter::Filter;
use super::{page_size, reads, resource, writes};
use crate::grpc::finished::Finished;
use crate::grpc::status::packed;
use crate::grpc::time::to_proto;
use crate::grpc::{Adapter, Answer, iam_policy};

#[tonic::async_trait]
impl Projects for Adapter {
    async fn get_project(&self, request: Request<proto::GetProjectRequest>) -> Answer<proto::Project> {
        let (call, proto::GetProjectRequest { project_id }) =
            self.identify(request, reads("GetProject")).await?;
        let id = call.keyservice().project_id(&project_id).await;
        let name = format!("projects/{project_id}");
        let found = call.run(&name, id.map(|id| GetProject { id })).await?;
        Ok(Response::new(project(&found)))
    }

    async fn list_projects(
        &self,
        request: Request<proto::ListProjectsRequest>,
    ) -> Answer<proto::ListProjectsResponse> {
        let (call, request) = self.identify(request, reads("ListProjects")).await?;
        let filter = match Filter::parse(&request.filter) {
            Ok(filter) => filter,
            Err(error) => return Err(call.refuse("", &error).await),
        };
        let command = page_size(request.page_size)
            .map(|page_size| ListProjects { page_size, page_token: request.page_token });
        let page = call.run("", command).await?;
        let matching = page.projects.iter().filter(|project| filter.matches(project));
        Ok(Response::new(proto::ListProjectsResponse {
            projects: matching.map(project).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn create_project(&self, request: Request<proto::CreateProjectRequest>) -> Answer<Operation> {
        let (call, request) = self.identify(request, writes("CreateProject")).await?;
        let asked = request.project.unwrap_or_default();
        let command = asked.project_id.parse().map_err(KmsError::from).map(|id| CreateProject {
            id,
            display_name: asked.name,
            labels: asked.labels.into_iter().collect(),
        });
        let made = call.run("", command).await?;
        Ok(Response::new(created(&made)))
    }

    async fn get_iam_policy(&self, request: Request<GetIamPolicyRequest>) -> Answer<Policy> {
        let (call, mut request) = self.identify(request, reads("GetIamPolicy")).await?;
        request.resource = format!("projects/{}", request.resource);
        let resource = resource(&call, &request.resource).await;
        iam_policy::get(&call, resource, &request).await
    }

    async fn set_iam_policy(&self, request: Request<SetIamPolicyRequest>) -> Answer<Policy> {
        let (call, mut request) = self.identify(request, writes("SetIamPolicy")).await?;
        request.resource = format!("projects/{}", request.resource);
        let resource = resource(&call, &request.resource).await;
        iam_policy::set(&call, resource, request).await
    }

    async fn test_iam_permissions(
        &self,
        request: Request<TestIamPermissionsRequest>,
    ) -> Answer<TestIamPermissionsResponse> {
        let (call, mut request) = self.identify(request, reads("TestIamPermissions")).await?;
        request.resource = format!("projects/{}", request.resource);
        let resource = resource(&call, &request.resource).await;
        iam_policy::test(&call, resource, request).await
    }
}

/// The operation that made a project; gcloud reads the project from it.
pub(in crate::grpc) fn created(made: &Project) -> Operation {
    let status = proto::ProjectCreationStatus {
        create_time: Some(to_proto(made.create_time)),
        gettable: true,
        ready: true,
    };
    let metadata = packed("google.cloudresourcemanager.v1.ProjectCreationStatus", &status);
    let response = packed("google.cloudresourcemanager.v1.Project", &project(made));
    Finished::CreatedProject(made.id.to_string()).with(Some(metadata), response)
}

fn project(project: &Project) -> proto::Project {
    proto::Project {
        project_number: i64::try_from(project.number).unwrap_or_default(),
        project_id: project.id.to_string(),
        lifecycle_state: proto::project::LifecycleState::Active.into(),
        name: project.display_name.clone(),
        create_time: Some(to_proto(project.create_time)),
        labels: project.labels.clone().into_iter().collect(),
        ..Default::default()
    }
}
