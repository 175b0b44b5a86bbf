//! Requests that fwknop does not know: ranges, echo, and to close.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};
use spa::{Allow, InvalidMessage, Malformed, Message, MessageType, Request};

use crate::properties::message;

fn decoded(message_type: MessageType, text: &str) -> Result<Request, Malformed> {
    // What another program may write, sealed in a message of ours.
    let asked = Message {
        message_type: MessageType::Command,
        request: Request::Command {
            allow: Allow::Source,
            command: "x".to_owned(),
        },
        ..message()
    };
    let plain = asked.encode().unwrap();
    let head: Vec<&str> = plain.split(':').take(4).collect();
    let number = message_type.number();
    let mut covered = format!("{}:{number}:{}", head.join(":"), data_encoding(text));
    if message_type.has_timeout() {
        covered.push_str(":60");
    }
    let digest = STANDARD_NO_PAD.encode(Sha256::digest(covered.as_bytes()));
    let plain = format!("{covered}:{digest}");
    Message::decode(plain.as_bytes()).map(|(message, _)| message.request)
}

fn data_encoding(text: &str) -> String {
    STANDARD_NO_PAD.encode(text)
}

fn written(request: Request, message_type: MessageType) -> Result<String, InvalidMessage> {
    let message = Message {
        message_type,
        request,
        client_timeout_secs: if message_type.has_timeout() { 60 } else { 0 },
        ..message()
    };
    message.encode()
}

#[test]
fn a_range_echo_and_a_close_are_written_in_one_way_and_read_in_no_other() {
    use MessageType::{Access, AccessTimeout};
    for right in [
        "192.0.2.7,tcp/8000-8010",
        "192.0.2.7,icmp/echo,udp/1-65535",
        "0.0.0.0,close",
        "192.0.2.7,cut",
        "2001:db8::7,close,tcp/22,tcp/8000-8010,icmp/echo",
    ] {
        let request = decoded(Access, right).unwrap_or_else(|e| panic!("{right}: {e}"));
        let plain = written(request, Access).unwrap();
        assert!(plain.contains(&data_encoding(right)), "{right}");
    }
    for wrong in [
        "192.0.2.7,tcp/22-22",
        "192.0.2.7,tcp/23-22",
        "192.0.2.7,tcp/1-65536",
        "192.0.2.7,tcp/0-5",
        "192.0.2.7,tcp/22-tcp/23",
        "192.0.2.7,icmp/8",
        "192.0.2.7,icmp/echo-1",
        "192.0.2.7,close,",
        "192.0.2.7,Close",
        "192.0.2.7,close tcp/22",
        "192.0.2.7,tcp/22,close",
        "192.0.2.7,close,cut",
        "close,tcp/22",
    ] {
        assert!(decoded(Access, wrong).is_err(), "{wrong}");
    }
    assert!(decoded(AccessTimeout, "192.0.2.7,tcp/8000-8010").is_ok());
    assert_eq!(
        decoded(AccessTimeout, "192.0.2.7,close"),
        Err(Malformed::Access)
    );
}

#[test]
fn a_close_is_a_plain_access_message_or_none_at_all() {
    for message_type in MessageType::ALL {
        let close = Request::Close {
            allow: Allow::Source,
            ports: Vec::new(),
            cut: true,
        };
        assert_eq!(
            written(close, message_type).is_ok(),
            message_type == MessageType::Access,
            "{message_type:?}"
        );
    }
}
