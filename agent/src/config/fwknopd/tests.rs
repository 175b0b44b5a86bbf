//! What every row of the table says, tried; and what files of fwknopd mean.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::capture::CaptureSource;
use crate::config::{Config, Layers, Mode, Named};
use crate::fwknopd::read::Weight;
use crate::policies::AccessFile;

fn meaning(text: &str) -> Meaning {
    let mut reading = Reading::default();
    reading.add(Path::new("f"), text);
    of(reading, None)
}

fn config(text: &str) -> Config {
    let meaning = meaning(text);
    assert_eq!(meaning.mistakes, Vec::new(), "{text}");
    meaning.raw.try_into().unwrap()
}

/// What some variables need beside them to mean anything.
fn beside(variable: &Variable) -> &'static str {
    match variable.name {
        "UDPSERV_PORT" => "ENABLE_UDP_SERVER Y;\n",
        "TCPSERV_PORT" => "ENABLE_TCP_SERVER Y;\n",
        "DATA_COLLECT_MODE" | "AUTH_MODE" => "PCAP_PKT_FILE /x.pcap;\n",
        "PCAP_PKT_FILE" => "DATA_COLLECT_MODE ULOG_PCAP;\n",
        "SNAT_TRANSLATE_IP" => "ENABLE_IPT_SNAT Y;\n",
        "NFQ_INTERFACE" | "NFQ_PORT" => "ENABLE_NFQ_CAPTURE Y;\n",
        _ => "",
    }
}

/// Everything that a file can change.
fn said(meaning: &Meaning) -> (RawConfig, Service) {
    (meaning.raw.clone(), meaning.service.clone())
}

#[test]
fn every_variable_does_what_its_row_says() {
    for variable in variables::all() {
        let Variable {
            name,
            example,
            verdict,
            why,
            ..
        } = variable;
        let before = beside(variable);
        let line = format!("{before}{name} {example};\n");

        let without = meaning(before);
        let with = meaning(&line);

        let changes = said(&with) != said(&without);
        let notes: Vec<_> = with
            .notes
            .iter()
            .filter(|n| n.text.contains(name))
            .collect();
        match verdict {
            Verdict::Obeyed => {
                assert_eq!(with.mistakes, Vec::new(), "{line}");
                assert!(changes, "{line} changes nothing");
                Config::try_from(with.raw).unwrap();
            }
            Verdict::Moot => {
                assert_eq!(with.mistakes, Vec::new(), "{line}");
                assert!(!changes, "{line} changes something");
                let [note] = notes.as_slice() else {
                    panic!("{line}: {notes:?}");
                };
                assert!(note.text.contains(why), "{note:?}");
                assert_eq!(note.weight, Weight::Information);
            }
            Verdict::Refused => {
                let told: Vec<_> = with.mistakes.iter().map(ToString::to_string).collect();
                assert_eq!(told, [format!("f:1: {name}: {why}")]);
            }
        }
    }
}

#[test]
fn the_default_of_a_variable_written_down_is_neither_refused_nor_worth_a_word() {
    for variable in variables::all() {
        let Some(default) = variable.default else {
            continue;
        };
        let written = meaning(&format!("{} {default};\n", variable.name));

        assert_eq!(written.mistakes, Vec::new(), "{}", variable.name);
        assert_eq!(written.notes, Vec::new(), "{}", variable.name);
        let written: Config = written.raw.try_into().unwrap();
        assert_eq!(written, config(""), "{}", variable.name);
    }
}

#[test]
fn every_variable_that_fwknopd_prints_has_its_row_and_no_other_is_twice() {
    let mut names: Vec<_> = variables::all().map(|variable| variable.name).collect();
    for name in variables::PRINTED {
        assert!(names.contains(&name), "{name}");
    }
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn stanzas_without_a_keyring_of_their_own_have_that_of_the_host_and_the_others_keep_theirs() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("access.conf");
    let of = |conf: &str, stanza: &str| {
        let gnupg = config(conf).gnupg;
        let text = format!("SOURCE ANY\nGPG_ALLOW_NO_PW Y\nGPG_DISABLE_SIG Y\n{stanza}");
        fs::write(&path, text).unwrap();
        let (_, policy) = AccessFile::open(path.clone(), gnupg).unwrap();
        policy.stanzas[0].open_pgp.as_ref().unwrap().home.clone()
    };
    let (own, of_host) = ("GPG_HOME_DIR /own\n", "GPG_HOME_DIR /host;\n");

    assert_eq!(&*of("", ""), policy::GPG_HOME_DIR_DEFAULT);
    assert_eq!(&*of("", own), "/own");
    assert_eq!(&*of(of_host, ""), "/host");
    assert_eq!(&*of(of_host, own), "/own");
}

