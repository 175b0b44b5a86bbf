use super::*;
use crate::report::Latency;

#[test]
fn the_text_says_what_matters_first_and_then_every_counter() {
    let report = Report {
        version: "1.2.3".to_owned(),
        generation: 4,
        access_file: Some("/etc/postern/access.conf".into()),
        domains: vec![
            DomainReport {
                uid: Some(65_534),
                capabilities: Some(vec!["CAP_NET_RAW".to_owned()]),
                no_new_privileges: Some(true),
                seccomp: Some(false),
                answers: Some(true),
                ..DomainReport::new("capture".to_owned(), 12)
            },
            DomainReport {
                answers: Some(false),
                ..DomainReport::new("gate".to_owned(), 13)
            },
        ],
        policy_age_secs: 60,
        rejected_generation: Some(5),
        drift: None,
        nat_fault: None,
        os_faults: Vec::new(),
        locked: Some("stolen".to_owned()),
        grants_open: 2,
        journal_seq: 99,
        journal_writable: false,
        journal_fault: Some("the disk is full".to_owned()),
        floor: FloorReport {
            through_secs: 1_800_000_120,
            reason: "the journal that was here is gone".to_owned(),
            ends_in_secs: 90,
            clock_is_proven: false,
        },
        firewall: FirewallReport {
            backend: "nftables".to_owned(),
            why: "the kernel has it".to_owned(),
            recognised: vec!["Docker".to_owned(), "nftables".to_owned()],
            hidden: vec!["tcp/22".to_owned(), "tcp/8080".to_owned()],
            published: vec!["tcp/8080 leads to 172.17.0.2 port 80, hidden".to_owned()],
            obstacles: vec![ObstacleReport {
                rule: "inet filter input: policy drop".to_owned(),
                services: vec!["tcp/1-65535".to_owned()],
                is_certain: true,
                cure: vec!["in agent.toml: hooks = [\"inet filter input\"]".to_owned()],
            }],
            blocked_sources: 2,
            ..FirewallReport::default()
        },
        captures: vec![
            CaptureReport {
                name: "eth0".to_owned(),
                link: Some("Ethernet".to_owned()),
                frames: 17,
                dropped: 3,
                ..CaptureReport::default()
            },
            CaptureReport {
                name: "tcp [::]:62201".to_owned(),
                frames: 2,
                counts: [
                    ("connections", 5),
                    ("connections_late", 0),
                    ("connections_silent", 3),
                ]
                .map(|(name, count)| (name.to_owned(), count))
                .to_vec(),
                ..CaptureReport::default()
            },
            CaptureReport {
                name: "tun7".to_owned(),
                down: Some("there is no such interface".to_owned()),
                ..CaptureReport::default()
            },
        ],
        counters: [
            ("received", 12),
            ("reassembled", 5),
            ("fragments_waiting", 1),
            ("fragments_refused", 4),
            ("fragments_expired", 2),
            ("fragments_crowded_out", 3),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .to_vec(),
        policy_not_after_secs: 1_800_003_600,
        grant_latency: Latency::default(),
        journal: Some(JournalReport {
            bytes: 3 << 20,
            free_bytes: 5 << 30,
            unacknowledged: 2,
            oldest_unacknowledged_secs: 75,
        }),
        link: Some(LinkReport {
            controller: "controller.example:7443".to_owned(),
            since_secs: 75,
            error: "no route to host".to_owned(),
            clock_offset_ms: Some(-40),
            certificate_expires_secs: 1_799_999_940,
            ..LinkReport::default()
        }),
    };

    let expected = "\
version      1.2.3
generation   4, in force for 60 s
opens        nothing: the journal takes no records: the disk is full
             make room on its disk, or make it writable; nothing opens before that, and then by itself
opens        nothing: the process gate (PID 13) does not answer
             who has stopped it, or what does it wait for? systemctl restart postern-agent begins anew
             alone, by /etc/postern/access.conf
             ends by itself in 1 h 0 min
rejected     generation 5
locked       by the controller: stolen
grants open  2
journal      event 99, and cannot be written
             the disk is full
             3.0 MiB, 5.0 GiB free on its disk
             2 events wait for the controller, the oldest for 1 min 15 s
controller   controller.example:7443, away for 1 min 15 s
             no route to host
             this clock is 40 ms behind its clock
             certificate over 1 min 0 s ago
floor        packets dated at or before 1800000120 are refused: the journal that was here is gone; over in 90 s
process      capture, PID 12, user 65534, CAP_NET_RAW, no_new_privs, not seccomp
process      gate, PID 13, user ?, ?, no_new_privs?, seccomp?; it does not answer
firewall     nftables: the kernel has it
  recognised Docker, nftables
  hidden     tcp/22, tcp/8080
  published  tcp/8080 leads to 172.17.0.2 port 80, hidden
  blocked    2 addresses or networks, by the owner: they stay so
  obstacle   inet filter input: policy drop
             for tcp/1-65535
             in agent.toml: hooks = [\"inet filter input\"]
capture      eth0, Ethernet, 17 frames, 3 packets lost, up
capture      tcp [::]:62201, 2 frames, 0 packets lost, up; 5 connections, 3 connections silent
capture      tun7, 0 frames, 0 packets lost, waiting: there is no such interface
fragments    5 packets put together, 1 waiting for more; given up: 2 late, 3 crowded out; 4 fragments refused
received              12
reassembled           5
fragments_waiting     1
fragments_refused     4
fragments_expired     2
fragments_crowded_out 3
";
    assert_eq!(text(&report, 1_800_000_000), expected);
}
