//! The user's half of the contract: the hosts she may open, signed by the fleet's CA.

use std::sync::Arc;

use fleet::wire;
use fleet::wire::{
    DirectoryBody, DirectoryHost, RecentEventsRequest, RecentEventsResponse, SyncRequest,
    SyncResponse, WhoAmIRequest, WhoAmIResponse,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{call, caller, recent_events};
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
        let SyncRequest {} = request.into_inner();
        let directory = directory(&self.context, &user, clock::now());
        // What is signed is these bytes, so they are made once and sent as they are.
        let body = body(directory).encode_to_vec();
        let signature = self.context.authority.sign(&body).map_err(Error::from)?;
        Ok(Response::new(SyncResponse { body, signature }))
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
