//! The operator's half of the contract.

use std::sync::Arc;
use std::time::Duration;

use fleet::Role;
use fleet::wire::operator_server::Operator;
use fleet::wire::{
    ApplyPolicyRequest, ApplyPolicyResponse, BanHostRequest, BanHostResponse, CanResponse,
    ChangeHostResponse, Controller, CreateTokenRequest, CreateTokenResponse, DiffPolicyRequest,
    DiffPolicyResponse, ListControllersRequest, ListControllersResponse, ListHostsRequest,
    ListHostsResponse, ListMembersRequest, ListMembersResponse, ListTokensRequest,
    ListTokensResponse, LockMemberRequest, PolicyHistoryRequest, PolicyHistoryResponse,
    RemoveMemberRequest, RenameHostRequest, RenderPolicyRequest, RenderPolicyResponse,
    RevokeTokenRequest, RevokeTokenResponse, RollbackPolicyRequest, RollbackPolicyResponse,
    RotateMemberRequest, RotateMemberResponse, SetHostRequest, ShowHostRequest, ShowHostResponse,
    ShowMemberRequest, ShowMemberResponse, ShowPolicyRequest, ShowPolicyResponse,
    UnlockMemberRequest, WhatIfRequest, WhatIfResponse, WhoCanRequest, WhoCanResponse,
};
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::host_changes::host;
use super::members::{self as to_wire, Progress};
use super::policy_wire::{self, access_change, consent, exposure_change, host_change, test_result};
use super::{caller, host_changes, reads, who_can};
use crate::access::caller::Caller;
use crate::app::members::{Act, Acted};
use crate::app::policy::{Applied, Difference, Draft, Rendered, Shown};
use crate::app::reads::Question;
use crate::app::tokens::{Issued, NewToken};
use crate::app::{self, controllers, hosts, identity_age, key_rotation, members, policy, tokens};
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::store::model;

#[derive(Debug)]
pub(crate) struct OperatorService {
    context: Arc<Context>,
}

// === impl OperatorService ===

