//! The user's half of the API: the hosts she may open.

use std::num::NonZeroU16;
use std::sync::Arc;

use fleet::Role;
use fleet::wire::directory_server::Directory;
use fleet::wire::{DirectoryBody, DirectoryHost, SyncRequest, SyncResponse};
use policy::{Policy, Stanza, StanzaKey};
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::authorize::Caller;
use crate::clock;
use crate::compile::facts;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::Member;

#[derive(Debug)]
pub(crate) struct DirectoryService {
    context: Arc<Context>,
}

// === impl DirectoryService ===

impl DirectoryService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl Directory for DirectoryService {
    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
        let user = Caller::of(&request)?;
        let SyncRequest {} = request.into_inner();

        let in_force = self.context.publisher.in_force();
        let hosts = self.context.roster.active(Role::Host);
        let body = DirectoryBody {
            fleet: self.context.settings.fleet.clone(),
            generation: in_force.generation,
            at_secs: clock::now_secs(),
            hosts: hosts
                .iter()
                .flat_map(|host| entries(&in_force.policy, host, &user.name))
                .collect(),
            user: user.name,
        }
        .encode_to_vec();
        let signature = self.context.authority.sign(&body).map_err(Error::from)?;
        Ok(Response::new(SyncResponse { body, signature }))
    }
}

/// What a user may open on one host: one entry for each pairwise stanza that selects the host and
/// permits her.
fn entries(policy: &Policy, host: &Member, user: &str) -> Vec<DirectoryHost> {
    let facts = facts(host);
    let Some(exchange_key) = host.exchange_key else {
        return Vec::new();
    };
    let stanzas = policy.stanzas.iter();
    stanzas
        .filter(|stanza| permits(stanza, user) && stanza.selects(&facts))
        .map(|stanza| DirectoryHost {
            name: host.name.clone(),
            address: host.address.clone(),
            spa_port: stanza
                .spa_server_port
                .map_or(host.spa_port, NonZeroU16::get)
                .into(),
            exchange_key: exchange_key.to_vec(),
            ports: stanza.open_ports.as_ref().map_or_else(Vec::new, |ports| {
                ports.iter().map(|port| port.to_string()).collect()
            }),
            stanza: stanza.label(),
        })
        .collect()
}

fn permits(stanza: &Stanza, user: &str) -> bool {
    match &stanza.key {
        StanzaKey::Pairwise => {
            stanza.require_username.is_empty() || stanza.require_username.contains(user)
        }
        // A shared key is handed out by other ways than the directory.
        StanzaKey::Static(_) | StanzaKey::User { .. } => false,
    }
}
