//! Hosts in the contract's form; other addresses, labels and names of them.

use fleet::wire::{
    Commands, Host, RenameHostRequest, RenameHostResponse, SetHostRequest, SetHostResponse,
};
use tonic::{Request, Response, Status};

use super::caller;
use crate::app::hosts::HostView;
use crate::context::Context;
use crate::store::model;

pub(super) async fn set_host(
    context: &Context,
    request: Request<SetHostRequest>,
) -> Result<Response<SetHostResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("set_host"))
}

pub(super) async fn rename_host(
    context: &Context,
    request: Request<RenameHostRequest>,
) -> Result<Response<RenameHostResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("rename_host"))
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
    } = view;
    let model::HostState {
        applied_generation,
        applied_digest: _,
        rejected,
        drift,
        audit_fault,
        agent_version,
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
    }
}
