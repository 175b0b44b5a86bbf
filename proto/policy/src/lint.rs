//! What is allowed but doubtful.

use spa::EncryptionMode;

use crate::cycle::CycleRule;
use crate::dialect::Dialect;
use crate::keyword::Keyword;
use crate::nat::{NatAccess, NatRules};
use crate::problem::Problem;
use crate::stanza::{ONE_ADDRESS, Stanza};

/// What is doubtful about one stanza. Compiled text was looked at when its source was applied.
pub(crate) fn stanza(dialect: Dialect, stanza: &Stanza) -> Vec<(Keyword, Problem)> {
    if dialect == Dialect::Compiled {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    timeouts(stanza, &mut warnings);
    keys(stanza, &mut warnings);
    reach(stanza, &mut warnings);
    openings(stanza, &mut warnings);
    os(stanza, &mut warnings);
    nat(stanza, &mut warnings);
    if dialect == Dialect::Operator {
        fleet(stanza, &mut warnings);
    }
    warnings
}

fn timeouts(stanza: &Stanza, warnings: &mut Vec<(Keyword, Problem)>) {
    let (own, cap) = (stanza.fw_access_timeout_secs, stanza.max_fw_timeout_secs);
    if cap == 0 {
        let problem = Problem::new("a longest timeout of 0 seconds opens nothing");
        warnings.push((Keyword::MaxFwTimeout, problem));
    } else if own == 0 {
        let problem = Problem::new("a timeout of 0 seconds opens nothing");
        let problem = problem.hint("unless the client names its own timeout");
        warnings.push((Keyword::FwAccessTimeout, problem));
    } else if own > cap {
        let problem = Problem::new(format!("MAX_FW_TIMEOUT caps it at {cap} seconds"));
        let problem = problem.hint(format!("MAX_FW_TIMEOUT {own} would allow it"));
        warnings.push((Keyword::FwAccessTimeout, problem));
    }
}

fn keys(stanza: &Stanza, warnings: &mut Vec<(Keyword, Problem)>) {
    let keys = stanza.static_keys();
    if keys.iter().any(|keys| keys.hmac().is_none()) {
        let problem =
            Problem::new("a key has no HMAC key: packets are decrypted before they are authentic");
        warnings.push((
            Keyword::HmacKey,
            problem.hint("add HMAC_KEY_BASE64 below the key"),
        ));
    }
    let weak =
        |keys: &spa::Keys| matches!(keys.mode(), EncryptionMode::Ecb | EncryptionMode::Legacy);
    if let Some(keys) = keys.iter().find(|keys| weak(keys)) {
        let problem = Problem::new(format!("{} mode is weak", keys.mode()));
        warnings.push((
            Keyword::EncryptionMode,
            problem.hint("use CBC, the default"),
        ));
    }
}

fn reach(stanza: &Stanza, warnings: &mut Vec<(Keyword, Problem)>) {
    if stanza.open_ports.is_none() {
        let problem = Problem::new("without OPEN_PORTS every port may be opened");
        warnings.push((Keyword::OpenPorts, problem));
    }
    if let Some(open) = &stanza.open_ports
        && open.without(&stanza.restrict_ports).is_empty()
    {
        let problem = Problem::new("every port of OPEN_PORTS is restricted, so that none can open");
        warnings.push((Keyword::RestrictPorts, problem));
    }
    if let Some(cycle) = &stanza.cycle {
        cycle_of(stanza, cycle, warnings);
    }
    if stanza
        .command
        .as_ref()
        .is_some_and(|rule| rule.user.is_none())
    {
        let problem = Problem::new("commands run as root");
        warnings.push((
            Keyword::EnableCmdExec,
            problem.hint("CMD_EXEC_USER names a user"),
        ));
    }
}

fn cycle_of(stanza: &Stanza, cycle: &CycleRule, warnings: &mut Vec<(Keyword, Problem)>) {
    for name in cycle.unknown_variables() {
        let problem = Problem::new(format!("{name} is no variable, and stays as it is written"));
        let hint = "$IP $SRC $PKT_SRC $DST $PORT $PROTO $TIMEOUT $CLIENT_TIMEOUT are";
        warnings.push((Keyword::CmdCycleOpen, problem.hint(hint)));
    }
    let cap = stanza.max_fw_timeout_secs;
    if let Some(timer) = cycle.timer_secs.filter(|timer| *timer > cap && cap > 0) {
        let problem = Problem::new(format!("MAX_FW_TIMEOUT caps it at {cap} seconds"));
        let problem = problem.hint(format!("MAX_FW_TIMEOUT {timer} would allow it"));
        warnings.push((Keyword::CmdCycleTimer, problem));
    }
    let NatRules {
        force, forward_all, ..
    } = &stanza.nat;
    if force.is_some() || *forward_all {
        let keyword = if *forward_all {
            Keyword::ForwardAll
        } else {
            Keyword::ForceNat
        };
        let problem = Problem::new("the line has no effect beside CMD_CYCLE_OPEN");
        warnings.push((keyword, problem));
    }
}

/// Prefixes shorter than these are wide: more than one usual network of a site.
const WIDE_BELOW: u8 = 24;
const WIDE_BELOW6: u8 = 48;

fn openings(stanza: &Stanza, warnings: &mut Vec<(Keyword, Problem)>) {
    let hosts = 1_u64 << ONE_ADDRESS.saturating_sub(stanza.open_prefix);
    if stanza.open_prefix < WIDE_BELOW {
        let problem = Problem::new(format!("each grant opens for {hosts} addresses"));
        let problem = problem.hint(format!("OPEN_PREFIX {WIDE_BELOW} opens for 256"));
        warnings.push((Keyword::OpenPrefix, problem));
    }
    if stanza.open_prefix6 < WIDE_BELOW6 {
        let problem = Problem::new("each grant opens for more than the network of one site");
        let problem = problem.hint("OPEN_PREFIX6 56 or 64 is the network of one customer");
        warnings.push((Keyword::OpenPrefix6, problem));
    }
    if stanza.open_packet_source {
        let problem = Problem::new(
            "whoever catches a packet on its way and is faster opens for himself as well",
        );
        let problem = problem.hint("only users behind a changing address of a carrier need it");
        warnings.push((Keyword::OpenPacketSource, problem));
    }
}

fn os(stanza: &Stanza, warnings: &mut Vec<(Keyword, Problem)>) {
    if let Some(rule) = &stanza.os {
        let doubts = rule.doubts();
        warnings.extend(doubts.map(|doubt| (Keyword::RequireOs, doubt)));
    }
}

fn nat(stanza: &Stanza, warnings: &mut Vec<(Keyword, Problem)>) {
    let NatRules {
        force,
        source,
        disable_dnat,
        forward_all,
        access,
    } = &stanza.nat;
    let may_ask = !access.permits_nothing();
    let says_access = matches!(access, NatAccess::Lines(_));
    let is_routed = *forward_all && force.is_none() && source.is_some();
    if is_routed && access.is_limit() {
        let problem = Problem::new(
            "beside FORWARD_ALL with FORCE_SNAT or FORCE_MASQUERADE only NAT_ACCESS ANY leads on what names no place: all of it is refused",
        );
        let hint = "FORCE_NAT names one host; without FORCE_SNAT and FORCE_MASQUERADE messages name places";
        warnings.push((Keyword::NatAccess, problem.hint(hint)));
    } else if is_routed {
        let problem =
            Problem::new("whoever may open a port may reach every host and port behind this one");
        warnings.push((
            Keyword::ForwardAll,
            problem.hint("FORCE_NAT names one host"),
        ));
    } else if *forward_all && force.is_none() && !may_ask {
        let problem = Problem::new("the line has no effect without FORCE_NAT or NAT_ACCESS");
        warnings.push((Keyword::ForwardAll, problem));
    }
    if *disable_dnat && force.is_none() && !may_ask && !(*forward_all && source.is_some()) {
        let problem = Problem::new("the line has no effect without FORCE_NAT or NAT_ACCESS");
        warnings.push((Keyword::DisableDnat, problem));
    }
    if force.is_some() && says_access {
        let problem = Problem::new("the line has no effect beside FORCE_NAT");
        warnings.push((Keyword::NatAccess, problem));
    }
}

fn fleet(stanza: &Stanza, warnings: &mut Vec<(Keyword, Problem)>) {
    if stanza.name.is_none() {
        let problem = Problem::new("the stanza has no NAME: the audit can only show its number");
        warnings.push((Keyword::Name, problem));
    }
    let is_for_one_host = match &*stanza.hosts {
        [] => false,
        [first, others @ ..] => {
            let name = first.host_name();
            name.is_some() && others.iter().all(|line| line.host_name() == name)
        }
    };
    if !stanza.static_keys().is_empty() && !is_for_one_host {
        let problem = Problem::new("a key in the text is shared by every host of the stanza");
        let problem = problem.hint("without KEY every user has her own with every host");
        warnings.push((Keyword::Key, problem));
    } else if stanza.hosts.is_empty() {
        let problem = Problem::new("without HOSTS the stanza is for every host");
        warnings.push((Keyword::Hosts, problem.hint("HOSTS ANY says so")));
    }
}
