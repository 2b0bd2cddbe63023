use keystead_model::cluster::Task;
use keystead_model::{ClusterName, ClusterOperation};
use keystead_proto::container as proto;
use keystead_proto::container::operation::{Status, Type};
use keystead_proto::rpc;
use tonic::Code;

/// As the API shows it. `address`: of this server, for links.
pub(super) fn operation(operation: &ClusterOperation, address: &str) -> proto::Operation {
    let location = operation.name.location.location.to_string();
    let target =
        ClusterName { location: operation.name.location.clone(), cluster: operation.cluster.clone() };
    let kind = match operation.task {
        Task::Create(_) => Type::CreateCluster,
        Task::Update(_) => Type::UpdateCluster,
        Task::SetLabels => Type::SetLabels,
        Task::Delete => Type::DeleteCluster,
    };
    let failure = operation.end.as_ref().and_then(|end| end.failure.as_ref());
    proto::Operation {
        name: operation.name.operation.to_string(),
        location: location.clone(),
        zone: location,
        operation_type: kind.into(),
        status: if operation.end.is_some() { Status::Done } else { Status::Running }.into(),
        detail: detail(operation),
        status_message: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
        error: failure.map(|failure| rpc::Status {
            code: if failure.cancelled { Code::Cancelled } else { Code::FailedPrecondition }.into(),
            message: failure.message.clone(),
            details: Vec::new(),
        }),
        self_link: format!("{address}v1/{}", operation.name),
        target_link: format!("{address}v1/{target}"),
        start_time: operation.start_time.to_string(),
        end_time: operation.end.as_ref().map(|end| end.time.to_string()).unwrap_or_default(),
    }
}

/// What it waits for or does, and before that why it is there if nobody asked for it: that stays when it has ended.
fn detail(operation: &ClusterOperation) -> String {
    let parts = operation.reason.as_deref().into_iter().chain([operation.detail.as_str()]);
    parts.filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ")
}
