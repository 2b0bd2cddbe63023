use jiff::SignedDuration;

use keystead_keyservice::operations::{CreateToken, ListTokens, RevokeToken};
use keystead_keyservice::{KmsError, MethodKind, Token};
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::tokens_server::Tokens;
use tonic::{Request, Response};

use super::{account, address, method, page, principal};
use crate::grpc::call::IdentifiedCall;
use crate::grpc::time::{to_proto, whole_seconds};
use crate::grpc::{Adapter, Answer};

#[tonic::async_trait]
impl Tokens for Adapter {
    async fn create_token(
        &self,
        request: Request<proto::CreateTokenRequest>,
    ) -> Answer<proto::CreateTokenResponse> {
        let (call, request) = self.identify(request, method("CreateToken", MethodKind::AdminWrite)).await?;
        let made = call.run(&account(&request.principal), create(&call, request).await).await?;
        Ok(Response::new(proto::CreateTokenResponse {
            token: Some(token(&made.token)),
            // It was made as text.
            secret: String::from_utf8(made.secret.into_exposed()).unwrap_or_default(),
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<proto::ListTokensRequest>,
    ) -> Answer<proto::ListTokensResponse> {
        let (call, request) = self.identify(request, method("ListTokens", MethodKind::AdminRead)).await?;
        let page = call.run(&account(&request.principal), list(&call, request).await).await?;
        Ok(Response::new(proto::ListTokensResponse {
            tokens: page.tokens.iter().map(token).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn revoke_token(&self, request: Request<proto::RevokeTokenRequest>) -> Answer<()> {
        let (call, request) = self.identify(request, method("RevokeToken", MethodKind::AdminWrite)).await?;
        let command = RevokeToken::new(call.keyservice(), &request.id).await;
        let name = command.as_ref().map(RevokeToken::name).unwrap_or_default();
        Ok(Response::new(call.run(&name, command).await?))
    }
}

async fn create(
    call: &IdentifiedCall<'_>,
    request: proto::CreateTokenRequest,
) -> Result<CreateToken, KmsError> {
    let principal = principal(&request.principal)?;
    let ttl = request.ttl.map(|ttl| whole_seconds("ttl", ttl).map(SignedDuration::from_secs)).transpose()?;
    CreateToken::new(call.keyservice(), principal, request.description, ttl).await
}

async fn list(call: &IdentifiedCall<'_>, request: proto::ListTokensRequest) -> Result<ListTokens, KmsError> {
    let (principal, page_size) = page(&request.principal, request.page_size)?;
    ListTokens::new(call.keyservice(), principal, page_size, request.page_token).await
}

fn token(token: &Token) -> proto::Token {
    proto::Token {
        id: token.id.clone(),
        principal: token.principal.to_string(),
        description: token.description.clone(),
        create_time: Some(to_proto(token.create_time)),
        expire_time: token.expire_time.map(to_proto),
        last_use_time: token.last_use.map(|last| to_proto(last.time)),
        last_use_address: address(token.last_use),
    }
}
