//! The user's half of the contract: the hosts she may open, signed by the fleet's CA.

use std::sync::Arc;

use fleet::wire::{
    DirectoryBody, DirectoryHost, RecentEventsRequest, RecentEventsResponse, SyncRequest,
    SyncResponse, WhoAmIRequest, WhoAmIResponse,
};
use fleet::{Capability, wire};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{call, caller, contract, recent_events};
use crate::access::caller::Caller;
use crate::access::peer::{Peer, Presented};
use crate::app::directory::{Directory, Entry, directory};
use crate::clock;
use crate::context::Context;
use crate::error::Error;

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
impl wire::directory_server::Directory for DirectoryService {
    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
        let user = caller(&request)?;
        let issuer = member_issuer(&self.context, &request);
        let asked_ms = rotation_asked_ms(&self.context, &request, &user);
        let keeps_set = contract(&request).can(Capability::TrustSet);
        let SyncRequest {} = request.into_inner();
        let directory = directory(&self.context, &user, clock::now());
        // What is signed is these bytes, so they are made once and sent as they are.
        let body = body(directory).encode_to_vec();
        let in_force = self.context.authorities.get();
        // Clients of before know the key of one authority, which is the one that they joined with.
        let authority = in_force.for_member(keeps_set, issuer.as_ref());
        let signature = authority.sign(&body).map_err(Error::from)?;
        let (directory_signature, directory_key) = in_force.sign_directory(&body);
        Ok(Response::new(SyncResponse {
            body,
            signature,
            directory_signature: directory_signature.to_vec(),
            directory_key: directory_key.to_vec(),
            trust_digest: in_force.trust_digest().to_vec(),
            rotation_asked_ms: asked_ms.unwrap_or(0),
            controllers: self.context.settings.controllers.clone(),
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        let user = caller(&request)?;
        let from = call(&request)?.peer.map(|peer| peer.to_canonical());
        let WhoAmIRequest {} = request.into_inner();
        Ok(Response::new(WhoAmIResponse {
            address: from.map(|from| from.to_string()).unwrap_or_default(),
            name: user.name,
        }))
    }

    async fn recent_events(
        &self,
        request: Request<RecentEventsRequest>,
    ) -> Result<Response<RecentEventsResponse>, Status> {
        recent_events::recent_events(&self.context, request).await
    }
}

/// The authority of the certificate by which a member calls, as it was noted when it was issued.
fn member_issuer<T>(context: &Context, request: &Request<T>) -> Option<[u8; 32]> {
    let peer = request.extensions().get::<Peer>()?;
    let Presented::Valid(certificate) = &peer.presented else {
        return None;
    };
    let in_force = context.authorities.get();
    let current = in_force.current();
    current
        .has_signed(&certificate.der)
        .then(|| current.fingerprint())
}

/// When the key by which a member calls was asked for one that follows it.
fn rotation_asked_ms<T>(context: &Context, request: &Request<T>, user: &Caller) -> Option<u64> {
    let peer = request.extensions().get::<Peer>()?;
    let Presented::Valid(certificate) = &peer.presented else {
        return None;
    };
    let member = context.roster.by_id(user.id)?;
    let key = member.key(certificate.subject.as_ref()?.key)?;
    key.rotation_asked_ms
}

fn body(directory: Directory) -> DirectoryBody {
    let Directory {
        fleet,
        generation,
        at,
        user,
        entries,
        locked,
    } = directory;
    DirectoryBody {
        fleet,
        generation,
        at_secs: at.secs(),
        hosts: entries.into_iter().map(host).collect(),
        user,
        locked: locked.into_iter().map(locked_host).collect(),
    }
}

/// By its key nobody is to be asked, and there is nobody to ask.
fn locked_host(entry: Entry) -> DirectoryHost {
    DirectoryHost {
        address: String::new(),
        addresses: Vec::new(),
        exchange_key: Vec::new(),
        ..host(entry)
    }
}

fn host(entry: Entry) -> DirectoryHost {
    let Entry {
        host,
        addresses,
        spa_port,
        exchange_key,
        ports,
        stanza,
        labels,
        expires_at_secs,
    } = entry;
    DirectoryHost {
        name: host,
        address: addresses.first().cloned().unwrap_or_default(),
        spa_port: spa_port.into(),
        exchange_key: exchange_key.to_vec(),
        ports,
        stanza,
        addresses,
        labels: labels.into_iter().collect(),
        expires_at_secs: expires_at_secs.unwrap_or(0),
    }
}
