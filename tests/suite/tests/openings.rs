//! Opening more than one port for one address, and closing it early: with real traffic.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::ensure;
use harness::fwknop::Fwknopd;
use harness::postern::Member;
use harness::service::Reach;
use harness::{Node, Ran, Result, in_lab, wait};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use suite::{Alone, KEY, STANZA};

/// As `--backend` names them.
const BACKENDS: [&str; 2] = ["nftables", "iptables"];
const KEYS: &[&str] = &["--key-rijndael", KEY, "--key-hmac", "suite-hmac-passphrase"];

/// Long enough for whatever was to open or close.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_range_and_echo_open_for_whoever_knocks_and_for_nobody_else() {
    for backend in BACKENDS {
        in_lab(|lab| {
            let access = "SOURCE ANY\nKEY suite-passphrase\nHMAC_KEY suite-hmac-passphrase\n\
                      OPEN_PORTS tcp/8000-8010,icmp/echo\nPROTECT tcp/8000-8010,icmp/echo\n";
            let alone = Alone::start_with(lab, access, &["--backend", backend])?;
            let ports = [8_000, 8_005, 8_010];
            let services: Vec<_> = ports
                .iter()
                .map(|port| alone.host.serve_tcp(*port))
                .collect();
            for port in ports {
                sees(&alone.user, &alone.host, port, Reach::Silent)?;
            }
            ensure!(!pings(&alone.user, &alone.host)?);

            says(&alone, "alice", &["knock", "-A", "tcp/8000-8008,icmp/echo"])?;

            sees(&alone.user, &alone.host, 8_000, Reach::Open)?;
            sees(&alone.user, &alone.host, 8_005, Reach::Open)?;
            ensure!(pings(&alone.user, &alone.host)?);
            // It is hidden, and was not asked for.
            sees(&alone.user, &alone.host, 8_010, Reach::Silent)?;
            sees(&alone.stranger, &alone.host, 8_005, Reach::Silent)?;
            ensure!(!pings(&alone.stranger, &alone.host)?);
            ensure!(services.len() == ports.len());
            // One port more than the stanza has opens none of them.
            says(&alone, "alice", &["knock", "-A", "tcp/7999-8010"])?;
            wait::until("the refusal", PATIENCE, || {
                Ok(alone
                    .agent
                    .log()
                    .contains("tcp/7999-8010 is not in OPEN_PORTS"))
            })?;
            sees(&alone.user, &alone.host, 8_010, Reach::Silent)
        });
    }
}

#[test]
fn a_prefix_opens_for_the_network_around_the_address_and_for_no_more() {
    for backend in BACKENDS {
        in_lab(|lab| {
            let access = format!("{STANZA}OPEN_PREFIX 26\n");
            let alone = Alone::start_with(lab, &access, &["--backend", backend])?;
            let neighbour = lab.node("neighbour", 30)?;

            says(&alone, "alice", &["knock", "-A", "tcp/22"])?;

            sees(&alone.user, &alone.host, 22, Reach::Open)?;
            sees(&neighbour, &alone.host, 22, Reach::Open)?;
            sees(&alone.stranger, &alone.host, 22, Reach::Silent)?;
            says(&alone, "alice", &["close"])?;
            sees(&neighbour, &alone.host, 22, Reach::Silent)
        });
    }
}

#[test]
fn the_source_of_the_packet_is_let_in_beside_the_address_that_it_names() {
    for backend in BACKENDS {
        in_lab(|lab| {
            let access = format!("{STANZA}OPEN_PACKET_SOURCE Y\n");
            let alone = Alone::start_with(lab, &access, &["--backend", backend])?;
            let named = lab.node("named", 30)?;

            let address = named.v4.to_string();
            let words = ["knock", "-A", "tcp/22", "-a", &address];
            command(&alone, "alice", &words)?.ok()?;

            sees(&named, &alone.host, 22, Reach::Open)?;
            sees(&alone.user, &alone.host, 22, Reach::Open)?;
            sees(&alone.stranger, &alone.host, 22, Reach::Silent)
        });
    }
}

#[test]
fn a_user_closes_early_what_she_opened_and_nothing_of_others_and_sessions_end_only_if_she_says_so()
{
    for backend in BACKENDS {
        in_lab(|lab| {
            let alone = Alone::start_with(lab, STANZA, &["--backend", backend])?;
            says(&alone, "alice", &["knock", "-A", "tcp/22"])?;
            sees(&alone.user, &alone.host, 22, Reach::Open)?;
            let address = alone.stranger.v4.to_string();
            let words = ["knock", "-A", "tcp/22", "-a", &address];
            command(&alone, "bob", &words)?.ok()?;
            sees(&alone.stranger, &alone.host, 22, Reach::Open)?;
            let mut session = alone.user.session(alone.host.v4, 22)?;
            session.talk()?;
            let mut others = alone.stranger.session(alone.host.v4, 22)?;
            others.talk()?;

            // Somebody else's request closes nothing.
            says(&alone, "mallory", &["close", "--sessions"])?;
            sees(&alone.user, &alone.host, 22, Reach::Open)?;
            says(&alone, "alice", &["close", "-A", "tcp/22", "--wait", "5"])?;

            sees(&alone.user, &alone.host, 22, Reach::Silent)?;
            sees(&alone.stranger, &alone.host, 22, Reach::Open)?;
            session.talk()?;
            says(&alone, "alice", &["close", "--sessions"])?;
            // She is not told when it has arrived.
            let moment = Duration::from_millis(200);
            wait::until("the session's end", PATIENCE, || session.is_dead(moment))?;
            others.talk()?;
            let log = alone.agent.log();
            ensure!(log.contains("closed by the user"), "{log}");
            Ok(())
        });
    }
}

