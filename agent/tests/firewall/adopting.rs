//! Sessions that are older than what hides their port, where the owner tells connection tracking what
//! to do with them.

use harness::{Node, in_lab};

use crate::support::{BACK_ENDS, PATIENCE, PROGRAMS, laid, run, ways};

/// The owner tells connection tracking this of everything that comes and goes.
fn tracks(host: &Node, how: &str) {
    for program in PROGRAMS {
        let add = format!("{program} -w -t raw -A");
        run(host, &format!("{add} PREROUTING -i eth0 -j CT {how}"));
        run(host, &format!("{add} OUTPUT -o eth0 -j CT {how}"));
    }
}

#[test]
fn a_session_that_is_older_than_its_zone_goes_on_when_its_port_is_hidden() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let service = host.serve_tcp(22)?;
            let mut sessions = Vec::new();
            for address in ways(&host) {
                sessions.push(alice.session(address, 22)?);
                sessions.push(alice.session(address, 22)?);
            }
            tracks(&host, "--zone 5");

            let _firewall = laid(&host, backend, &["tcp/22"])?;

            for (at, session) in sessions.iter_mut().enumerate() {
                // Whoever speaks first.
                if at % 2 == 0 {
                    assert!(service.say_to(session.client()), "{backend:?}");
                    assert!(session.hears(PATIENCE)?, "{backend:?}");
                }
                session.talk()?;
            }
            assert!(alice.session(host.v4, 22).is_err(), "{backend:?}");
            Ok(())
        });
    }
}

#[test]
fn a_session_that_the_owner_keeps_out_of_connection_tracking_ends_and_others_live_on() {
    for backend in BACK_ENDS {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let _services = [host.serve_tcp(22)?, host.serve_tcp(80)?];
            let mut untracked = alice.session(host.v4, 22)?;
            let mut tracked = alice.session(host.v4, 80)?;
            for (chain, port) in [("PREROUTING", "--dport"), ("OUTPUT", "--sport")] {
                let rule =
                    format!("iptables -w -t raw -A {chain} -p tcp {port} 22 -j CT --notrack");
                run(&host, &rule);
            }

            let _firewall = laid(&host, backend, &["tcp/22", "tcp/80"])?;

            assert!(untracked.is_dead(PATIENCE)?, "{backend:?}");
            tracked.talk()?;
            Ok(())
        });
    }
}
