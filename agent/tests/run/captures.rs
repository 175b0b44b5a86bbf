//! Where packets come from.

use std::fs;

use super::host::{eventually, on_host, write_capture};

#[test]
fn a_capture_file_that_grows_is_followed() {
    on_host("", |host| {
        let file = host.node.dir.join("capture.pcap");
        let follow = ["--pcap-file", file.to_str().unwrap(), "--follow"];
        let mut agent = host.start(&follow);
        let name = file.to_str().unwrap();
        let mut tcpdump = host.node.command("tcpdump");
        tcpdump.args(["-i", "lo", "-U", "-Z", "root", "-w", name, "udp port 62201"]);
        let mut tcpdump = host.node.start("tcpdump", &mut tcpdump).unwrap();
        eventually("the file to begin", || {
            fs::metadata(&file).is_ok_and(|found| found.len() >= 24)
        });

        host.knock();
        agent.wait_for("grant opened");
        host.knock();
        agent.wait_for("grant refreshed");

        tcpdump.kill().unwrap();
        agent.stop();
    });
}

#[test]
fn a_finished_capture_file_is_read_whatever_its_age() {
    on_host("", |host| {
        let file = host.node.dir.join("capture.pcap");
        let packet = host.packet_of(&["--time-offset-minus", "10days"]);
        write_capture(&file, &packet);

        let mut agent = host.start(&["--pcap-file", file.to_str().unwrap()]);

        agent.wait_for("grant opened");
        agent.stop();
    });
}

#[test]
fn packets_come_over_a_udp_socket_too() {
    on_host("DESTINATION 127.0.0.1", |host| {
        let mut agent = host.start(&["--udp-server", "62201"]);

        host.knock();

        agent.wait_for("grant opened");
        agent.stop();
    });
}

#[test]
fn an_interface_that_goes_away_is_waited_for() {
    on_host("", |host| {
        host.output(
            "ip",
            &["link", "add", "pt0", "type", "veth", "peer", "name", "pt1"],
        );
        host.output("ip", &["link", "set", "pt0", "up"]);
        let mut agent = host.start(&["--interface", "pt0", "--interface", "lo"]);

        host.output("ip", &["link", "del", "pt0"]);
        agent.wait_for("a capture went down");
        host.knock();
        agent.wait_for("grant opened");
        host.output(
            "ip",
            &["link", "add", "pt0", "type", "veth", "peer", "name", "pt1"],
        );
        host.output("ip", &["link", "set", "pt0", "up"]);

        agent.wait_for("capturing again");
        agent.stop();
    });
}

#[test]
fn any_interface_will_do() {
    on_host("", |host| {
        let mut agent = host.start(&[]);

        host.knock();

        agent.wait_for("grant opened");
        agent.stop();
    });
}