#[test]
fn asking_again_keeps_the_one_grant_open_until_the_later_end() {
    for backend in BACKENDS {
        in_lab(|lab| {
            let alone = Alone::start_with(lab, STANZA, &["--backend", backend])?;
            says(&alone, "alice", &["knock", "-A", "tcp/22", "-f", "4"])?;
            sees(&alone.user, &alone.host, 22, Reach::Open)?;
            let opened = wait::now();

            says(&alone, "alice", &["knock", "-A", "tcp/22", "-f", "8"])?;
            wait::until("the refresh", PATIENCE, || {
                Ok(alone.agent.log().contains("grant refreshed"))
            })?;
            wait::until("the first end", Duration::from_secs(6), || {
                Ok(opened.elapsed() > Duration::from_secs(5))
            })?;

            sees(&alone.user, &alone.host, 22, Reach::Open)?;
            says(&alone, "alice", &["close", "-A", "tcp/22", "--wait", "5"])?;
            sees(&alone.user, &alone.host, 22, Reach::Silent)
        });
    }
}

#[test]
fn fwknopd_refuses_ranges_echo_and_requests_to_close_and_misreads_none_of_them() {
    in_lab(|lab| {
        let (host, user) = (lab.node("host", 10)?, lab.node("user", 20)?);
        let access = format!("SOURCE ANY\nKEY {KEY}\nHMAC_KEY suite-hmac-passphrase\n");
        let server = Fwknopd::start(&host, &access, "")?;
        let before = host.rules()?;

        for words in [
            &["knock", "-A", "tcp/8000-8010"][..],
            &["knock", "-A", "icmp/echo"],
            &["knock", "-A", "tcp/22,icmp/echo"],
            &["knock", "-A", "udp/53,tcp/22-23"],
            &["close"],
            &["close", "-A", "tcp/22"],
            &["close", "--sessions", "-A", "tcp/22"],
        ] {
            run(&user, &host, "alice", words)?.ok()?;
        }
        // What comes behind them is judged after them.
        let words = ["knock", "-A", "tcp/23"];
        run(&user, &host, "alice", &words)?.ok()?;
        wait::until("fwknopd to open tcp/23", wait::SOON, || {
            Ok(host
                .rules()?
                .iter()
                .any(|rule| rule.contains("--dport 23 ")))
        })?;

        let rules = host.rules()?;
        let opened: Vec<&String> = rules
            .iter()
            .filter(|rule| rule.contains("--dport"))
            .collect();
        ensure!(opened.len() == 1, "{opened:?}");
        ensure!(before.len() < rules.len());
        server.stop()
    });
}

/// The user's machine asks for its own address, and waits until that is judged.
fn says(alone: &Alone, user: &str, words: &[&str]) -> Result<()> {
    command(alone, user, words)?.ok()?;
    Ok(())
}

fn command(alone: &Alone, user: &str, words: &[&str]) -> Result<Ran> {
    run(&alone.user, &alone.host, user, words)
}

fn run(from: &Node, host: &Node, user: &str, words: &[&str]) -> Result<Ran> {
    let (to, own) = (host.v4.to_string(), from.v4.to_string());
    let mut all: Vec<&str> = words.to_vec();
    all.insert(1, &to);
    all.extend(["-U", user]);
    all.extend(KEYS);
    if !words.contains(&"-a") {
        all.extend(["-a", &own]);
    }
    Member::stranger(from, "nobody").run(&all)
}

/// Insists on how a port looks once everything has been done.
fn sees(from: &Node, host: &Node, port: u16, wanted: Reach) -> Result<()> {
    let mut last = None;
    let waited = wait::until("the port to look as it should", PATIENCE, || {
        last = Some(from.reach(host.v4, port)?);
        Ok(last == Some(wanted))
    });
    let seen = |error: anyhow::Error| error.context(format!("port {port} looks {last:?}"));
    waited.map_err(seen)?;
    Ok(())
}

/// Whether an echo request is answered: RFC 792, with its checksum.
fn pings(from: &Node, host: &Node) -> Result<bool> {
    const REQUEST: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    let icmp = Some(SockProtocol::Icmp);
    from.within(|| {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            icmp,
        )?;
        // To the standard library a socket is a socket; nothing here asks for a port.
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.connect((host.v4, 0))?;
        socket.send(&REQUEST)?;
        let mut answer = [0; 64];
        Ok(socket.recv(&mut answer).is_ok())
    })
}
