//! What a local service sees of a connection that is ended.

use std::io::{ErrorKind, Read as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use agent::firewall::{self, BaseRules as _, Holes as _};
use engine::Connection;
use harness::in_lab;
use spa::Protocol;

use crate::support::{BACK_ENDS, config};

#[test]
fn a_service_that_listens_for_both_families_is_told_that_a_connection_was_ended() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let listener = host.within(|| Ok(TcpListener::bind("[::]:2222")?))?;
            let config = config(backend);
            for address in [host.v4.into(), host.v6.into()] {
                let address: std::net::IpAddr = address;
                let client = alice.within(|| Ok(TcpStream::connect((address, 2222))?))?;
                let (mut service, _) = listener.accept()?;
                let ends = (client.local_addr()?, client.peer_addr()?);
                let connection = Connection::direct(Protocol::Tcp, ends.0, ends.1);

                host.within(|| {
                    let mut firewall = firewall::open(&config)?;
                    firewall.base_rules.lay(&["tcp/2222".parse().unwrap()])?;
                    firewall.holes.close(&[], &[connection])?;
                    Ok(firewall.base_rules.remove()?)
                })?;

                service.set_read_timeout(Some(Duration::from_secs(2)))?;
                let told = service.read(&mut [0]).unwrap_err().kind();
                assert_eq!(told, ErrorKind::ConnectionAborted, "{backend:?} {address}");
            }
            Ok(())
        });
    }
}
