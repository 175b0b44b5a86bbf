//! What is changed in a table so that our lines are where they belong.

use super::*;

const MARK: u32 = 0x2000_0000;
const LINE: &str = "-m mark --mark 0x20000000/0x20000000 -m comment --comment postern -j ACCEPT";

fn script(text: &str, wanted: &Wanted) -> Option<String> {
    let (correction, _) = correction(&TableText::of(text), wanted, MARK);
    correction.map(|correction| correction.script)
}

fn changes(text: &str) -> Vec<String> {
    let script = script(text, &Wanted::Needed { outwards: false }).unwrap_or_default();
    let lines = script.lines().filter(|line| line.starts_with('-'));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_line_is_laid_once_and_left_where_it_is_as_long_as_that_is_right() {
    let base = "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n";
    assert_eq!(changes(base), [format!("-A INPUT {LINE}")]);

    let laid = format!("{base}-A INPUT {LINE}\n");
    assert_eq!(changes(&laid), Vec::<String>::new());
    let below = format!("{laid}-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n");
    assert_eq!(changes(&below), Vec::<String>::new());
}

#[test]
fn what_goes_out_has_a_line_where_answers_are_to_be_accepted_and_else_none() {
    let base = "-P INPUT ACCEPT\n-P OUTPUT DROP\n-A OUTPUT -d 192.0.2.7/32 -j DROP\n";
    let outwards = |text: &str, outwards| script(text, &Wanted::Needed { outwards });

    assert_eq!(outwards(base, false), None);
    let laid = format!("-A OUTPUT {LINE}\n");
    assert_eq!(
        outwards(base, true),
        Some(format!("*filter\n{laid}COMMIT\n"))
    );
    let with_it = format!("{base}{laid}");
    assert_eq!(outwards(&with_it, true), None);
    assert!(
        outwards(&with_it, false)
            .unwrap()
            .contains(&format!("-D OUTPUT {LINE}"))
    );
}

#[test]
fn a_line_moves_below_a_block_by_address_and_never_above_what_came_to_stand_before_it() {
    let laid = format!("-P INPUT DROP\n-A INPUT {LINE}\n");
    let block = format!("{laid}-A INPUT -s 192.0.2.7/32 -j DROP\n");
    let again = [format!("-D INPUT {LINE}"), format!("-A INPUT {LINE}")];
    assert_eq!(changes(&block), again);

    for order in [
        "-A INPUT -j DROP",
        "-A INPUT -p tcp -j DROP",
        "-A INPUT -p tcp -m tcp --dport 22 -j REJECT",
        "-A INPUT -i eth0 -j DROP",
        "-A INPUT -j PANIC\n-N PANIC\n-A PANIC -j DROP",
        "-A INPUT -j PANIC\n-N PANIC\n-A PANIC -s 192.0.2.7/32 -j DROP\n-A PANIC -j DROP",
    ] {
        for policy in ["ACCEPT", "DROP"] {
            let base = format!("-P INPUT {policy}\n{order}\n-A INPUT {LINE}\n-A INPUT -j DROP\n");
            assert_eq!(changes(&base), Vec::<String>::new(), "{order}");
        }
    }
}

#[test]
fn a_line_that_is_there_twice_or_not_needed_or_of_another_bit_goes() {
    let twice = format!("-P INPUT DROP\n-A INPUT {LINE}\n-A INPUT {LINE}\n");
    assert_eq!(changes(&twice).len(), 3);
    let useless = format!("-P INPUT ACCEPT\n-A INPUT {LINE}\n");
    assert_eq!(changes(&useless), [format!("-D INPUT {LINE}")]);
    let old = LINE.replace("0x20000000", "0x1");
    let old_bit = format!("-P INPUT DROP\n-A INPUT {old}\n");
    assert_eq!(
        changes(&old_bit),
        [format!("-D INPUT {old}"), format!("-A INPUT {LINE}")]
    );
}

#[test]
fn a_line_of_the_owner_that_does_the_same_is_enough() {
    let own = "-P INPUT DROP\n-A INPUT -m mark --mark 0x20000000/0x20000000 -j ACCEPT\n";

    assert_eq!(changes(own), Vec::<String>::new());
}

#[test]
fn a_named_chain_gets_its_line_needed_or_not_and_others_none() {
    let text = "-P INPUT ACCEPT\n-P FORWARD DROP\n";
    let named = |chains: &[&str]| {
        let chains = chains.iter().map(|chain| (*chain).to_owned()).collect();
        script(text, &Wanted::Named(chains))
    };

    let expected = format!("*filter\n-A INPUT {LINE}\nCOMMIT\n");
    assert_eq!(named(&["INPUT"]), Some(expected));
    assert_eq!(named(&[]), None);
    assert_eq!(named(&["NOWHERE"]), None);
}

#[test]
fn dockers_users_return_what_passed_through_a_hole() {
    let text = "-P FORWARD ACCEPT\n-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n\
                -A DOCKER-USER -i eth0 -j DROP\n";

    let line = LINE.replace("ACCEPT", "RETURN");
    assert_eq!(changes(text), [format!("-I DOCKER-USER 1 {line}")]);
}

#[test]
fn entries_of_the_configuration_that_name_chains_of_iptables_are_kept_here() {
    assert!(is_own("ip filter INPUT") && is_own("ip6 filter FORWARD"));
    assert!(!is_own("inet filter input") && !is_own("ip filter MINE"));
    let mut config = FirewallConfig::of_chain("P");
    config.hooks = Hooks::Chains(vec![
        "ip filter INPUT".to_owned(),
        "ip6 filter FORWARD".to_owned(),
    ]);
    assert_eq!(
        wanted(&config, Family::V4),
        Wanted::Named(vec!["INPUT".to_owned()])
    );
    assert_eq!(
        wanted(&config, Family::V6),
        Wanted::Named(vec!["FORWARD".to_owned()])
    );
}
