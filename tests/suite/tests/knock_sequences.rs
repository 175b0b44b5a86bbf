//! A stanza that takes knock sequences, and a client that knocks at ports instead of sending a packet.

use anyhow::ensure;
use harness::postern::Member;
use harness::{Result, in_lab};
use suite::{Alone, STANZA, same};

const KEYS: [&str; 4] = [
    "--key-rijndael",
    "suite-passphrase",
    "--key-hmac",
    "suite-hmac-passphrase",
];

#[test]
fn a_sequence_of_knocks_opens_over_udp_and_tcp_and_both_families_where_the_stanza_says_so() {
    in_lab(|lab| {
        let mut alone = Alone::start(lab, &format!("{STANZA}KNOCK_SEQUENCE Y\n"))?;
        let person = Member::stranger(&alone.user, "nobody");
        let (host, user) = (&alone.host, &alone.user);
        let own = |v6: bool| {
            if v6 {
                user.v6.to_string()
            } else {
                user.v4.to_string()
            }
        };

        for (way, v6) in [("--sequence", false), ("--sequence=tcp", true)] {
            let (to, from) = if v6 {
                (host.v6.to_string(), own(true))
            } else {
                (host.v4.to_string(), own(false))
            };
            let words = [&["-a", &from, way][..], &KEYS].concat();
            person.knock(&to, "tcp/22", &words)?;
            if v6 {
                alone.agent.opens(user.v6, "tcp:22")?;
            } else {
                alone.agent.opens(user.v4, "tcp:22")?;
            }
        }
        same("holes", &alone.holes()?.len(), &2)?;

        // Bound to another address, it is nothing from this one.
        let to = host.v4.to_string();
        let words = [&["-a", "203.0.113.7", "--sequence"][..], &KEYS].concat();
        person.knock(&to, "tcp/22", &words)?;
        let shown = [&["-a", "203.0.113.7", "--sequence", "--dry-run"][..], &KEYS].concat();
        let shown = person.knock(&to, "tcp/22", &shown)?;
        same("ports", &shown.stdout.split_whitespace().count(), &17)?;
        alone.wait_until_judged()?;
        same("holes", &alone.holes()?.len(), &2)?;

        // Where it does not say so, nothing is looked at.
        alone.agent.write_access(&Alone::access(STANZA))?;
        alone.agent.reload(|| Ok(()))?;
        let held = alone.holes()?.len();
        let words = [&["-s", "--sequence"][..], &KEYS].concat();
        person.knock(&to, "tcp/22", &words)?;
        alone.wait_until_judged()?;
        same("holes", &alone.holes()?.len(), &held)
    });
}

#[test]
fn what_has_no_room_in_a_sequence_is_refused_by_the_client() {
    in_lab(|lab| {
        let person = Member::stranger(&lab.node("user", 20)?, "nobody");
        for (more, said) in [
            (&["-A", "tcp/22,tcp/80"][..], "room for one port"),
            (&["-A", "tcp/22", "-f", "60"], "no room for a time"),
            (&["-C", "id"], "opens a port and can say nothing else"),
        ] {
            let words = [
                &["knock", "192.0.2.10", "-s", "--sequence"][..],
                more,
                &KEYS,
            ]
            .concat();
            let refused = person.run(&words)?;
            ensure!(refused.code == 2, "{}", refused.text());
            ensure!(refused.text().contains(said), "{}", refused.text());
        }
        let words = [
            "knock",
            "192.0.2.10",
            "-s",
            "-A",
            "tcp/22",
            "--sequence",
            "--key-rijndael",
            "k",
        ];
        let refused: Result<_> = person.run(&words);
        let refused = refused?;
        ensure!(
            refused.text().contains("needs an HMAC key"),
            "{}",
            refused.text()
        );
        Ok(())
    });
}
