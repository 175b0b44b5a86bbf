//! Modes, GPG being one, × HMAC × digests × message types × transports, with both clients at both servers:
//! whatever one pairing opens, all open.
//!
//! `make test` walks through the product so that every value meets every other kind of value; `make
//! soak` (`POSTERN_SOAK_PRODUCT=1`) walks through all of it, which takes an hour; `POSTERN_SOAK_PRODUCT=3/40` is
//! the third of forty parts.

use std::collections::BTreeMap;
use std::env;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use harness::fwknop::{Fwknopd, fwknop};
use harness::postern::{Agent, Member};
use harness::service::TcpService;
use harness::{Lab, Node, Result, in_lab, wait};
use vectors::gnupg::{GnuPg, RSA};

/// In the last, OpenPGP seals what the others seal with AES.
const MODES: [&str; 7] = ["CBC", "CTR", "CFB", "OFB", "ECB", "legacy", GPG];
const GPG: &str = "gpg";
const DIGESTS: [&str; 7] = [
    "md5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "sha3_512",
];
/// A command, access, NAT access, the same with a timeout, and local NAT access with and without.
const TYPES: [u8; 7] = [0, 1, 2, 3, 4, 5, 6];
/// What both clients send by; the last three past the kernel's sockets.
const TRANSPORTS: [&str; 6] = ["udp", "tcp", "http", "udpraw", "tcpraw", "icmp"];
/// So many knocks may wait to be judged.
const AT_ONCE: usize = 12;
/// fwknopd runs a dozen programs for a knock that it leads on, which takes a busy machine a second.
const WITHIN: Duration = Duration::from_secs(40);
/// So many knocks are sent in one place: fwknopd lists all its rules for each.
const A_PLACE: usize = 700;

/// One stanza.
#[derive(Clone, Copy, Debug)]
struct Kind {
    mode: &'static str,
    hmac: Option<&'static str>,
}

/// One knock.
#[derive(Clone, Copy, Debug)]
struct Knock {
    kind: Kind,
    digest: &'static str,
    message_type: u8,
    transport: &'static str,
    is_ours: bool,
}

/// The GnuPG homes of both servers and of the user.
struct Homes {
    servers: GnuPg,
    user: GnuPg,
    /// The fingerprint of her key.
    signer: String,
}

/// Both servers, and a user with both clients.
struct Place<'h> {
    homes: &'h Homes,
    ours: Node,
    theirs: Node,
    user: Member,
    dir: PathBuf,
    agent: Agent,
    fwknopd: Fwknopd,
    _listeners: [TcpService; 2],
}

#[test]
fn the_cross_product_opens_the_same_on_both_sides() {
    let knocks = match env::var("POSTERN_SOAK_PRODUCT") {
        Ok(which) => part(all(), &which),
        Err(_) => some(),
    };
    let homes = Homes::new();
    for part in knocks.chunks(A_PLACE) {
        in_lab(|lab| everything_opens(&Place::new(lab, &homes)?, part));
    }
}

/// The part of this name: `3/40`, or everything.
fn part(all: Vec<Knock>, name: &str) -> Vec<Knock> {
    let number = |text: &str| text.parse::<usize>().ok();
    let parts = name.split_once('/');
    let Some((at, of)) = parts.and_then(|(at, of)| Some((number(at)?, number(of)?))) else {
        return all;
    };
    let len = all.len().div_ceil(of.max(1));
    all.into_iter()
        .skip(at.saturating_sub(1) * len)
        .take(len)
        .collect()
}

fn everything_opens(place: &Place<'_>, knocks: &[Knock]) -> Result<()> {
    let mut wrong = Vec::new();
    for (part, knocks) in (0_u32..).zip(knocks.chunks(AT_ONCE)) {
        let first = part * u32::try_from(AT_ONCE)?;
        let numbered: BTreeMap<u32, &Knock> = (first..).zip(knocks).collect();
        for (number, knock) in &numbered {
            place.send(knock, *number)?;
        }
        let mut missing = place.not_opened(&numbered)?;
        // A datagram may be lost on a busy machine; what is wrong is wrong twice.
        for (server, number, knock) in &missing {
            place.send_to(server, knock, *number)?;
        }
        if !missing.is_empty() {
            missing = place.not_opened(&numbered)?;
        }
        let shown = |(server, number, knock): &(&Node, u32, &Knock)| {
            format!("{}: {number} {knock:?}", server.v4)
        };
        wrong.extend(missing.iter().map(shown));
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} did not open: {wrong:#?}\n{}\n{}",
        wrong.len(),
        2 * knocks.len(),
        place.agent.log(),
        place.fwknopd.log()
    );
    Ok(())
}

