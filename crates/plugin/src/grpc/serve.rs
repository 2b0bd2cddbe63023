//! HTTP/2 over admitted connections, straight on hyper: two services need no router.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystead_proto::kms_v1::key_management_service_server as v1;
use keystead_proto::kms_v2::key_management_service_server as v2;
use keystead_runtime::Tasks;
use tonic::body::Body;
use tonic::codegen::Service;

use super::budget::{Answer, Budget, ConnectionBudget, Counted};
use super::{Handlers, MAX_MESSAGE_LEN};
use crate::transport::Connection;

/// Calls under way on one connection. kube-apiserver has one for all Decrypts of its lists; a further call waits in the client
/// until one is answered, and 64 that take 1 ms each are still 64,000 a second.
pub(super) const MAX_CONCURRENT_STREAMS: u32 = 64;
/// What a client may send before it is read: one call as large as kube-apiserver's largest.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Four of them. 1,024 connections whose bytes nobody reads yet hold 256 MiB at most.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// By then each call under way is answered, because the guard gives up after 2.5 s. What is open still belongs to a
/// client that is silent, and must not make the end of the process a failure.
const FAREWELL: Duration = Duration::from_secs(3);

/// Serves connections until the tasks stop; then no new ones, and those that are open end after the calls under way.
pub(crate) async fn serve(
    connections: impl Stream<Item = std::io::Result<Connection>> + Send + 'static,
    handlers: Handlers,
    tasks: Tasks,
) {
    let stopping = tasks.stopping();
    let mut connections = std::pin::pin!(connections);
    let budget = Arc::new(Budget::default());
    let own_uid = rustix::process::geteuid().as_raw();
    loop {
        let connection = tokio::select! {
            connection = connections.next() => connection,
            () = stopping.cancelled() => return,
        };
        match connection {
            Some(Ok(connection)) => {
                let budget = ConnectionBudget::new(Arc::clone(&budget), connection.peer(), own_uid);
                let served = serve_connection(connection, Arc::new(budget), handlers.clone(), tasks.clone());
                tasks.spawn("connection", served);
            }
            Some(Err(error)) => tracing::warn!(%error, "accept"),
            None => return,
        }
    }
}

async fn serve_connection(
    connection: Connection,
    budget: Arc<ConnectionBudget>,
    handlers: Handlers,
    tasks: Tasks,
) {
    let services = Services {
        budget,
        v1: v1::KeyManagementServiceServer::new(handlers.clone()).max_decoding_message_size(MAX_MESSAGE_LEN),
        v2: v2::KeyManagementServiceServer::new(handlers).max_decoding_message_size(MAX_MESSAGE_LEN),
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(
            TokioIo::new(connection),
            service_fn(move |request| services.clone().route(request)),
        );
    let mut connection = std::pin::pin!(connection);
    let stopping = tasks.stopping();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(FAREWELL, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("connection dropped: its client does not say goodbye"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[derive(Clone)]
struct Services {
    budget: Arc<ConnectionBudget>,
    v1: v1::KeyManagementServiceServer<Handlers>,
    v2: v2::KeyManagementServiceServer<Handlers>,
}

impl Services {
    async fn route(self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        match self.budget.begin(request.headers()) {
            Ok(claim) => {
                let response = self.call(Counted::count(request, Arc::clone(&claim))).await?;
                Ok(response.map(|body| Answer::new(body, Some(claim))))
            }
            Err(status) => Ok(status.into_http().map(|body| Answer::new(body, None))),
        }
    }

    async fn call(mut self, request: Request<Counted>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path();
        if path.starts_with("/v2.KeyManagementService/") {
            call(&mut self.v2, request).await
        } else if path.starts_with("/v1beta1.KeyManagementService/") {
            call(&mut self.v1, request).await
        } else {
            Ok(tonic::Status::unimplemented(
                "here are v1beta1.KeyManagementService and v2.KeyManagementService",
            )
            .into_http())
        }
    }
}

async fn call<S>(service: &mut S, request: Request<Counted>) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Counted>, Response = Response<Body>, Error = Infallible>,
{
    // Generated servers are always ready.
    debug_assert!(matches!(
        service.poll_ready(&mut Context::from_waker(std::task::Waker::noop())),
        Poll::Ready(Ok(()))
    ));
    service.call(request).await
}
