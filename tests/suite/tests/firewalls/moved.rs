//! Moving from one place in the packet filter to another opens nothing on the way and leaves nothing.

use anyhow::ensure;
use harness::postern::Agent;
use harness::service::Reach;
use harness::{Result, in_lab};

use crate::bans::OPEN_HOST;
use crate::place::{BOTH, BackEnd, Place};
use crate::traffic::barrage;
use crate::world::World;

/// What versions before this one laid, in INPUT and OUTPUT, and left there when they were killed.
const FORMER: World = World {
    lay: "for number in 4 6; do
    case $number in 4) ip=iptables family=inet ;; 6) ip=ip6tables family=inet6 ;; esac
    open=POSTERN_INPUT_$number revoked=POSTERN_INPUT_R$number
    for set in $open $revoked; do
        ipset create $set hash:ip,port family $family hashsize 1024 maxelem 131072 timeout 30
    done
    $ip -N POSTERN_INPUT
    $ip -N POSTERN_OUT
    $ip -A INPUT -j POSTERN_INPUT
    $ip -A OUTPUT -j POSTERN_OUT
    $ip -A POSTERN_INPUT -i lo -j RETURN
    $ip -A POSTERN_INPUT -m set --match-set $revoked src,dst -j DROP
    $ip -A POSTERN_INPUT -p tcp -m tcp --dport 22 ! --tcp-flags FIN,SYN,RST,ACK SYN \
        -m conntrack --ctstate ESTABLISHED -j ACCEPT
    $ip -A POSTERN_INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN \
        -m set --match-set $open src,dst -j ACCEPT
    $ip -A POSTERN_INPUT -p tcp -m conntrack --ctstate ESTABLISHED,UNTRACKED \
        -m set --match-set $open src,dst -j ACCEPT
    $ip -A POSTERN_INPUT -p udp -m set --match-set $open src,dst -j ACCEPT
    $ip -A POSTERN_INPUT -p tcp -m tcp --dport 22 -j DROP
    $ip -A POSTERN_OUT -o lo -j RETURN
    $ip -A POSTERN_OUT -p tcp -m tcp --sport 22 ! --tcp-flags FIN,SYN,RST,ACK SYN \
        -m conntrack --ctstate NEW -j DROP
done",
    ..OPEN_HOST
};

#[test]
fn the_chain_of_earlier_versions_is_replaced_without_opening_anything_and_nothing_of_it_stays() {
    for back_end in BOTH {
        in_lab(|lab| {
            let place = Place::new(lab, &FORMER)?;
            place.sees(&place.stranger, Reach::Silent)?;
            let mut agent = hidden_while(&place, || place.agent(*back_end, &[]))?;
            let rules = place.host.rules()?.join("\n");
            ensure!(!rules.contains("POSTERN_INPUT"), "{back_end:?}: {rules}");
            let sets = place.owner.run("ipset list -n")?.ok()?.stdout;
            ensure!(!sets.contains("POSTERN_INPUT"), "{back_end:?}: {sets}");
            place.knock()?;
            place.opens()?;
            agent.stop()?;
            Ok(())
        });
    }
}

#[test]
fn changing_the_back_end_opens_nothing_on_the_way_and_nothing_of_the_other_stays() {
    in_lab(|lab| {
        let place = Place::new(lab, &OPEN_HOST)?;
        let mut agent = place.agent(BackEnd::Iptables, &[])?;
        agent.kill()?;
        let mut agent = hidden_while(&place, || place.agent(BackEnd::Nftables, &[]))?;
        let rules = place.host.rules()?.join("\n");
        ensure!(!rules.contains("POSTERN"), "{rules}");
        place.knock()?;
        place.opens()?;
        agent.kill()?;
        let mut agent = hidden_while(&place, || place.agent(BackEnd::Iptables, &[]))?;
        let tables = place.owner.run("nft list tables")?.ok()?.stdout;
        ensure!(!tables.contains("inet postern"), "{tables}");
        place.knock()?;
        place.opens()?;
        agent.stop()?;
        ensure!(agent.flush()?.code == 0, "flush");
        place.sees(&place.stranger, Reach::Open)
    });
}

/// Starts an agent, and insists that a stranger who tries all the time never gets in.
fn hidden_while(place: &Place, start: impl FnOnce() -> Result<Agent>) -> Result<Agent> {
    let (agent, seen) = barrage(&place.stranger, &place.addresses(), start)?;
    ensure!(seen.answered == 0, "{seen:?}");
    Ok(agent)
}
