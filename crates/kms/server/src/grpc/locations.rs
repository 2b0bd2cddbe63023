//! `google.cloud.location.Locations`.

use keystead_keyservice::operations::{GetLocation, ListLocations};
use keystead_keyservice::{KmsError, Location, Method, MethodKind};
use keystead_model::{LocationName, ProjectName};
use keystead_proto::cloud_kms::LocationMetadata;
use keystead_proto::locations as proto;
use keystead_proto::locations::locations_server::Locations;
use tonic::{Request, Response};

use super::status::packed;
use super::{Adapter, Answer};

#[tonic::async_trait]
impl Locations for Adapter {
    /// All at once: there are a few.
    async fn list_locations(
        &self,
        request: Request<proto::ListLocationsRequest>,
    ) -> Answer<proto::ListLocationsResponse> {
        let method = Method::kms("ListLocations", MethodKind::AdminRead);
        let (call, request) = self.identify(request, method).await?;
        let command = request.name.parse::<ProjectName>().map_err(KmsError::from);
        let project = command.clone();
        let locations = call.run(&request.name, command.map(|project| ListLocations { project })).await?;
        let locations = project.map(|project| locations.iter().map(|it| location(&project, it)).collect());
        Ok(Response::new(proto::ListLocationsResponse {
            locations: locations.unwrap_or_default(),
            next_page_token: String::new(),
        }))
    }

    async fn get_location(&self, request: Request<proto::GetLocationRequest>) -> Answer<proto::Location> {
        let method = Method::kms("GetLocation", MethodKind::AdminRead);
        let (call, proto::GetLocationRequest { name }) = self.identify(request, method).await?;
        let parsed = name.parse::<LocationName>().map_err(KmsError::from);
        let command = parsed.clone().map(|name| GetLocation { name });
        let found = call.run(&name, command).await?;
        let project = parsed.map(|name| ProjectName { project: name.project });
        Ok(Response::new(project.map(|project| location(&project, &found)).unwrap_or_default()))
    }
}

fn location(project: &ProjectName, location: &Location) -> proto::Location {
    let id = location.id.as_str();
    let metadata = packed("google.cloud.kms.v1.LocationMetadata", &LocationMetadata::default());
    proto::Location {
        name: format!("{project}/locations/{id}"),
        location_id: id.to_owned(),
        display_name: location.display_name.clone(),
        labels: [("cloud.googleapis.com/region".to_owned(), id.to_owned())].into(),
        metadata: Some(metadata),
    }
}