#[test]
fn an_empty_file_means_what_fwknopd_does_without_a_word() {
    let config = config("");

    let Mode::Alone { access_file } = &config.mode else {
        panic!("{:?}", config.mode);
    };
    assert_eq!(access_file, Path::new("/etc/fwknop/access.conf"));
    assert_eq!(config.state_dir, Path::new(crate::STATE_DIR));
    assert_eq!(config.gate.ageing.map(|age| age.as_secs()), Some(120));
    assert!(config.nat.names && !config.nat.forward && !config.nat.local);
    let sources: Vec<_> = config
        .captures
        .iter()
        .map(|c| format!("{:?}", c.source))
        .collect();
    assert_eq!(sources, ["Interface(\"eth0\")"]);
}

#[test]
fn packets_come_from_one_place_a_file_before_a_socket_before_an_interface() {
    let sources = |text: &str| {
        let config = config(text);
        let sources = config.captures.iter().map(|c| format!("{:?}", c.source));
        sources.collect::<Vec<_>>().join(" ")
    };
    let (file, socket, interface) = (
        "PCAP_FILE /x.pcap;\n",
        "ENABLE_UDP_SERVER Y;\nUDPSERV_PORT 62207;\n",
        "PCAP_INTF eth1, eth2;\n",
    );
    assert!(sources(&format!("{interface}{socket}{file}")).starts_with("File"));
    let socket = sources(&format!("{interface}{socket}"));
    assert!(
        socket.starts_with("Socket") && socket.contains("62207"),
        "{socket}"
    );
    assert_eq!(
        sources(interface),
        "Interface(\"eth1\") Interface(\"eth2\")"
    );
}

#[test]
fn a_tcp_server_stands_beside_whatever_captures_as_with_fwknopd() {
    let sources = |text: &str| {
        let config = config(&format!("ENABLE_TCP_SERVER Y;\nTCPSERV_PORT 7;\n{text}"));
        let sources = config.captures.iter().map(|c| format!("{:?}", c.source));
        sources.collect::<Vec<_>>()
    };
    for (text, first) in [
        ("", "Interface(\"eth0\")"),
        ("ENABLE_UDP_SERVER Y;\n", "Socket("),
        ("PCAP_FILE /x.pcap;\n", "File"),
    ] {
        let [one, tcp] = &sources(text)[..] else {
            panic!("{text}");
        };
        assert!(one.starts_with(first), "{one}");
        assert!(
            tcp.starts_with("TcpServer(") && tcp.ends_with(":7)"),
            "{tcp}"
        );
    }
}

#[test]
fn a_mode_of_old_files_means_the_file_that_another_program_keeps_writing() {
    for name in ["DATA_COLLECT_MODE", "AUTH_MODE"] {
        for mode in ["FILE_PCAP", "ULOG_PCAP"] {
            for file in ["PCAP_FILE", "PCAP_PKT_FILE"] {
                let config = config(&format!("{name} {mode};\n{file} /u.pcap;\n"));
                let sources: Vec<_> = config.captures.iter().map(|c| &c.source).collect();
                let path = "/u.pcap".into();
                assert_eq!(sources, [&CaptureSource::File { path, follow: true }]);
            }
            let told = meaning(&format!("{name} {mode};\n")).mistakes;
            assert!(
                told[0].to_string().contains("PCAP_FILE says it"),
                "{told:?}"
            );
        }
        // Files of before 2.0 name one whatever the mode.
        let raw = meaning(&format!("{name} PCAP;\nPCAP_PKT_FILE /u.pcap;\n")).raw;
        assert_eq!(raw.pcap_file, None);
        let told = meaning(&format!("{name} KNOCK;\n")).mistakes;
        assert!(
            told[0].to_string().contains("is not PCAP, FILE_PCAP"),
            "{told:?}"
        );
    }
}

#[test]
fn an_interface_without_a_name_is_a_mistake_and_not_every_interface() {
    for empty in ["", ",", " , "] {
        let mut reading = Reading::default();
        let variable = variables::of_name("PCAP_INTF").unwrap();
        reading.give(variable, empty.to_owned(), "command line".to_owned());
        let told = of(reading, None).mistakes;
        assert_eq!(told.len(), 1, "{empty:?}");
        let said = told[0].to_string();
        assert_eq!(said, "command line: PCAP_INTF: names no interface");
    }
}

#[test]
fn a_filter_for_one_udp_port_is_that_port_and_any_other_is_taken_as_it_is() {
    let filter = |text: &str| {
        let meaning = meaning(&format!("PCAP_FILTER {text};"));
        (meaning.raw.spa_port, meaning.raw.filter)
    };
    assert_eq!(filter("udp port 62201"), (Some(62201), None));
    assert_eq!(filter("udp  dst port 53"), (Some(53), None));
    for other in [
        "udp port 0",
        "udp port 1 or udp port 2",
        "tcp port 80",
        "udp src port 7",
    ] {
        assert_eq!(filter(other), (None, Some(other.to_owned())));
    }
}

