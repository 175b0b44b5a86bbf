//! CMD_CYCLE_OPEN: commands in place of the firewall, after everything that is asked of a grant.

use spa::{Message, MessageType, NatAccess};

use super::{ALL_OFF, NOW_SECS, access, ask, command, stanza, timeout, with_timeout};
use crate::{Ask, Cycle, Denied, HostSettings, NoIncludes, Permit, Permitted, Secrets, parse};

const WILLING: HostSettings = HostSettings {
    commands: true,
    ..ALL_OFF
};
const CYCLE: &str = "CMD_CYCLE_OPEN /o $IP $PORT $PROTO $PKT_SRC $DST $CLIENT_TIMEOUT $TIMEOUT\n\
    CMD_CYCLE_CLOSE /c $SRC $PORT\nCMD_CYCLE_TIMER 60";

fn judge(lines: &str, message: &Message) -> Result<Permit, Denied> {
    stanza(lines).judge(&Ask {
        host: &WILLING,
        ..ask(message)
    })
}

fn cycle(lines: &str, message: &Message) -> (Cycle, u32) {
    let permit = judge(&format!("{CYCLE}\n{lines}"), message).unwrap();
    let Permitted::Cycle(cycle) = permit.what() else {
        panic!("{permit:?}");
    };
    ((**cycle).clone(), permit.timeout_secs())
}

#[test]
fn a_cycle_opens_the_first_port_with_every_variable_filled_in() {
    let (cycle, secs) = cycle(
        "OPEN_PORTS tcp/22,udp/53",
        &access("10.1.2.3", "udp/53,tcp/22"),
    );

    let until = NOW_SECS + 60;
    assert_eq!(
        cycle.open,
        format!("/o 10.1.2.3 53 17 192.0.2.7 198.51.100.1 60 {until}")
    );
    assert_eq!(cycle.close.as_deref(), Some("/c 10.1.2.3 53"));
    assert_eq!((cycle.port.to_string(), secs), ("udp/53".to_owned(), 60));
}

#[test]
fn weakness_3_a_cycle_keeps_to_open_ports_and_restrict_ports() {
    let port = |port: &str| port.parse().unwrap();
    for (lines, asked, denied) in [
        (
            "OPEN_PORTS tcp/80",
            "tcp/22",
            Denied::PortNotOpen(port("tcp/22")),
        ),
        (
            "OPEN_PORTS tcp/22",
            "tcp/22,tcp/23",
            Denied::PortNotOpen(port("tcp/23")),
        ),
        (
            "RESTRICT_PORTS tcp/22",
            "tcp/22",
            Denied::PortRestricted(port("tcp/22")),
        ),
    ] {
        let lines = format!("{CYCLE}\n{lines}");
        assert_eq!(judge(&lines, &access("10.1.2.3", asked)), Err(denied));
    }
}

#[test]
fn weakness_3_the_clients_timeout_is_capped_by_max_fw_timeout() {
    let message = with_timeout(65_536);
    let (capped, secs) = cycle("MAX_FW_TIMEOUT 300", &message);

    let until = NOW_SECS + 300;
    assert_eq!(secs, 300);
    assert!(
        capped.open.ends_with(&format!(" 300 {until}")),
        "{}",
        capped.open
    );
    // The default, and where the timer alone says how long.
    assert_eq!(cycle("", &message).1, 300);
    assert_eq!(cycle("", &with_timeout(7)).1, 7);
}

#[test]
fn the_owners_timer_may_be_longer_than_the_default_cap_and_not_than_a_cap_of_its_own() {
    let long = CYCLE.replace("TIMER 60", "TIMER 3600");
    let secs = |lines: &str| {
        let permit = judge(&format!("{long}\n{lines}"), &access("10.1.2.3", "tcp/22"));
        permit.unwrap().timeout_secs()
    };

    assert_eq!(secs(""), 3600);
    assert_eq!(secs("MAX_FW_TIMEOUT 300"), 300);
}

#[test]
fn a_cycle_ends_with_its_stanza_and_runs_only_where_the_host_allows_commands() {
    let message = access("10.1.2.3", "tcp/22");
    let soon = format!("ACCESS_EXPIRE_EPOCH {}", NOW_SECS + 9);

    assert_eq!(cycle(&soon, &message).1, 9);
    assert_eq!(timeout(CYCLE, &message), Err(Denied::CommandsOff));
}

