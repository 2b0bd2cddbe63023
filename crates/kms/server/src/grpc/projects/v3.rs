use keystead_keyservice::operations::{CreateProject, GetProject, ListProjects};
use keystead_keyservice::{KmsError, Project};
use keystead_proto::iam_policy::{
    GetIamPolicyRequest, Policy, SetIamPolicyRequest, TestIamPermissionsRequest, TestIamPermissionsResponse,
};
use keystead_proto::longrunning::Operation;
use keystead_proto::resource_manager_v3 as proto;
use keystead_proto::resource_manager_v3::projects_server::Projects;
use tonic::{Request, Response, Status};

use super::filter::Filter;
use super::{id_of, page_size, reads, resource, writes};
use crate::grpc::call::IdentifiedCall;
use crate::grpc::finished::Finished;
use crate::grpc::status::packed;
use crate::grpc::time::to_proto;
use crate::grpc::{Adapter, Answer, iam_policy};

#[tonic::async_trait]
impl Projects for Adapter {
    async fn get_project(&self, request: Request<proto::GetProjectRequest>) -> Answer<proto::Project> {
        let (call, proto::GetProjectRequest { name }) = self.identify(request, reads("GetProject")).await?;
        let id = id_of(&call, &name).await;
        let found = call.run(&name, id.map(|id| GetProject { id })).await?;
        Ok(Response::new(project(&found)))
    }

    async fn list_projects(
        &self,
        request: Request<proto::ListProjectsRequest>,
    ) -> Answer<proto::ListProjectsResponse> {
        let (call, request) = self.identify(request, reads("ListProjects")).await?;
        if !request.parent.is_empty() {
            let text = "Projects have no parent here: leave parent empty for all that you may see.";
            return Err(call.refuse("", &KmsError::invalid(text)).await);
        }
        let (projects, next_page_token) = page(&call, "", request.page_size, request.page_token).await?;
        Ok(Response::new(proto::ListProjectsResponse { projects, next_page_token }))
    }

    async fn search_projects(
        &self,
        request: Request<proto::SearchProjectsRequest>,
    ) -> Answer<proto::SearchProjectsResponse> {
        let (call, request) = self.identify(request, reads("SearchProjects")).await?;
        let found = page(&call, &request.query, request.page_size, request.page_token).await?;
        let (projects, next_page_token) = found;
        Ok(Response::new(proto::SearchProjectsResponse { projects, next_page_token }))
    }

    async fn create_project(&self, request: Request<proto::CreateProjectRequest>) -> Answer<Operation> {
        let (call, request) = self.identify(request, writes("CreateProject")).await?;
        let asked = request.project.unwrap_or_default();
        let command = asked.project_id.parse().map_err(KmsError::from).map(|id| CreateProject {
            id,
            display_name: asked.display_name,
            labels: asked.labels.into_iter().collect(),
        });
        let made = call.run("", command).await?;
        let metadata = proto::CreateProjectMetadata {
            create_time: Some(to_proto(made.create_time)),
            gettable: true,
            ready: true,
        };
        let metadata = packed("google.cloud.resourcemanager.v3.CreateProjectMetadata", &metadata);
        let response = packed("google.cloud.resourcemanager.v3.Project", &project(&made));
        let finished = Finished::CreatedProject(made.id.to_string());
        Ok(Response::new(finished.with(Some(metadata), response)))
    }

    async fn get_iam_policy(&self, request: Request<GetIamPolicyRequest>) -> Answer<Policy> {
        let (call, request) = self.identify(request, reads("GetIamPolicy")).await?;
        let resource = resource(&call, &request.resource).await;
        iam_policy::get(&call, resource, &request).await
    }

    async fn set_iam_policy(&self, request: Request<SetIamPolicyRequest>) -> Answer<Policy> {
        let (call, request) = self.identify(request, writes("SetIamPolicy")).await?;
        let resource = resource(&call, &request.resource).await;
        iam_policy::set(&call, resource, request).await
    }

    async fn test_iam_permissions(
        &self,
        request: Request<TestIamPermissionsRequest>,
    ) -> Answer<TestIamPermissionsResponse> {
        let (call, request) = self.identify(request, reads("TestIamPermissions")).await?;
        let resource = resource(&call, &request.resource).await;
        iam_policy::test(&call, resource, request).await
    }
}

async fn page(
    call: &IdentifiedCall<'_>,
    query: &str,
    size: i32,
    page_token: String,
) -> Result<(Vec<proto::Project>, String), Status> {
    let filter = match Filter::parse(query) {
        Ok(filter) => filter,
        Err(error) => return Err(call.refuse("", &error).await),
    };
    let command = page_size(size).map(|page_size| ListProjects { page_size, page_token });
    let page = call.run("", command).await?;
    let matching = page.projects.iter().filter(|project| filter.matches(project));
    Ok((matching.map(project).collect(), page.next_page_token.unwrap_or_default()))
}

fn project(project: &Project) -> proto::Project {
    proto::Project {
        name: format!("projects/{}", project.number),
        project_id: project.id.to_string(),
        state: proto::project::State::Active.into(),
        display_name: project.display_name.clone(),
        create_time: Some(to_proto(project.create_time)),
        labels: project.labels.clone().into_iter().collect(),
        ..Default::default()
    }
}
