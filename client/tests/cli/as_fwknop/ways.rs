//! How packets and questions travel.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::thread::{self, JoinHandle};

use super::{Pair, read};
use crate::sandbox::{keys, open};

/// Takes one connection: who it was and what he said; `answer` is said first, if it is not empty.
fn server(answer: &'static str) -> (String, JoinHandle<(SocketAddr, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let served = thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        let mut text = String::new();
        if answer.is_empty() {
            stream.read_to_string(&mut text).unwrap();
        } else {
            let mut bytes = [0; 2000];
            let length = stream.read(&mut bytes).unwrap();
            text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            stream.write_all(answer.as_bytes()).unwrap();
        }
        (from, text)
    });
    (port, served)
}

fn free_port() -> u16 {
    UdpSocket::bind("0.0.0.0:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

const BASE: [&str; 9] = [
    "-A",
    "tcp/22",
    "-s",
    "-D",
    "127.0.0.1",
    "--key-rijndael",
    "k3y",
    "--no-save-args",
    "-p",
];

#[test]
fn the_source_port_is_obeyed_over_udp_tcp_and_http() {
    let pair = Pair::new();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = receiver.local_addr().unwrap().port().to_string();
    let source = free_port();
    let from = source.to_string();

    let ran = pair.ours(&[&BASE[..], &[&port, "-S", &from]].concat(), "");

    let mut bytes = [0; 2000];
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        (
            ran.stdout.as_str(),
            receiver.recv_from(&mut bytes).unwrap().1.port()
        ),
        ("", source)
    );
    for way in ["tcp", "http"] {
        let (port, served) = server("");
        let source = free_port();
        let from = source.to_string();

        let ran = pair.ours(&[&BASE[..], &[&port, "-P", way, "-S", &from]].concat(), "");

        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(served.join().unwrap().0.port(), source, "{way}");
    }
}

#[test]
fn through_a_proxy_the_request_names_the_server() {
    let pair = Pair::new();
    for more in [&[][..], &["-u", "Foo/1"], &["-P", "http"]] {
        let said = |is_ours: bool| {
            let (port, served) = server("");
            let proxy = format!("127.0.0.1:{port}");
            let mut words = BASE.to_vec();
            words[4] = "192.0.2.1";
            words.extend(["80", "-H", &proxy]);
            words.extend(more);
            let ran = if is_ours {
                pair.ours(&words, "")
            } else {
                pair.theirs(&words, "")
            };
            assert_eq!(ran.code, 0, "{words:?}: {}", ran.stderr);
            served.join().unwrap().1
        };
        // The packet and the version in the name differ.
        let shape = |text: &str| {
            let (line, rest) = text.split_once(" HTTP/1.0").unwrap();
            let (place, packet) = line.rsplit_once('/').unwrap();
            open(
                &packet.replace('-', "+").replace('_', "/"),
                &keys("k3y", None),
            );
            // The reference calls the proxy by the name of the server's header.
            let rest = rest
                .replace("2.6.10", "3.0.0")
                .replace("127.0.0.1", "192.0.2.1");
            format!("{place}/ HTTP/1.0{rest}")
        };

        assert_eq!(shape(&said(true)), shape(&said(false)), "{more:?}");
    }
    let secret = pair.ours(
        &[&BASE[..], &["80", "-H", "mbr:hunter2@127.0.0.1:1"]].concat(),
        "",
    );
    assert_eq!(secret.code, 1);
    assert!(!secret.stderr.contains("hunter2"), "{}", secret.stderr);
}

#[test]
fn the_outside_address_is_asked_for_as_the_options_say() {
    const PAGE: &str = "HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\n203.0.113.77\n";
    let pair = Pair::new();
    let wget = "#!/bin/sh\nprintf '%s\\n' \"$@\" > asked\necho 203.0.113.78\n";
    let wget = pair.ours.write("wget", wget);
    std::fs::set_permissions(&wget, std::fs::Permissions::from_mode(0o755)).unwrap();
    let packet = |more: &[&str]| {
        let base = [
            "-A",
            "tcp/22",
            "-D",
            "192.0.2.1",
            "--key-rijndael",
            "k3y",
            "-T",
            "--no-save-args",
        ];
        let ran = pair.ours(&[&base[..], more].concat(), "");
        assert_eq!(ran.code, 0, "{more:?}: {}", ran.stderr);
        open(ran.stdout.lines().last().unwrap(), &keys("k3y", None))
            .message_text()
            .to_owned()
    };
    for (more, agent) in [
        (&[][..], "\r\nUser-Agent: Fwknop/"),
        (&["-u", "Foo/1"], "\r\nUser-Agent: Foo/1\r\n"),
        (&["--use-wget-user-agent"], "\r\nUser-Agent: Wget\r\n"),
    ] {
        let (port, served) = server(PAGE);
        let url = format!("http://127.0.0.1:{port}/ip");

        let text = packet(&[&["--resolve-http-only", "--resolve-url", &url], more].concat());

        let asked = served.join().unwrap().1.replace("user-agent", "User-Agent");
        assert_eq!(text, "203.0.113.77,tcp/22");
        assert!(asked.contains(agent), "{asked}");
    }
    for (more, words) in [
        (
            &[][..],
            "-U\nFwknop/3.0.0\n--secure-protocol=auto\n--quiet\n-O\n-\nhttps://x/\n",
        ),
        (
            &["--use-wget-user-agent"],
            "--secure-protocol=auto\n--quiet\n-O\n-\nhttps://x/\n",
        ),
    ] {
        let text = packet(&[&["-R", "-w", "./wget", "--resolve-url", "https://x/"], more].concat());

        assert_eq!(text, "203.0.113.78,tcp/22");
        assert_eq!(read(&pair.ours, "asked"), words);
    }
    let missing = pair.ours(
        &[
            "-A",
            "tcp/1",
            "-D",
            "192.0.2.1",
            "--key-rijndael",
            "k",
            "-R",
            "-w",
            "./none",
            "-T",
        ],
        "",
    );
    assert_eq!(missing.code, 1, "{}", missing.stderr);
}