#[test]
fn a_cycle_leads_packets_nowhere_and_takes_neither_ranges_nor_closed_texts() {
    let nat = Message {
        message_type: MessageType::NatAccess,
        nat_access: Some(NatAccess {
            host: "10.9.9.9".to_owned(),
            port: 22,
        }),
        ..access("10.1.2.3", "tcp/22")
    };
    let range = "tcp/22-23".parse().unwrap();

    assert_eq!(judge(CYCLE, &nat), Err(Denied::CycleNat));
    assert_eq!(
        judge(CYCLE, &access("10.1.2.3", "tcp/22-23")),
        Err(Denied::CycleService(range))
    );
    assert_eq!(
        judge(CYCLE, &command("/bin/true")),
        Err(Denied::CommandNotEnabled)
    );
}

#[test]
fn a_closing_command_is_needed_or_none_and_a_timer_with_it() {
    let mistakes = |lines: &str| {
        let text = format!("SOURCE ANY\nKEY k\n{lines}\n");
        let invalid = parse("access.conf", &text, &NoIncludes).unwrap_err();
        invalid.to_string()
    };

    assert!(mistakes("CMD_CYCLE_OPEN /o").contains("needs CMD_CYCLE_CLOSE"));
    assert!(mistakes("CMD_CYCLE_CLOSE /c").contains("needs CMD_CYCLE_OPEN"));
    assert!(mistakes("CMD_CYCLE_TIMER 5").contains("needs CMD_CYCLE_OPEN"));
    let text = mistakes("CMD_CYCLE_OPEN /o\nCMD_CYCLE_CLOSE /c");
    assert!(text.contains("needs CMD_CYCLE_TIMER"), "{text}");
    assert!(mistakes("CMD_CYCLE_OPEN sh -c 'x\nCMD_CYCLE_CLOSE NONE").contains("quotation"));
}

#[test]
fn cycles_and_sudo_are_printed_as_they_are_read() {
    let text = "SOURCE ANY\nKEY_BASE64 aw==\nFW_ACCESS_TIMEOUT 30\nMAX_FW_TIMEOUT 300\n\
        ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nCMD_EXEC_GROUP daemon\nENABLE_CMD_SUDO_EXEC Y\n\
        CMD_SUDO_EXEC_USER www-data\nCMD_SUDO_EXEC_GROUP adm\n\
        CMD_CYCLE_OPEN /o \"$IP\" $PORT\nCMD_CYCLE_CLOSE NONE\nCMD_CYCLE_TIMER 30\n";
    let policy = parse("access.conf", text, &NoIncludes).unwrap();

    assert_eq!(policy.print(Secrets::Show), text);
    let rule = policy.stanzas[0].command.as_deref().unwrap();
    assert_eq!(rule.as_whom(), "nobody:daemon, by sudo as www-data:adm");
}

#[test]
fn accounts_that_do_not_exist_are_named_with_their_lines_where_they_are_needed() {
    let text = "SOURCE ANY\nKEY k\nENABLE_CMD_EXEC Y\nCMD_EXEC_USER ghost\nCMD_EXEC_GROUP adm\n\
        CMD_SUDO_EXEC_USER nobody-needs-this\nSOURCE ANY\nKEY x\nCMD_EXEC_USER unused\n";
    let policy = parse("access.conf", text, &NoIncludes).unwrap();

    let unknown = policy.require_accounts(|account| &*account.name == "adm");
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "access.conf:4: CMD_EXEC_USER: there is no user ghost on this host \
         (`getent passwd` lists those that there are)"
    );
    assert!(policy.require_accounts(|_| true).is_ok());
}

#[test]
fn what_looks_like_a_variable_and_is_none_is_warned_of() {
    let text = "SOURCE ANY\nKEY k\nCMD_CYCLE_OPEN /o $PROT $IP\nCMD_CYCLE_CLOSE NONE\n";
    let policy = parse("access.conf", text, &NoIncludes).unwrap();

    let warned = policy.warnings.iter().map(|w| w.message.as_str());
    let named: Vec<&str> = warned.filter(|w| w.contains("$PROT ")).collect();
    assert_eq!(named, ["$PROT is no variable, and stays as it is written"]);
}