#[test]
fn out_of_a_file_packets_of_any_age_are_accepted_unless_it_is_said_as_with_fwknopd() {
    let ageing = |text| config(text).gate.ageing.is_some();

    assert!(!ageing("PCAP_FILE /x;\n"));
    assert!(ageing("PCAP_FILE /x;\nENABLE_SPA_PACKET_AGING Y;\n"));
    assert!(!ageing("ENABLE_SPA_PACKET_AGING N;\n"));
    // What is neither yes nor no is no for fwknopd; packets without an age are not for us.
    assert!(ageing("ENABLE_SPA_PACKET_AGING true;\n"));
    assert!(!config("ENABLE_SPA_OVER_HTTP true;\n").gate.spa_over_http);
}

#[test]
fn a_run_directory_of_its_own_has_its_own_state_and_the_default_one_lasts_over_a_boot() {
    let state = |dir: &str| config(&format!("FWKNOP_RUN_DIR {dir};\n")).state_dir;

    assert_eq!(state("/run/fwknop"), Path::new(crate::STATE_DIR));
    assert_eq!(state("/var/run/fwknop"), Path::new(crate::STATE_DIR));
    assert_eq!(state("/srv/x"), Path::new("/srv/x/postern-agent"));
}

#[test]
fn the_variables_of_firewalld_are_those_of_iptables_where_that_is_the_firewall() {
    let forward = |text| config(text).nat.forward;

    assert!(forward("ENABLE_FIREWD_FORWARDING Y;"));
    assert!(!forward(
        "ENABLE_FIREWD_FORWARDING Y;\nENABLE_IPT_FORWARDING N;"
    ));
    let both =
        "ENABLE_FIREWD_FORWARDING Y;\nENABLE_IPT_FORWARDING N;\nFIREWALL_EXE /bin/firewall-cmd;";
    assert!(forward(both));
    assert_eq!(
        config("IPT_INPUT_ACCESS ACCEPT,filter,INPUT,1,SPA,1;")
            .firewall
            .chain,
        "SPA"
    );
    let refused = meaning("IPT_INPUT_ACCESS RETURN, filter, INPUT, 1, SPA, 1;");
    assert_eq!(refused.mistakes.len(), 1);
}

#[test]
fn a_relative_access_file_is_one_beside_the_file_that_names_it_where_there_is_no_nearer_one() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("access.conf"), "").unwrap();
    let path = |value: &str| {
        let mut reading = Reading::default();
        reading.add(Path::new("f"), &format!("ACCESS_FILE {value};\n"));
        of(reading, Some(dir.path())).raw.access_file.unwrap()
    };

    assert_eq!(path("access.conf"), dir.path().join("access.conf"));
    // Beside this package's manifest, where tests run.
    assert!(path("Cargo.toml").ends_with("agent/Cargo.toml"));
    assert_eq!(path("/a/b"), Path::new("/a/b"));
    assert_eq!(path("none.conf"), Path::new("none.conf"));
}

#[test]
fn files_that_are_named_are_laid_over_each_other_and_ours_and_the_flags_over_them() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    write(
        "f.conf",
        "MAX_SPA_PACKET_AGE 60;\nPCAP_INTF eth1;\nACCESS_FILE /a;\n",
    );
    write("o.conf", "MAX_SPA_PACKET_AGE 50;\n");
    write("agent.toml", "max_age_secs = 40\n");
    let overrides = [path("o.conf").display().to_string()];
    let files = Files::of(path("f.conf")).with_overrides(overrides);
    let age = |named: &Named, max_age_secs| {
        let flags = RawConfig {
            max_age_secs,
            ..RawConfig::default()
        };
        let config = Layers::of(named, flags).config().unwrap();
        assert!(matches!(config.mode, Mode::Alone { .. }));
        config.gate.ageing.unwrap().as_secs()
    };

    let mut named = Named {
        file: None,
        fwknopd: Some(files),
    };
    assert_eq!(age(&named, None), 50);
    assert_eq!(age(&named, Some(30)), 30);
    named.file = Some(path("agent.toml"));
    assert_eq!(age(&named, None), 40);

    write("o.conf", "MAX_SPA_PACKET_AGE 0;\nFOO 1;\n");
    let told = Layers::of(&named, RawConfig::default())
        .config()
        .unwrap_err();
    let expected = format!(
        "{}:1: MAX_SPA_PACKET_AGE: 0 is not",
        path("o.conf").display()
    );
    assert!(told.to_string().contains(&expected), "{told}");
    fs::remove_file(path("o.conf")).unwrap();
    let told = Layers::of(&named, RawConfig::default())
        .config()
        .unwrap_err();
    assert!(
        matches!(told, crate::config::ConfigError::Unreadable(_)),
        "{told}"
    );
}
