//! Hosts in the contract's form; other addresses, labels and names of them.

use fleet::wire::{ChangeHostResponse, Commands, Host, RenameHostRequest, SetHostRequest};
use tonic::{Request, Response, Status};

use super::caller;
use super::policy_wire::{access_change, exposure_change, host_change};
use crate::app::host_changes::{Changed, Consent, Wanted, change};
use crate::app::hosts::HostView;
use crate::app::policy::Public;
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::store::model;

pub(super) async fn set_host(
    context: &Context,
    request: Request<SetHostRequest>,
) -> Result<Response<ChangeHostResponse>, Status> {
    let caller = caller(&request)?;
    let SetHostRequest {
        name,
        addresses,
        spa_port,
        set_labels,
        remove_labels,
        allow_public,
        dry_run,
    } = request.into_inner();
    let spa_port = match spa_port {
        0 => None,
        port => Some(u16::try_from(port).map_err(|_| Error::invalid("spa_port", "above 65535"))?),
    };
    let wanted = Wanted {
        addresses,
        spa_port,
        set_labels: set_labels.into_iter().collect(),
        remove_labels,
        name: None,
    };
    let consent = consent(allow_public, dry_run);
    let changed = change(context, &caller, (&name, wanted), consent, clock::now()).await?;
    Ok(Response::new(answer(changed)))
}

pub(super) async fn rename_host(
    context: &Context,
    request: Request<RenameHostRequest>,
) -> Result<Response<ChangeHostResponse>, Status> {
    let caller = caller(&request)?;
    let RenameHostRequest {
        name,
        new_name,
        allow_public,
        dry_run,
    } = request.into_inner();
    let wanted = Wanted {
        name: Some(new_name),
        ..Wanted::default()
    };
    let consent = consent(allow_public, dry_run);
    let changed = change(context, &caller, (&name, wanted), consent, clock::now()).await?;
    Ok(Response::new(answer(changed)))
}

fn answer(changed: Changed) -> ChangeHostResponse {
    let Changed {
        host,
        difference,
        exposure,
        access,
        warnings,
    } = changed;
    ChangeHostResponse {
        host: Some(self::host(host)),
        hosts: difference.into_iter().map(host_change).collect(),
        warnings,
        exposure: exposure.into_iter().map(exposure_change).collect(),
        access: access.into_iter().map(access_change).collect(),
    }
}

fn consent(allow_public: bool, is_dry: bool) -> Consent {
    let public = if allow_public {
        Public::Allowed
    } else {
        Public::Refused
    };
    Consent { public, is_dry }
}

/// A host.
pub(super) fn host(view: HostView) -> Host {
    let HostView {
        member,
        state,
        connected,
        in_sync,
        target_generation,
        stanzas,
        warnings: found,
        agent_old,
        controller,
    } = view;
    let model::HostState {
        applied_generation,
        applied_digest: _,
        rejected,
        drift,
        audit_fault,
        agent_version,
        contract: _,
        last_seen_ms,
        word,
    } = state;
    let model::HostWord {
        protected_ports,
        own_protected_ports,
        warnings,
        floor_secs,
        clock_offset_ms,
        commands,
        backend,
        grants_open,
    } = word;
    Host {
        addresses: member.addresses().map(str::to_owned).collect(),
        name: member.name,
        address: member.address,
        spa_port: member.spa_port.into(),
        labels: member.labels.into_iter().collect(),
        target_generation,
        applied_generation,
        in_sync,
        connected,
        last_seen_ms,
        drift,
        rejected,
        banned: member.lock.is_some(),
        agent_version,
        stanzas,
        joined_at_ms: member.joined_at_ms,
        audit_fault,
        protected_ports,
        warnings: [found, warnings].concat(),
        clock_offset_ms,
        floor_secs,
        own_protected_ports,
        commands: i32::from(match commands {
            None => Commands::Unspecified,
            Some(false) => Commands::Off,
            Some(true) => Commands::On,
        }),
        backend,
        grants_open,
        agent_old,
        controller: controller.unwrap_or_default(),
    }
}
