//! Two thousand holes at once, seen from outside: all open, and all closed when their time is over.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::ensure;
use harness::fwknop::fwknop;
use harness::postern::Agent;
use harness::{Result, in_lab, wait};

use crate::bans::OPEN_HOST;
use crate::place::{BOTH, BackEnd, Place, both};

/// Ports that nobody listens on: an open one is refused by the kernel, a hidden one is silent.
const FIRST: u16 = 10_000;
const COUNT: u16 = 2_000;
/// So many fit into one message of the stock client.
const A_KNOCK: u16 = 14;
const HOLE_SECS: u64 = 6;

#[test]
fn two_thousand_holes_open_at_once_and_all_are_closed_when_their_time_is_over() {
    std::thread::scope(|scope| {
        for back_end in BOTH {
            scope.spawn(|| in_lab(|lab| many(&Place::new(lab, &OPEN_HOST)?, *back_end)));
        }
    });
}

fn many(place: &Place, back_end: BackEnd) -> Result<()> {
    let access = format!(
        "PROTECT tcp/{FIRST}-{}\n\nSOURCE ANY\nKEY many\nHMAC_KEY many-hmac\n\
         FW_ACCESS_TIMEOUT {HOLE_SECS}\n",
        FIRST + COUNT - 1
    );
    let more = ["--backend", back_end.name()];
    let _agent = Agent::alone_with(&place.host, &access, &more)?;
    let ports: Vec<u16> = (FIRST..FIRST + COUNT).collect();
    let some: Vec<u16> = ports.iter().copied().step_by(20).collect();
    ensure!(open(place, &some)?.is_empty(), "open before");

    let begun = wait::now();
    // Several at a time: a client takes some milliseconds to start.
    let (early, late) = ports.split_at(ports.len() / 2);
    for knocked in both([early, late].map(|some| move || knock(place, some))) {
        knocked?;
    }
    let knocked = wait::now();
    let mut left = ports.clone();
    wait::until("all to be open", Duration::from_secs(3), || {
        let open = open(place, &left)?;
        left.retain(|port| !open.contains(port));
        Ok(left.is_empty())
    })?;
    ensure!(
        begun.elapsed() < Duration::from_secs(HOLE_SECS),
        "too slow to be looked at: {:?}",
        begun.elapsed()
    );
    // The last was opened some moments after it was asked for.
    let over = knocked + Duration::from_secs(HOLE_SECS) + Duration::from_millis(100);
    wait::until_instant(over);
    let left = open(place, &some)?;
    ensure!(left.is_empty(), "{left:?} are open after their time");
    Ok(())
}

fn knock(place: &Place, ports: &[u16]) -> Result<()> {
    let own = place.user.v4.to_string();
    for some in ports.chunks(A_KNOCK.into()) {
        let asked: Vec<String> = some.iter().map(|port| format!("tcp/{port}")).collect();
        let asked = asked.join(",");
        let words = ["-A", &asked, "-a", &own, "--key-rijndael", "many"];
        let words = [&words[..], &["--key-hmac", "many-hmac"]].concat();
        fwknop(&place.user, place.host.v4, &words)?;
    }
    Ok(())
}

/// Which of these ports are open to the user.
fn open(place: &Place, ports: &[u16]) -> Result<BTreeSet<u16>> {
    place.user.within(|| {
        let is_refused = |port: &&u16| {
            let address = SocketAddr::new(place.host.v4.into(), **port);
            let seen = TcpStream::connect_timeout(&address, Duration::from_millis(5));
            seen.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        Ok(ports.iter().filter(is_refused).copied().collect())
    })
}
