//! The gate against a small model of it: random policies, packets, clocks and policy changes.
//!
//! The model knows nothing of wire forms, tags, budgets or shortcuts. It sees which message was
//! sealed with whose key, and keeps the invariants of docs/decisions.md in the plainest way.

use std::collections::BTreeSet;

use gate::{Budget, Check, Decision, Settings};
use policy::Permitted;
use proptest::prelude::*;
use spa::{Allow, Message, Request};

use crate::support::{
    NOW_SECS, Scene, keys, keys_without_hmac, message, seal, seal_tagged, stanza,
};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_gate_does_what_the_model_does(
        rules in rules(),
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let settings = Settings { budget: Budget::UNLIMITED, thorough: true, ..Settings::default() };
        let mut scene = Scene::with(&access_conf(&rules), settings);
        let mut model = Model { rules, seen: BTreeSet::new(), now_secs: NOW_SECS };
        let mut sent: Vec<(Knock, u64)> = Vec::new();

        for step in steps {
            let (knock, sent_at_secs) = match step {
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
                    prop_assert_eq!(outcome(&scene.send(payload)), Outcome::Refused(Refused::Stranger));
                    continue;
                }
                Step::Again(which, form) => match sent.get(which % sent.len().max(1)) {
                    Some((knock, sent_at_secs)) => {
                        let form = form.unwrap_or(knock.form);
                        (Knock { form, ..knock.clone() }, *sent_at_secs)
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

            let decision = scene.send(&packet);

            prop_assert_eq!(outcome(&decision), expected, "{:?} {:?}", knock, decision);
        }
    }

    #[test]
    fn no_payload_panics_or_is_granted(payload in prop::collection::vec(any::<u8>(), 0..1600)) {
        let settings = Settings { spa_over_http: true, x_forwarded_for: true, ..Settings::default() };
        let mut scene = Scene::with(&(stanza("ann", "") + "SOURCE ANY\nKEY ben-key\n"), settings);

        prop_assert!(matches!(scene.send(&payload), Decision::Refused(_)));
        prop_assert!(matches!(scene.send([b"GET /", &payload[..]].concat()), Decision::Refused(_)));
    }

    #[test]
    fn any_changed_character_is_refused(
        place in any::<prop::sample::Index>(),
        character in "[A-Za-z0-9+/]",
        tagged in any::<bool>(),
    ) {
        let mut scene = Scene::new(&(stanza("ann", "") + "SOURCE ANY\nKEY ann-key\n"));
        let asked = message(1, NOW_SECS);
        let packet = if tagged { seal_tagged(&asked, &keys("ann")) } else { seal(&asked, &keys("ann")) };
        let place = place.index(packet.len());
        let changed = format!("{}{character}{}", &packet[..place], &packet[place + 1..]);
        prop_assume!(changed != packet);

        prop_assert!(matches!(scene.send(&changed), Decision::Refused(_)));
        prop_assert!(matches!(scene.send(&packet), Decision::Grant(_)));
    }
}

fn outcome(decision: &Decision) -> Outcome {
    match decision {
        Decision::Grant(grant) => Outcome::Granted {
            stanza: usize::try_from(grant.permit().stanza()).unwrap(),
            ports: match &grant.permit().what() {
                Permitted::Ports(ports) => PORTS
                    .into_iter()
                    .filter(|port| ports.contains(&port.parse().unwrap()))
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
    let mut text = match knock.form {
        Form::Fwknop => seal(&asked, &keys(user)),
        Form::Tagged => seal_tagged(&asked, &keys(user)),
        Form::WithoutHmac => seal(&asked, &keys_without_hmac(user)),
    };
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
            Allow::Address("10.1.2.3".parse().unwrap())
        } else {
            Allow::Source
        },
        ports: knock
            .ports
            .iter()
            .map(|&port| PORTS[port].parse().unwrap())
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

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(rule(), 0..6)
}

prop_compose! {
    fn rule()(
        user in 0..USERS.len(),
        with_hmac in prop::bool::weighted(0.8),
        open_ports in ports(),
        username in prop::option::weighted(0.3, 0..USERS.len()),
        timeout_secs in 1..100_u32,
        timeout_max_secs in 1..100_u32,
        address_required in prop::bool::weighted(0.2),
    ) -> Rule {
        Rule {
            user,
            with_hmac,
            open_ports,
            username,
            timeout_secs,
            timeout_max_secs,
            address_required,
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => knock().prop_map(Step::Knock),
        4 => (any::<usize>(), prop::option::of(form())).prop_map(|(which, form)| Step::Again(which, form)),
        2 => (0..200_u64).prop_map(Step::Wait),
        1 => rules().prop_map(Step::Adopt),
        1 => prop::collection::vec(any::<u8>(), 0..400).prop_map(Step::Junk),
    ]
}

prop_compose! {
    fn knock()(
        user in 0..USERS.len(),
        form in form(),
        ports in ports(),
        username in 0..USERS.len(),
        name_address in any::<bool>(),
        offset_secs in prop_oneof![5 => Just(0_i64), 2 => -130..130_i64],
        timeout_secs in prop_oneof![Just(0), 1..100_u32],
        damage in prop::option::weighted(0.1, any::<usize>()),
    ) -> Knock {
        Knock {
            // Given when it is sent.
            number: 0,
            user,
            form,
            ports,
            username,
            name_address,
            offset_secs,
            timeout_secs,
            damage,
        }
    }
}

fn ports() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::subsequence(vec![0, 1, 2], 1..=PORTS.len())
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        Just(Form::Fwknop),
        Just(Form::Tagged),
        Just(Form::WithoutHmac)
    ]
}
