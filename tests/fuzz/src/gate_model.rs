//! The gate against a small model of it: policies, packets, clocks and policy changes, made of bytes.
//!
//! The model knows nothing of wire forms, tags, budgets or shortcuts. It sees which message was
//! sealed with whose key, and keeps the invariants of docs/decisions.md in the plainest way.

use std::collections::BTreeSet;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use gate::{Budget, Check, Datagram, Decision, Settings, Transport};
use policy::Permitted;
use spa::{
    Allow, DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, Message, MessageType, Request,
    Secret,
};

use crate::scene::{NOW_SECS, Scene};

/// Steps that one input may take: more only repeat themselves.
const STEPS_MAX: usize = 24;

const USERS: [&str; 3] = ["ann", "ben", "cy"];
const PORTS: [&str; 3] = ["tcp/22", "tcp/443", "udp/53"];

/// One line of a policy, as the model sees it.
#[derive(Clone, Debug)]
struct Rule {
    user: usize,
    with_hmac: bool,
    open_ports: Vec<usize>,
    username: Option<usize>,
    timeout_secs: u32,
    timeout_max_secs: u32,
    address_required: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Knock(Knock),
    /// Sends again what was sent before, to the letter or in another form.
    Again(usize, Option<Form>),
    Wait(u64),
    Adopt(Vec<Rule>),
    Junk(Vec<u8>),
}

/// How one packet is made.
#[derive(Clone, Debug)]
struct Knock {
    number: u64,
    user: usize,
    form: Form,
    ports: Vec<usize>,
    username: usize,
    name_address: bool,
    offset_secs: i64,
    timeout_secs: u32,
    /// Which character of the text is changed on the way, if any.
    damage: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Fwknop,
    Tagged,
    WithoutHmac,
}

/// The model: what must come out.
#[derive(Debug)]
struct Model {
    rules: Vec<Rule>,
    seen: BTreeSet<u64>,
    now_secs: u64,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Granted {
        stanza: usize,
        ports: BTreeSet<&'static str>,
        timeout_secs: u32,
        own_source: bool,
    },
    Refused(Refused),
}

#[derive(Debug, PartialEq)]
enum Refused {
    /// Parse, match or authenticate.
    Stranger,
    By(Check),
}

// === impl Model ===

impl Model {
    fn judge(&mut self, knock: &Knock, sent_at_secs: u64) -> Outcome {
        let own: Vec<_> = (1..)
            .zip(&self.rules)
            .filter(|(_, rule)| {
                rule.user == knock.user && rule.with_hmac == (knock.form != Form::WithoutHmac)
            })
            .collect();
        if own.is_empty() || knock.damage.is_some() {
            return Outcome::Refused(Refused::Stranger);
        }
        let timestamp = sent_at_secs.strict_add_signed(knock.offset_secs);
        if self.now_secs.abs_diff(timestamp) > 120 {
            return Outcome::Refused(Refused::By(Check::Fresh));
        }
        if !self.seen.insert(knock.number) {
            return Outcome::Refused(Refused::By(Check::Replay));
        }
        own.into_iter()
            .find_map(|(stanza, rule)| permit(stanza, rule, knock))
            .unwrap_or(Outcome::Refused(Refused::By(Check::Authorize)))
    }
}

fn permit(stanza: usize, rule: &Rule, knock: &Knock) -> Option<Outcome> {
    let asked = if knock.timeout_secs > 0 {
        knock.timeout_secs
    } else {
        rule.timeout_secs
    };
    let permitted = knock
        .ports
        .iter()
        .all(|port| rule.open_ports.contains(port))
        && rule
            .username
            .is_none_or(|username| username == knock.username)
        && (knock.name_address || !rule.address_required);
    permitted.then(|| Outcome::Granted {
        stanza,
        ports: knock.ports.iter().map(|&port| PORTS[port]).collect(),
        timeout_secs: asked.min(rule.timeout_max_secs),
        own_source: !knock.name_address,
    })
}

