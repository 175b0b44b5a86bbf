//! Hosts that lead ports on to containers, by the rules that Docker and Kubernetes write.

use crate::life::lives;
use crate::place::BOTH;
use crate::world::{Service, World};

#[test]
fn a_port_that_docker_publishes_is_hidden_and_a_knock_opens_it() {
    lives(&DOCKER, BOTH);
}

#[test]
fn behind_a_drop_in_docker_user_a_knock_opens_through_the_hook_that_is_named() {
    lives(&DOCKER_USER, BOTH);
}

#[test]
fn a_node_port_of_kubernetes_is_hidden_and_a_knock_opens_it() {
    lives(&KUBERNETES, BOTH);
}

/// What Docker writes for `-p 22:80`, with its proxy off and IPv6 on; `-A FORWARD` in its order.
macro_rules! docker {
    ($user:literal) => {
        concat!(
            "for ip in iptables ip6tables; do
    case $ip in
        iptables) net=172.17.0.0/16 at=172.17.0.2/32 to=172.17.0.2:80 ;;
        ip6tables) net=fd00:d0c::/64 at=fd00:d0c::2/128 to=[fd00:d0c::2]:80 ;;
    esac
    $ip -t nat -N DOCKER
    $ip -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
    $ip -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
    $ip -t nat -A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE
    $ip -t nat -A POSTROUTING -s $net ! -o docker0 -j MASQUERADE
    $ip -t nat -A POSTROUTING -s $at -d $at -p tcp -m tcp --dport 80 -j MASQUERADE
    $ip -t nat -A DOCKER -p tcp -m tcp --dport 22 -j DNAT --to-destination $to
    $ip -P FORWARD DROP
    $ip -N DOCKER
    $ip -N DOCKER-ISOLATION-STAGE-1
    $ip -N DOCKER-ISOLATION-STAGE-2
    $ip -N DOCKER-USER
    $ip -A FORWARD -j DOCKER-USER
    $ip -A FORWARD -j DOCKER-ISOLATION-STAGE-1
    $ip -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $ip -A FORWARD -o docker0 -j DOCKER
    $ip -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
    $ip -A FORWARD -i docker0 -o docker0 -j ACCEPT
    $ip -A DOCKER -d $at ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
    $ip -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
    $ip -A DOCKER-ISOLATION-STAGE-1 -j RETURN
    $ip -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
    $ip -A DOCKER-ISOLATION-STAGE-2 -j RETURN
",
            $user,
            "    $ip -A DOCKER-USER -j RETURN
done"
        )
    };
}

/// A published port.
const DOCKER: World = World {
    lay: docker!(""),
    hooks: &[],
    ban: "iptables -I DOCKER-USER -s $WHO -j DROP",
    unban: "iptables -D DOCKER-USER -s $WHO -j DROP",
    reload: "iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN",
    flush: "iptables -t mangle -F; ip6tables -t mangle -F",
    service: Service::Container,
};

/// A published port that the owner keeps from everybody outside.
pub(crate) const DOCKER_USER: World = World {
    lay: docker!("    $ip -A DOCKER-USER -i eth0 -m conntrack --ctstate NEW -j DROP\n"),
    hooks: &["ip filter DOCKER-USER", "ip6 filter DOCKER-USER"],
    ..DOCKER
};

/// What kube-proxy writes for a node port, beside a plain host.
const KUBERNETES: World = World {
    lay: "for ip in iptables ip6tables; do
    case $ip in
        iptables) at=172.17.0.2/32 to=172.17.0.2:80 ;;
        ip6tables) at=fd00:d0c::2/128 to=[fd00:d0c::2]:80 ;;
    esac
    for chain in KUBE-SERVICES KUBE-NODEPORTS KUBE-MARK-MASQ KUBE-POSTROUTING KUBE-SVC-SSH KUBE-SEP-SSH; do
        $ip -t nat -N $chain
    done
    $ip -t nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
    $ip -t nat -A OUTPUT -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
    $ip -t nat -A POSTROUTING -m comment --comment 'kubernetes postrouting rules' -j KUBE-POSTROUTING
    $ip -t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
    $ip -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
    $ip -t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
    $ip -t nat -A KUBE-POSTROUTING -j MASQUERADE --random-fully
    $ip -t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    $ip -t nat -A KUBE-NODEPORTS -p tcp -m tcp --dport 22 -j KUBE-SVC-SSH
    $ip -t nat -A KUBE-SVC-SSH -j KUBE-MARK-MASQ
    $ip -t nat -A KUBE-SVC-SSH -j KUBE-SEP-SSH
    $ip -t nat -A KUBE-SEP-SSH -p tcp -m tcp -j DNAT --to-destination $to
    for chain in KUBE-FIREWALL KUBE-FORWARD KUBE-EXTERNAL-SERVICES KUBE-NODEPORTS; do
        $ip -N $chain
    done
    $ip -A INPUT -m comment --comment 'kubernetes health check service ports' -j KUBE-NODEPORTS
    $ip -A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
    $ip -A INPUT -j KUBE-FIREWALL
    $ip -A FORWARD -m comment --comment 'kubernetes forwarding rules' -j KUBE-FORWARD
    $ip -A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
    $ip -A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
    $ip -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
    $ip -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
    $ip -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
done",
    hooks: &[],
    ban: "iptables -I FORWARD 1 -s $WHO -j DROP",
    unban: "iptables -D FORWARD -s $WHO -j DROP",
    reload: "iptables -t nat -F KUBE-SERVICES
iptables -t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    flush: "iptables -t mangle -F; ip6tables -t mangle -F",
    service: Service::Container,
};