/// All kinds of keys.
fn kinds() -> Vec<Kind> {
    let hmacs = || DIGESTS.into_iter().map(Some).chain([None]);
    let of = |mode| hmacs().map(move |hmac| Kind { mode, hmac });
    // fwknop's client seals no HMAC in legacy mode, and such a stanza is a mistake here.
    let all = MODES.into_iter().flat_map(of);
    all.filter(|kind| kind.mode != "legacy" || kind.hmac.is_none())
        .collect()
}

/// Every kind of keys with both clients, and the other values in turns that do not run together.
fn some() -> Vec<Knock> {
    let mut knocks = Vec::new();
    for is_ours in [false, true] {
        let digests = DIGESTS.iter().cycle();
        let types = TYPES.iter().cycle().skip(usize::from(is_ours));
        // Each round begins one further, so that all pairs come.
        let round = |first: usize| TRANSPORTS.iter().cycle().skip(first).take(TRANSPORTS.len());
        let rounds = (0..).flat_map(round);
        for (((kind, digest), message_type), transport) in
            kinds().into_iter().zip(digests).zip(types).zip(rounds)
        {
            knocks.push(Knock {
                kind,
                digest,
                message_type: *message_type,
                transport,
                is_ours,
            });
        }
    }
    knocks
}

fn all() -> Vec<Knock> {
    let mut knocks = Vec::new();
    for is_ours in [false, true] {
        for transport in TRANSPORTS {
            for kind in kinds() {
                for digest in DIGESTS {
                    knocks.extend(TYPES.map(|message_type| Knock {
                        kind,
                        digest,
                        message_type,
                        transport,
                        is_ours,
                    }));
                }
            }
        }
    }
    knocks
}

/// The keys of a kind, by its place among all.
fn secrets(kind: &Kind) -> (String, String) {
    let hmac = kind.hmac.unwrap_or("none");
    (
        format!("key-{}-{hmac}", kind.mode),
        format!("hmac-{}-{hmac}", kind.mode),
    )
}

fn access(homes: &Homes) -> String {
    let mut access = String::new();
    for kind in kinds() {
        let (key, hmac_key) = secrets(&kind);
        let opens = match kind.mode {
            GPG => format!(
                "GPG_HOME_DIR {}\nGPG_DECRYPT_ID server@example\nGPG_ALLOW_NO_PW Y\n\
                 GPG_REQUIRE_SIG Y\nGPG_FINGERPRINT_ID {}\n",
                homes.servers.home(),
                homes.signer
            ),
            mode => format!("KEY {key}\nENCRYPTION_MODE {mode}\n"),
        };
        access.push_str(&format!(
            "SOURCE ANY\n{opens}ENABLE_CMD_EXEC Y\nFW_ACCESS_TIMEOUT 3600\nMAX_FW_TIMEOUT 3600\n"
        ));
        if let Some(hmac) = kind.hmac {
            access.push_str(&format!("HMAC_KEY {hmac_key}\nHMAC_DIGEST_TYPE {hmac}\n"));
        }
    }
    access
}

/// The address that this knock opens for.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number + 1)
}

// === impl Homes ===

impl Homes {
    fn new() -> Self {
        let (servers, user) = (GnuPg::new(), GnuPg::new());
        servers.key("server", RSA, "");
        let signer = user.key("alice", RSA, "");
        servers.learn(&user);
        user.learn(&servers);
        // fwknopd asks GnuPG how far it trusts the signer.
        servers.trust(&signer);
        Self {
            servers,
            user,
            signer,
        }
    }

    /// What seals for the servers as the user.
    fn words(&self) -> [String; 7] {
        [
            "--gpg-home-dir",
            &self.user.home(),
            "--gpg-recipient-key",
            "server@example",
            "--gpg-signer-key",
            &self.signer,
            "--gpg-no-signing-pw",
        ]
        .map(str::to_owned)
    }
}

// === impl Place ===

