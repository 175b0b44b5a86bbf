//! Where packets come from.

use std::fs;
use std::path::Path;

use harness::Owner;
use nix::sys::signal::Signal;

use super::host::{Host, eventually, on_host, write_capture};

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

/// Where ulogd writes, and how it is told to.
fn ulogd_conf(host: &Host, file: &Path) -> String {
    let dir = "/usr/lib/x86_64-linux-gnu/ulogd";
    let dir = if Path::new(dir).exists() {
        dir
    } else {
        "/usr/lib/ulogd"
    };
    let plugins = ["inppkt_NFLOG", "raw2packet_BASE", "output_PCAP"];
    let plugins: String = plugins
        .iter()
        .map(|name| format!("plugin=\"{dir}/ulogd_{name}.so\"\n"))
        .collect();
    let (log, file) = (host.node.dir.join("ulogd.log"), file.display());
    format!(
        "[global]\nlogfile=\"{}\"\nloglevel=1\n{plugins}\
         stack=log1:NFLOG,base1:BASE,pcap1:PCAP\n\
         [log1]\ngroup=7\n[pcap1]\nfile=\"{file}\"\nsync=1\n",
        log.display()
    )
}

#[test]
fn what_ulogd_writes_is_followed_across_rotation_as_fwknopd_conf_names_it() {
    on_host("", |host| {
        let ulogd = Owner::with(&host.node, "ulogd").unwrap();
        let file = host.node.dir.join("ulogd.pcap");
        let conf = host
            .node
            .write("ulogd.conf", &ulogd_conf(host, &file))
            .unwrap();
        host.output("nft", &["add", "table", "inet", "owner"]);
        let chain = "{ type filter hook input priority 0 ; }";
        host.output("nft", &["add", "chain", "inet", "owner", "input", chain]);
        let rule = "udp dport 62201 log group 7 queue-threshold 1";
        host.output("nft", &["add", "rule", "inet", "owner", "input", rule]);
        let mut writer = ulogd
            .start(&format!("ulogd -c {}", conf.display()))
            .unwrap();
        eventually("ulogd begins", || {
            fs::metadata(&file).is_ok_and(|f| f.len() == 24)
        });
        let old = format!(
            "DATA_COLLECT_MODE ULOG_PCAP;\nPCAP_PKT_FILE {};\nENABLE_SPA_PACKET_AGING Y;\n",
            file.display()
        );
        let old = host.node.write("fwknop.conf", &old).unwrap();
        let mut agent = host.start(&["--fwknopd-conf", old.to_str().unwrap()]);

        host.knock();
        agent.wait_for("grant opened");
        fs::rename(&file, host.node.dir.join("ulogd.pcap.1")).unwrap();
        // It does not know yet: what comes now goes to the old file.
        host.knock();
        agent.wait_for("grant refreshed");
        writer.signal(Signal::SIGHUP).unwrap();
        agent.wait_for("the capture file was replaced");
        host.knock();
        agent.wait_for("grant refreshed");
        // As copytruncate does it.
        fs::File::create(&file).unwrap();
        host.knock();
        agent.wait_for("the file was cut while its writer kept its place");
        agent.wait_for("grant refreshed");

        // Another run shows nothing that this one has judged, and reads what comes meanwhile.
        agent.stop();
        host.knock();
        let mut agent = host.start(&["--fwknopd-conf", old.to_str().unwrap()]);
        agent.wait_for("grant opened");
        let kinds = host.kinds();
        assert!(
            !kinds.iter().any(|kind| kind.contains("replay")),
            "{kinds:?}"
        );
        writer.kill().unwrap();
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