/// Plays what the bytes say, until they end.
pub(crate) fn check(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    // What ends too early has been played as far as it went.
    let _ = play(&mut u);
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    let settings = Settings {
        budget: Budget::UNLIMITED,
        thorough: true,
        duplicate_within: Duration::ZERO,
        ..Settings::default()
    };
    let first = rules(u)?;
    let mut scene = Scene::new(&access_conf(&first), settings);
    let mut model = Model {
        rules: first,
        seen: BTreeSet::new(),
        now_secs: NOW_SECS,
    };
    let mut sent: Vec<(Knock, u64)> = Vec::new();
    for _ in 0..STEPS_MAX {
        let (knock, sent_at_secs) = match step(u)? {
            Step::Wait(secs) => {
                scene.later(secs);
                model.now_secs += secs;
                continue;
            }
            Step::Adopt(rules) => {
                scene.adopt(&access_conf(&rules));
                model.rules = rules;
                continue;
            }
            Step::Junk(payload) => {
                let decision = send(&mut scene, &payload);
                assert_eq!(outcome(&decision), Outcome::Refused(Refused::Stranger));
                continue;
            }
            Step::Again(which, form) => match sent.get(which % sent.len().max(1)) {
                Some((knock, sent_at_secs)) => {
                    let form = form.unwrap_or(knock.form);
                    (
                        Knock {
                            form,
                            ..knock.clone()
                        },
                        *sent_at_secs,
                    )
                }
                None => continue,
            },
            Step::Knock(knock) => {
                let number = sent.len() as u64;
                let knock = Knock { number, ..knock };
                sent.push((knock.clone(), model.now_secs));
                (knock, model.now_secs)
            }
        };
        let packet = packet(&knock, sent_at_secs);
        let expected = model.judge(&knock, sent_at_secs);
        let decision = send(&mut scene, packet.as_bytes());
        assert_eq!(outcome(&decision), expected, "{knock:?} {decision:?}");
    }
    Ok(())
}

fn send(scene: &mut Scene, payload: &[u8]) -> Decision {
    let datagram = Datagram {
        source: [198, 51, 100, 10].into(),
        destination: [198, 51, 100, 1].into(),
        source_port: 40_000,
        destination_port: 62_201,
        transport: Transport::Udp,
        payload,
    };
    scene.gate.admit(&datagram, scene.now, &mut scene.replays)
}

fn outcome(decision: &Decision) -> Outcome {
    match decision {
        Decision::Grant(grant) => Outcome::Granted {
            stanza: usize::try_from(grant.permit().stanza()).expect("the number of a stanza"),
            ports: match &grant.permit().what() {
                Permitted::Ports(ports) => PORTS
                    .into_iter()
                    .filter(|port| ports.contains(&port.parse().expect("as written above")))
                    .collect(),
                Permitted::Close { .. }
                | Permitted::Cycle(_)
                | Permitted::Command { .. }
                | Permitted::Forward(_) => BTreeSet::new(),
            },
            timeout_secs: grant.permit().timeout_secs(),
            own_source: grant.permit().address() == grant.identity().source(),
        },
        Decision::Claim(_) => panic!("nothing is shared here"),
        Decision::Duplicate => panic!("whatever is sent here is a packet of its own"),
        Decision::Refused(refusal) => Outcome::Refused(match refusal.check {
            Check::Parse | Check::Match | Check::Authenticate => Refused::Stranger,
            check @ (Check::Fresh | Check::Replay | Check::Authorize | Check::Claim) => {
                Refused::By(check)
            }
        }),
    }
}

fn packet(knock: &Knock, now_secs: u64) -> String {
    let user = USERS[knock.user];
    let asked = asked(knock, now_secs);
    let keys = keys(user, knock.form != Form::WithoutHmac);
    let salt = *asked.random.last_chunk().expect("sixteen digits");
    let sealed = match knock.form {
        Form::Fwknop | Form::WithoutHmac => spa::seal(&asked, &keys, salt),
        Form::Tagged => spa::seal_tagged(&asked, &keys, salt),
    };
    let mut text = sealed.expect("a message of ours");
    if let Some(damage) = knock.damage {
        let place = damage % text.len();
        let other = if text.as_bytes()[place] == b'A' {
            "B"
        } else {
            "A"
        };
        text.replace_range(place..=place, other);
    }
    text
}

fn asked(knock: &Knock, now_secs: u64) -> Message {
    let mut asked = message(knock.number, now_secs.strict_add_signed(knock.offset_secs));
    asked.username = USERS[knock.username].to_owned();
    asked.client_timeout_secs = knock.timeout_secs;
    asked.message_type = asked.message_type.with_timeout(knock.timeout_secs > 0);
    asked.request = Request::Access {
        allow: if knock.name_address {
            Allow::Address("10.1.2.3".parse().expect("as written above"))
        } else {
            Allow::Source
        },
        ports: knock
            .ports
            .iter()
            .map(|&port| PORTS[port].parse().expect("as written above"))
            .collect(),
    };
    asked
}