impl<'h> Place<'h> {
    fn new(lab: &Lab, homes: &'h Homes) -> Result<Self> {
        let (ours, theirs) = (lab.node("ours", 10)?, lab.node("theirs", 11)?);
        for node in [&ours, &theirs] {
            node.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"])?
                .ok()?;
        }
        // Something must accept what comes over TCP.
        let listeners = [ours.serve_tcp(62_201)?, theirs.serve_tcp(62_201)?];
        let conf = "PCAP_FILTER port 62201 or icmp;\nENABLE_SPA_OVER_HTTP Y;\n\
                    ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_LOCAL_NAT Y;\n";
        let words = [
            "--backend",
            "nftables",
            "--nat-forward",
            "yes",
            "--nat-local",
            "yes",
            "--spa-over-http",
            "--filter",
            "port 62201 or icmp",
        ];
        let agent = Agent::alone_with(&ours, &access(homes), &words)?;
        let fwknopd = Fwknopd::start(&theirs, &access(homes), conf)?;
        let user = Member::stranger(&lab.node("user", 20)?, "nobody");
        // In its first second a host that knows no past trusts no packet.
        wait::until_next_second();
        wait::until_next_second();
        Ok(Self {
            dir: user.node.dir.clone(),
            homes,
            agent,
            fwknopd,
            user,
            ours,
            theirs,
            _listeners: listeners,
        })
    }

    /// Sends one knock to both servers.
    fn send(&self, knock: &Knock, number: u32) -> Result<()> {
        for server in [&self.ours, &self.theirs] {
            self.send_to(server, knock, number)?;
        }
        Ok(())
    }

    fn send_to(&self, server: &Node, knock: &Knock, number: u32) -> Result<()> {
        let words = self.words(knock, number, server);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        if knock.is_ours {
            let to = server.v4.to_string();
            let head = ["knock", &to, "--no-rc-file", "--no-wait"];
            self.user.run(&[&head[..], &words].concat())?.ok()?;
            return Ok(());
        }
        fwknop(&self.user.node, server.v4, &words)?;
        Ok(())
    }

    fn words(&self, knock: &Knock, number: u32, server: &Node) -> Vec<String> {
        let (key, hmac_key) = secrets(&knock.kind);
        let allow = address(number).to_string();
        let mut words = vec!["-a", &allow, "-m", knock.digest, "-P", knock.transport];
        let signed = self.homes.words();
        match knock.kind.mode {
            GPG => words.extend(signed.iter().map(String::as_str)),
            mode => words.extend(["-M", mode, "--key-rijndael", &key]),
        }
        if let Some(hmac) = knock.kind.hmac {
            words.extend(["--key-hmac", &hmac_key, "--hmac-digest-type", hmac]);
        }
        let command = format!("/usr/bin/touch {}", self.trace(server, number).display());
        match knock.message_type {
            0 => words.extend(["-C", &command]),
            _ => words.extend(["-A", "tcp/22"]),
        }
        match knock.message_type {
            2 | 4 => words.extend(["-N", "192.0.2.30:22"]),
            5 | 6 => words.extend(["-N", "127.0.0.1", "--nat-local", "--nat-port", "40022"]),
            _ => {}
        }
        if matches!(knock.message_type, 3 | 4 | 6) {
            words.extend(["-f", "900"]);
        }
        words.into_iter().map(str::to_owned).collect()
    }

    /// What a command leaves behind.
    fn trace(&self, server: &Node, number: u32) -> PathBuf {
        self.dir.join(format!("{}-{number}", server.v4))
    }

    /// Waits for what must open, and tells what has not.
    fn not_opened<'k>(
        &self,
        knocks: &BTreeMap<u32, &'k Knock>,
    ) -> Result<Vec<(&Node, u32, &'k Knock)>> {
        let mut missing = Vec::new();
        for server in [&self.ours, &self.theirs] {
            let mut closed = Vec::new();
            let _ = wait::until("everything to open", WITHIN, || {
                let firewall = firewall(server)?;
                closed = knocks
                    .iter()
                    .filter(|(number, knock)| match knock.message_type {
                        0 => !self.trace(server, **number).exists(),
                        _ => !names(&firewall, address(**number)),
                    })
                    .map(|(number, knock)| (server, *number, *knock))
                    .collect();
                Ok(closed.is_empty())
            });
            missing.append(&mut closed);
        }
        Ok(missing)
    }
}

/// All that the kernel has, of whichever program.
fn firewall(node: &Node) -> Result<String> {
    Ok(node.run(&["nft", "list", "ruleset"])?.ok()?.stdout)
}

/// Whether a text names an address.
fn names(text: &str, address: Ipv4Addr) -> bool {
    let address = address.to_string();
    text.match_indices(&address).any(|(at, _)| {
        let next = text
            .get(at + address.len()..)
            .and_then(|rest| rest.chars().next());
        !next.is_some_and(|next| next.is_ascii_digit())
    })
}
