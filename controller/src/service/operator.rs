//! The operator's half of the API.

mod hosts;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use fleet::Role;
use fleet::wire::operator_server::Operator;
use fleet::wire::{
    ApplyPolicyRequest, ApplyPolicyResponse, BanHostRequest, BanHostResponse, CreateTokenRequest,
    CreateTokenResponse, DiffPolicyRequest, DiffPolicyResponse, ListHostsRequest,
    ListHostsResponse, PolicyHistoryRequest, PolicyHistoryResponse, RenderPolicyRequest,
    RenderPolicyResponse, RollbackPolicyRequest, RollbackPolicyResponse, ShowHostRequest,
    ShowHostResponse, ShowPolicyRequest, ShowPolicyResponse,
};
use tonic::{Request, Response, Status};

use super::at_most;
use crate::authorize::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::invite::Wanted;

/// Why something was done, in an operator's words.
const MESSAGE_BYTES_MAX: usize = 4_096;
const HISTORY_DEFAULT: u32 = 100;

#[derive(Debug)]
pub(crate) struct OperatorService {
    context: Arc<Context>,
}

// === impl OperatorService ===

impl OperatorService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let operator = Caller::of(&request)?;
        let CreateTokenRequest {
            role,
            name,
            labels,
            ttl_secs,
        } = request.into_inner();
        let wanted = Wanted {
            role: Role::try_from(role).map_err(Error::from)?,
            name,
            labels: labels.into_iter().collect(),
            ttl: Duration::from_secs(ttl_secs),
        };

        let token = self
            .context
            .inviter
            .invite(&self.context.store, wanted, &operator.name)
            .await?;
        tracing::info!(operator = operator.name, role = %token.role, "token created");
        Ok(Response::new(CreateTokenResponse {
            token: token.to_string(),
            expires_at_secs: token.expires_at_secs,
        }))
    }

    async fn list_hosts(
        &self,
        request: Request<ListHostsRequest>,
    ) -> Result<Response<ListHostsResponse>, Status> {
        let ListHostsRequest {} = request.into_inner();
        let hosts = hosts::list(&self.context).await?;
        Ok(Response::new(ListHostsResponse { hosts }))
    }

    async fn show_host(
        &self,
        request: Request<ShowHostRequest>,
    ) -> Result<Response<ShowHostResponse>, Status> {
        let ShowHostRequest { name } = request.into_inner();
        let hosts = hosts::list(&self.context).await?;
        let host = hosts.into_iter().find(|host| host.name == name);
        let host = host.ok_or_else(|| hosts::unknown(&name))?;
        Ok(Response::new(ShowHostResponse { host: Some(host) }))
    }

    async fn ban_host(
        &self,
        request: Request<BanHostRequest>,
    ) -> Result<Response<BanHostResponse>, Status> {
        let operator = Caller::of(&request)?;
        let BanHostRequest { name, reason } = request.into_inner();
        at_most("reason", &reason, MESSAGE_BYTES_MAX)?;

        hosts::ban(&self.context, &operator, &name, &reason).await?;
        tracing::info!(operator = operator.name, host = name, "host banned");
        Ok(Response::new(BanHostResponse {}))
    }

    async fn apply_policy(
        &self,
        request: Request<ApplyPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        let operator = Caller::of(&request)?;
        let request = request.into_inner();
        at_most("message", &request.message, MESSAGE_BYTES_MAX)?;

        let applied = policy::apply(&self.context, &operator, request).await?;
        Ok(Response::new(applied))
    }

    async fn diff_policy(
        &self,
        request: Request<DiffPolicyRequest>,
    ) -> Result<Response<DiffPolicyResponse>, Status> {
        let DiffPolicyRequest { text, file } = request.into_inner();
        let diff = policy::diff(&self.context, file, text).await?;
        Ok(Response::new(diff))
    }

    async fn show_policy(
        &self,
        request: Request<ShowPolicyRequest>,
    ) -> Result<Response<ShowPolicyResponse>, Status> {
        let ShowPolicyRequest { generation } = request.into_inner();
        let shown = policy::show(&self.context, generation).await?;
        Ok(Response::new(shown))
    }

    async fn policy_history(
        &self,
        request: Request<PolicyHistoryRequest>,
    ) -> Result<Response<PolicyHistoryResponse>, Status> {
        let PolicyHistoryRequest { limit } = request.into_inner();
        let limit = if limit == 0 { HISTORY_DEFAULT } else { limit };
        let generations = policy::history(&self.context, limit).await?;
        Ok(Response::new(PolicyHistoryResponse { generations }))
    }

    async fn rollback_policy(
        &self,
        request: Request<RollbackPolicyRequest>,
    ) -> Result<Response<RollbackPolicyResponse>, Status> {
        let operator = Caller::of(&request)?;
        let request = request.into_inner();
        at_most("message", &request.message, MESSAGE_BYTES_MAX)?;

        let rolled_back = policy::rollback(&self.context, &operator, request).await?;
        Ok(Response::new(rolled_back))
    }

    async fn render_policy(
        &self,
        request: Request<RenderPolicyRequest>,
    ) -> Result<Response<RenderPolicyResponse>, Status> {
        let RenderPolicyRequest { host } = request.into_inner();
        let rendered = policy::render(&self.context, &host)?;
        Ok(Response::new(rendered))
    }
}