impl OperatorService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    async fn act(
        &self,
        operator: &Caller,
        act: Act,
        whom: (model::Whom, String),
    ) -> Result<Acted, Error> {
        members::act(&self.context, operator, act, whom, clock::now()).await
    }

    /// What is to be looked at of a member's keys.
    fn old_keys(&self, member: &model::Member) -> Vec<String> {
        identity_age::warnings(&self.context.settings.identity, member, clock::now())
    }

    /// Says what a caller is about to read; what cannot be recorded is not read.
    async fn read(&self, caller: &Caller, question: Question) -> Result<(), Error> {
        app::reads::note(&self.context, caller, question, clock::now()).await
    }

    fn progress(&self, acted: Acted, wait_secs: u32) -> Response<Progress> {
        Response::new(to_wire::progress(&self.context, acted, wait_secs))
    }
}

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let operator = caller(&request)?;
        let CreateTokenRequest {
            role,
            name,
            labels,
            ttl_secs,
            key_name,
            replace,
            scope,
        } = request.into_inner();
        let new = NewToken {
            role: Role::try_from(role).map_err(Error::from)?,
            name,
            labels: labels.into_iter().collect(),
            scope: scope.into_iter().collect(),
            ttl: Duration::from_secs(ttl_secs),
            key_name,
            replaces: replace,
        };
        let Issued {
            token,
            id,
            warnings,
        } = tokens::create(&self.context, &operator, new, clock::now()).await?;
        Ok(Response::new(CreateTokenResponse {
            token: token.to_string(),
            expires_at_secs: token.expires_at_secs,
            warnings,
            id,
        }))
    }

    async fn list_hosts(
        &self,
        request: Request<ListHostsRequest>,
    ) -> Result<Response<ListHostsResponse>, Status> {
        let caller = caller(&request)?;
        let ListHostsRequest {} = request.into_inner();
        self.read(&caller, Question::new("host list")).await?;
        let hosts = hosts::list(&self.context, &caller, clock::now()).await?;
        Ok(Response::new(ListHostsResponse {
            hosts: hosts.into_iter().map(host).collect(),
        }))
    }

    async fn show_host(
        &self,
        request: Request<ShowHostRequest>,
    ) -> Result<Response<ShowHostResponse>, Status> {
        let caller = caller(&request)?;
        let ShowHostRequest { name } = request.into_inner();
        let question = Question::new("host show").with("host", &name);
        self.read(&caller, question).await?;
        let shown = hosts::show(&self.context, &caller, &name, clock::now()).await?;
        Ok(Response::new(ShowHostResponse {
            host: Some(host(shown)),
        }))
    }

    async fn list_controllers(
        &self,
        request: Request<ListControllersRequest>,
    ) -> Result<Response<ListControllersResponse>, Status> {
        let caller = caller(&request)?;
        let ListControllersRequest {} = request.into_inner();
        self.read(&caller, Question::new("controllers")).await?;
        let controllers = controllers::list(&self.context, &caller).into_iter();
        let controllers = controllers.map(|one| Controller {
            address: one.facts.address,
            version: one.facts.version,
            since_ms: one.facts.since_ms,
            hosts: one.hosts,
            serving: one.is_serving,
        });
        Ok(Response::new(ListControllersResponse {
            controllers: controllers.collect(),
        }))
    }

    async fn ban_host(
        &self,
        request: Request<BanHostRequest>,
    ) -> Result<Response<BanHostResponse>, Status> {
        let operator = caller(&request)?;
        let BanHostRequest { name, reason } = request.into_inner();
        let host = (model::Whom::host(name), reason);
        self.act(&operator, Act::Ban, host).await?;
        Ok(Response::new(BanHostResponse {}))
    }

    async fn apply_policy(
        &self,
        request: Request<ApplyPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        let operator = caller(&request)?;
        let ApplyPolicyRequest {
            text,
            base_generation,
            message,
            file,
            allow_public,
            after_restore,
            ..
        } = request.into_inner();
        let draft = Draft {
            text: Zeroizing::new(text),
            file,
        };
        let based = (base_generation, message);
        let Applied {
            generation,
            changed_hosts,
            warnings,
            exposure,
            access,
            tests,
            unchanged,
        } = policy::apply(
            &self.context,
            &operator,
            draft,
            based,
            consent(allow_public, after_restore),
            clock::now(),
        )
        .await?;
        Ok(Response::new(ApplyPolicyResponse {
            generation,
            changed_hosts,
            warnings,
            exposure: exposure.into_iter().map(exposure_change).collect(),
            access: access.into_iter().map(access_change).collect(),
            unchanged,
            tests: tests.into_iter().map(test_result).collect(),
        }))
    }

    async fn diff_policy(
        &self,
        request: Request<DiffPolicyRequest>,
    ) -> Result<Response<DiffPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let DiffPolicyRequest { text, file } = request.into_inner();
        self.read(&caller, Question::new("policy diff")).await?;
        let draft = Draft {
            text: Zeroizing::new(text),
            file,
        };
        let Difference {
            base_generation,
            hosts,
            warnings,
            exposure,
            access,
            tests,
            unchanged,
        } = policy::diff_for(&self.context, &caller, draft, clock::now()).await?;
        Ok(Response::new(DiffPolicyResponse {
            base_generation,
            hosts: hosts.into_iter().map(host_change).collect(),
            warnings,
            exposure: exposure.into_iter().map(exposure_change).collect(),
            access: access.into_iter().map(access_change).collect(),
            tests: tests.into_iter().map(test_result).collect(),
            unchanged,
        }))
    }

    async fn show_policy(
        &self,
        request: Request<ShowPolicyRequest>,
    ) -> Result<Response<ShowPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let ShowPolicyRequest { generation } = request.into_inner();
        let question = Question::new("policy show")
            .with("generation", &numbered(generation))
            .of_everyone();
        self.read(&caller, question).await?;
        let Shown { generation, text } = policy::show(&self.context, generation).await?;
        Ok(Response::new(ShowPolicyResponse {
            generation: generation.map(policy_wire::generation),
            text,
        }))
    }

    async fn policy_history(
        &self,
        request: Request<PolicyHistoryRequest>,
    ) -> Result<Response<PolicyHistoryResponse>, Status> {
        let caller = caller(&request)?;
        let PolicyHistoryRequest { limit } = request.into_inner();
        self.read(&caller, Question::new("policy history")).await?;
        let generations = policy::history(&self.context, limit).await?;
        Ok(Response::new(PolicyHistoryResponse {
            generations: generations
                .into_iter()
                .map(policy_wire::generation)
                .collect(),
        }))
    }

    async fn rollback_policy(
        &self,
        request: Request<RollbackPolicyRequest>,
    ) -> Result<Response<RollbackPolicyResponse>, Status> {
        let operator = caller(&request)?;
        let RollbackPolicyRequest {
            generation,
            message,
            allow_public,
            after_restore,
            ..
        } = request.into_inner();
        let to = (generation, message);
        let applied = policy::rollback(
            &self.context,
            &operator,
            to,
            consent(allow_public, after_restore),
            clock::now(),
        )
        .await?;
        Ok(Response::new(RollbackPolicyResponse {
            generation: applied.generation,
            changed_hosts: applied.changed_hosts,
            exposure: applied.exposure.into_iter().map(exposure_change).collect(),
            warnings: applied.warnings,
            access: applied.access.into_iter().map(access_change).collect(),
            unchanged: applied.unchanged,
            tests: applied.tests.into_iter().map(test_result).collect(),
        }))
    }

    async fn render_policy(
        &self,
        request: Request<RenderPolicyRequest>,
    ) -> Result<Response<RenderPolicyResponse>, Status> {
        let caller = caller(&request)?;
        let RenderPolicyRequest { host } = request.into_inner();
        let question = Question::new("policy render")
            .with("host", &host)
            .of_everyone();
        self.read(&caller, question).await?;
        let Rendered { generation, text } = policy::render(&self.context, &caller, &host)?;
        Ok(Response::new(RenderPolicyResponse { generation, text }))
    }

    async fn set_host(
        &self,
        request: Request<SetHostRequest>,
    ) -> Result<Response<ChangeHostResponse>, Status> {
        host_changes::set_host(&self.context, request).await
    }

    async fn rename_host(
        &self,
        request: Request<RenameHostRequest>,
    ) -> Result<Response<ChangeHostResponse>, Status> {
        host_changes::rename_host(&self.context, request).await
    }

    async fn who_can(
        &self,
        request: Request<WhoCanRequest>,
    ) -> Result<Response<WhoCanResponse>, Status> {
        let caller = caller(&request)?;
        self.read(&caller, reads::who_can(request.get_ref()))
            .await?;
        who_can::who_can(&self.context, request).await
    }

    async fn can(&self, request: Request<WhoCanRequest>) -> Result<Response<CanResponse>, Status> {
        let caller = caller(&request)?;
        self.read(&caller, reads::can(request.get_ref())).await?;
        who_can::can(&self.context, request).await
    }

    async fn what_if(
        &self,
        request: Request<WhatIfRequest>,
    ) -> Result<Response<WhatIfResponse>, Status> {
        let caller = caller(&request)?;
        self.read(&caller, reads::what_if(request.get_ref()))
            .await?;
        who_can::what_if(&self.context, request).await
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let caller = caller(&request)?;
        let ListTokensRequest { all } = request.into_inner();
        let now = clock::now();
        self.read(&caller, Question::new("token list")).await?;
        let tokens = tokens::list(&self.context, &caller, all, now).await?;
        let tokens = tokens.into_iter();
        Ok(Response::new(ListTokensResponse {
            tokens: tokens.map(|token| to_wire::token(token, now)).collect(),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let operator = caller(&request)?;
        let RevokeTokenRequest { id } = request.into_inner();
        let now = clock::now();
        let token = tokens::revoke(&self.context, &operator, id, now).await?;
        Ok(Response::new(RevokeTokenResponse {
            token: Some(to_wire::token(token, now)),
        }))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let caller = caller(&request)?;
        let ListMembersRequest { role } = request.into_inner();
        let role = to_wire::role(role)?;
        let question = Question::new("member list");
        let question = question.with("role", role.map_or("", Role::as_str));
        self.read(&caller, question).await?;
        let members = members::list(&self.context, &caller, role);
        Ok(Response::new(ListMembersResponse {
            members: members
                .iter()
                .map(|member| to_wire::entry(member, self.old_keys(member)))
                .collect(),
        }))
    }

    async fn show_member(
        &self,
        request: Request<ShowMemberRequest>,
    ) -> Result<Response<ShowMemberResponse>, Status> {
        let caller = caller(&request)?;
        let ShowMemberRequest { role, name } = request.into_inner();
        let role = Role::try_from(role);
        let said = role.as_ref().map_or("member", |role| role.as_str());
        let question = Question::new("member show").with(said, &name);
        self.read(&caller, question).await?;
        let role = role.map_err(Error::from)?;
        let (member, stanzas) = members::show(&self.context, &caller, (role, &name))?;
        let warnings = match role {
            Role::Host => {
                let shown = hosts::show(&self.context, &caller, &name, clock::now()).await?;
                host(shown).warnings
            }
            Role::Auditor
            | Role::Helpdesk
            | Role::Owner
            | Role::Validator
            | Role::Operator
            | Role::User => self.old_keys(&member),
        };
        Ok(Response::new(ShowMemberResponse {
            stanzas,
            warnings,
            member: Some(to_wire::entry(&member, Vec::new())),
        }))
    }

    type LockMemberStream = Progress;

    async fn lock_member(
        &self,
        request: Request<LockMemberRequest>,
    ) -> Result<Response<Progress>, Status> {
        let operator = caller(&request)?;
        let LockMemberRequest {
            role,
            name,
            key_name,
            reason,
            wait_secs,
        } = request.into_inner();
        let whom = to_wire::whom(role, name, key_name)?;
        let acted = self.act(&operator, Act::Lock, (whom, reason)).await?;
        Ok(self.progress(acted, wait_secs))
    }

    type UnlockMemberStream = Progress;

    async fn unlock_member(
        &self,
        request: Request<UnlockMemberRequest>,
    ) -> Result<Response<Progress>, Status> {
        let operator = caller(&request)?;
        let UnlockMemberRequest {
            role,
            name,
            key_name,
            wait_secs,
        } = request.into_inner();
        let whom = to_wire::whom(role, name, key_name)?;
        let acted = self.act(&operator, Act::Unlock, (whom, String::new()));
        Ok(self.progress(acted.await?, wait_secs))
    }

    type RemoveMemberStream = Progress;

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<Progress>, Status> {
        let operator = caller(&request)?;
        let RemoveMemberRequest {
            role,
            name,
            key_name,
            reason,
            wait_secs,
        } = request.into_inner();
        let whom = to_wire::whom(role, name, key_name)?;
        let acted = self.act(&operator, Act::Remove, (whom, reason)).await?;
        Ok(self.progress(acted, wait_secs))
    }

    async fn rotate_member(
        &self,
        request: Request<RotateMemberRequest>,
    ) -> Result<Response<RotateMemberResponse>, Status> {
        let operator = caller(&request)?;
        let RotateMemberRequest {
            role,
            name,
            key_name,
            reason,
        } = request.into_inner();
        let whom = to_wire::whom(role, name, key_name)?;
        let asked = key_rotation::ask(&self.context, &operator, (whom, reason), clock::now());
        let member = asked.await?;
        Ok(Response::new(RotateMemberResponse {
            member: Some(to_wire::entry(&member, self.old_keys(&member))),
        }))
    }
}

/// A number, when it is not left out.
fn numbered(number: u64) -> String {
    if number == 0 {
        String::new()
    } else {
        number.to_string()
    }
}
