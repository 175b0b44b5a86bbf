//! Groups of users with SPA ports of their own: SPA_SERVER_PORT.

use anyhow::ensure;
use harness::fwknop::fwknop_with_rc;
use harness::{Result, in_lab};
use suite::{Alone, Company, POLICY, STANZA, STOCK_ARGS, same};

/// [`STANZA`] at a port of its own.
fn at_port(port: u16) -> String {
    format!("{STANZA}SPA_SERVER_PORT {port}\n")
}

fn stock_knock(alone: &Alone, port: &str, address: &str) -> Result<()> {
    let words = ["-A", "tcp/22", "-a", address, "-p", port];
    alone.knock(&[&words, STOCK_ARGS].concat())
}

#[test]
fn a_stock_client_is_let_in_at_the_port_of_its_stanza_and_follows_it_when_it_moves() {
    for capture in [&[][..], &["--udp-server", "62201"]] {
        in_lab(|lab| {
            let mut alone = Alone::start_with(lab, &at_port(4001), capture)?;

            stock_knock(&alone, "62201", "203.0.113.1")?;
            stock_knock(&alone, "4002", "203.0.113.2")?;
            alone.nothing_opened()?;
            stock_knock(&alone, "4001", "203.0.113.3")?;
            alone.agent.opens([203, 0, 113, 3], "tcp:22")?;

            let moved = Alone::access(&at_port(4002));
            alone.agent.write_access(&moved)?;
            alone.agent.reload(|| Ok(()))?;
            stock_knock(&alone, "4001", "203.0.113.4")?;
            alone.wait_until_judged()?;
            same("holes after the move", &alone.holes()?.len(), &1)?;
            stock_knock(&alone, "4002", "203.0.113.5")?;
            alone.agent.opens([203, 0, 113, 5], "tcp:22")?;
            Ok(())
        });
    }
}

#[test]
fn users_of_a_fleet_find_the_port_of_their_group_by_themselves() {
    const OPS: &str = "
NAME alice-db
HOSTS role=web
SOURCE ANY
REQUIRE_USERNAME alice
OPEN_PORTS tcp/5432
SPA_SERVER_PORT 4001
FW_ACCESS_TIMEOUT 20
";
    in_lab(|lab| {
        let company = Company::found(lab, 1, &format!("{POLICY}{OPS}"))?;
        let (alice, host) = (&company.alice, company.host(1));

        alice.knock("web-1", "tcp/22", &[])?;
        host.opens(alice.node.v4, "tcp:22")?;
        alice.knock("web-1", "tcp/5432", &[])?;
        host.opens(alice.node.v4, "tcp:5432")?;

        let exported = alice.run(&["profile", "export", "--format", "fwknoprc"])?;
        let rc = exported.ok()?.stdout;
        fwknop_with_rc(&alice.node, &rc, "web-1-4001", &["-a", "203.0.113.9"])?;
        host.opens([203, 0, 113, 9], "tcp:5432")?;

        // The right key at the wrong port: no stanza lets that in, and the audit knows who it was.
        alice.knock("web-1", "tcp/5432", &["-p", "62201", "-a", "203.0.113.10"])?;
        company
            .auditor
            .audit_until(&["--kind", "refused", "--user", "alice"])?;
        ensure!(!host.has_hole([203, 0, 113, 10], "tcp:5432")?);
        Ok(())
    });
}
