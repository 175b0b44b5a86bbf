//! Who may open what, and what another text would have done.

use fleet::wire::{
    Access, CanResponse, UserIdentity, WhatIfChange, WhatIfRequest, WhatIfResponse, WhoCanRequest,
    WhoCanResponse,
};
use policy::{PortSet, Proof};
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::caller;
use super::policy_wire::test_result;
use crate::app::policy::Draft;
use crate::app::who_can::{self, Listed, Otherwise, Replayed, Terms, Verdict, What, When, WhoCan};
use crate::clock;
use crate::context::Context;

pub(super) async fn who_can(
    context: &Context,
    request: Request<WhoCanRequest>,
) -> Result<Response<WhoCanResponse>, Status> {
    let caller = caller(&request)?;
    let asked = asked(request.into_inner());
    let Listed {
        generation,
        at,
        access,
        warnings,
    } = who_can::who_can(context, &caller, asked, clock::now()).await?;
    Ok(Response::new(WhoCanResponse {
        generation,
        access: access.into_iter().map(self::access).collect(),
        warnings,
        at_ms: at.ms(),
    }))
}

pub(super) async fn can(
    context: &Context,
    request: Request<WhoCanRequest>,
) -> Result<Response<CanResponse>, Status> {
    let caller = caller(&request)?;
    let asked = asked(request.into_inner());
    let Verdict {
        generation,
        at,
        access,
        reasons,
        warnings,
    } = who_can::can(context, &caller, asked, clock::now()).await?;
    Ok(Response::new(CanResponse {
        allowed: access.is_some(),
        access: access.map(self::access),
        reasons,
        generation,
        warnings,
        at_ms: at.ms(),
    }))
}

pub(super) async fn what_if(
    context: &Context,
    request: Request<WhatIfRequest>,
) -> Result<Response<WhatIfResponse>, Status> {
    let caller = caller(&request)?;
    let WhatIfRequest {
        text,
        file,
        since_ms,
        until_ms,
    } = request.into_inner();
    let asked = who_can::WhatIf {
        draft: Draft {
            text: Zeroizing::new(text),
            file,
        },
        since_ms,
        until_ms,
    };
    let Replayed {
        judged,
        unknown,
        same,
        changes,
        warnings,
        tests,
    } = who_can::what_if(context, &caller, asked, clock::now()).await?;
    Ok(Response::new(WhatIfResponse {
        judged,
        unknown,
        same,
        changes: changes.into_iter().map(change).collect(),
        warnings,
        tests: tests.into_iter().map(test_result).collect(),
    }))
}

fn asked(request: WhoCanRequest) -> WhoCan {
    let WhoCanRequest {
        host,
        user,
        port,
        source,
        generation,
        at_ms,
    } = request;
    WhoCan {
        host,
        user,
        port,
        source,
        when: When { generation, at_ms },
    }
}

fn access(access: who_can::Access) -> Access {
    let user = access.user().to_owned();
    let key = access.key().to_owned();
    let who_can::Access { host, right, terms } = access;
    let Terms {
        stanza,
        file,
        line,
        sources,
        expires_at_secs,
        timeout_secs,
        runs_commands_as,
    } = terms;
    let is_anything = right.ports == PortSet::everything();
    let ports = right.ports.iter().map(|port| port.to_string());
    Access {
        user,
        host,
        ports: if is_anything {
            Vec::new()
        } else {
            ports.collect()
        },
        sources,
        stanza,
        file,
        line,
        user_identity: i32::from(match right.proof {
            Proof::Proven => UserIdentity::Proven,
            Proof::Asserted => UserIdentity::Asserted,
        }),
        expires_at_secs,
        timeout_secs,
        forwarded_to: right.leads_to.unwrap_or_default(),
        key,
        runs_commands_as,
    }
}

fn change(otherwise: Otherwise) -> WhatIfChange {
    let Otherwise {
        what,
        source,
        count,
        last_at_ms,
    } = otherwise;
    let What {
        refused,
        user,
        host,
        ports,
        reason,
    } = what;
    WhatIfChange {
        user,
        host,
        ports,
        source,
        count,
        last_at_ms,
        refused,
        reason,
    }
}