fn access_conf(rules: &[Rule]) -> String {
    rules.iter().map(stanza_of).collect()
}

fn stanza_of(rule: &Rule) -> String {
    let user = USERS[rule.user];
    let ports: Vec<_> = rule.open_ports.iter().map(|&port| PORTS[port]).collect();
    let mut text = format!(
        "SOURCE ANY\nKEY {user}-key\nOPEN_PORTS {}\nFW_ACCESS_TIMEOUT {}\nMAX_FW_TIMEOUT {}\n",
        ports.join(","),
        rule.timeout_secs,
        rule.timeout_max_secs,
    );
    if rule.with_hmac {
        text += &format!("HMAC_KEY {user}-hmac\n");
    }
    if let Some(username) = rule.username {
        text += &format!("REQUIRE_USERNAME {}\n", USERS[username]);
    }
    if rule.address_required {
        text += "REQUIRE_SOURCE_ADDRESS Y\n";
    }
    text
}

/// The keys of a user.
fn keys(user: &str, with_hmac: bool) -> Keys {
    let hmac = with_hmac.then(|| {
        let key = HmacKey::new(Secret::from_passphrase(format!("{user}-hmac")));
        (key.expect("a passphrase is a key"), DigestType::Sha256)
    });
    let key = EncryptionKey::new(Secret::from_passphrase(format!("{user}-key")));
    let keys = Keys::new(
        key.expect("a passphrase is a key"),
        EncryptionMode::Cbc,
        hmac,
    );
    keys.expect("this mode goes with and without")
}

/// A message like no other: `number` makes the random field.
fn message(number: u64, timestamp_secs: u64) -> Message {
    let random = format!("{number:016}").into_bytes();
    Message {
        random: random.try_into().expect("sixteen digits"),
        username: String::new(),
        timestamp_secs,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::Access,
        request: Request::Access {
            allow: Allow::Source,
            ports: Vec::new(),
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}

fn rules(u: &mut Unstructured<'_>) -> Result<Vec<Rule>> {
    (0..u.int_in_range(0..=5)?).map(|_| rule(u)).collect()
}

fn rule(u: &mut Unstructured<'_>) -> Result<Rule> {
    Ok(Rule {
        user: u.choose_index(USERS.len())?,
        with_hmac: u.ratio(4, 5)?,
        open_ports: ports(u)?,
        username: if u.ratio(3, 10)? {
            Some(u.choose_index(USERS.len())?)
        } else {
            None
        },
        timeout_secs: u.int_in_range(1..=99)?,
        timeout_max_secs: u.int_in_range(1..=99)?,
        address_required: u.ratio(1, 5)?,
    })
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match u.int_in_range(0..=15)? {
        0..=7 => Step::Knock(knock(u)?),
        8..=11 => {
            let which = u.arbitrary()?;
            let form = if u.arbitrary()? { Some(form(u)?) } else { None };
            Step::Again(which, form)
        }
        12..=13 => Step::Wait(u.int_in_range(0..=199)?),
        14 => Step::Adopt(rules(u)?),
        _ => Step::Junk(u.arbitrary()?),
    })
}

fn knock(u: &mut Unstructured<'_>) -> Result<Knock> {
    Ok(Knock {
        // Given when it is sent.
        number: 0,
        user: u.choose_index(USERS.len())?,
        form: form(u)?,
        ports: ports(u)?,
        username: u.choose_index(USERS.len())?,
        name_address: u.arbitrary()?,
        offset_secs: if u.ratio(2, 7)? {
            u.int_in_range(-130..=129)?
        } else {
            0
        },
        timeout_secs: if u.arbitrary()? {
            u.int_in_range(1..=99)?
        } else {
            0
        },
        damage: if u.ratio(1, 10)? {
            Some(u.arbitrary()?)
        } else {
            None
        },
    })
}

/// One, two or three of them, in order.
fn ports(u: &mut Unstructured<'_>) -> Result<Vec<usize>> {
    let which: usize = u.int_in_range(1..=7)?;
    Ok((0..PORTS.len())
        .filter(|port| which >> port & 1 == 1)
        .collect())
}

fn form(u: &mut Unstructured<'_>) -> Result<Form> {
    Ok(*u.choose(&[Form::Fwknop, Form::Tagged, Form::WithoutHmac])?)
}
