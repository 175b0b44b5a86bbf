//! Policies, and packets sealed with their keys.

use std::sync::Arc;

use gate::{CompiledPolicy, SharedKeys};
use spa::{Allow, DigestType, Keys, Message, MessageType, NatAccess, Request, Secret};

use crate::host::at;

pub(crate) const NOW_SECS: u64 = 1_800_000_000;

/// Ports for one key, commands for another.
pub(crate) const PORTS_AND_COMMANDS: &str = "\
    NAME ports\nSOURCE ANY\nOPEN_PORTS tcp/22,tcp/80\nKEY ports\nHMAC_KEY ports-hmac\n\
    FW_ACCESS_TIMEOUT 30\n\
    NAME commands\nSOURCE ANY\nKEY commands\nHMAC_KEY commands-hmac\nENABLE_CMD_EXEC Y\n";
/// One port less, and no commands.
pub(crate) const ONE_PORT: &str = "\
    NAME ports\nSOURCE ANY\nOPEN_PORTS tcp/22\nKEY ports\nHMAC_KEY ports-hmac\n\
    FW_ACCESS_TIMEOUT 30\n";
/// For somebody else.
pub(crate) const OTHERS: &str = "SOURCE ANY\nKEY other\nHMAC_KEY other-hmac\n";

pub(crate) fn compiled(access: &str, generation: u64, shared: SharedKeys) -> Arc<CompiledPolicy> {
    let policy = policy::parse("test", access, &policy::NoIncludes).unwrap();
    let compiled = CompiledPolicy::new(&Arc::new(policy), None, generation, shared, at(0));
    Arc::new(compiled.unwrap())
}

/// Asks to open these ports for the packet's source, for so long; 0 for the stanza's 30 seconds.
pub(crate) fn knock(number: u64, ports: &str, timeout_secs: u32, secs: u64) -> String {
    knock_by("alice", number, ports, timeout_secs, secs)
}

/// The same by somebody with the same key.
pub(crate) fn knock_of(user: &str, number: u64, ports: &str, timeout_secs: u32) -> String {
    knock_by(user, number, ports, timeout_secs, 0)
}

fn knock_by(user: &str, number: u64, ports: &str, timeout_secs: u32, secs: u64) -> String {
    let request = Request::Access {
        allow: Allow::Source,
        ports: ports.split(',').map(|port| port.parse().unwrap()).collect(),
    };
    let message_type = if timeout_secs > 0 {
        MessageType::AccessTimeout
    } else {
        MessageType::Access
    };
    let mut message = message(number, message_type, request, secs);
    message.client_timeout_secs = timeout_secs;
    user.clone_into(&mut message.username);
    spa::seal(&message, &keys("ports"), salt(number)).unwrap()
}

/// Asks to open these ports for an address, whatever the packet's source.
pub(crate) fn knock_for(address: &str, number: u64, ports: &str) -> String {
    let request = Request::Access {
        allow: Allow::Address(address.parse().unwrap()),
        ports: ports.split(',').map(|port| port.parse().unwrap()).collect(),
    };
    let message = message(number, MessageType::Access, request, 0);
    spa::seal(&message, &keys("ports"), salt(number)).unwrap()
}

/// Asks to close these ports for the packet's source, or everything.
pub(crate) fn close_of(user: &str, number: u64, ports: &str, cut: bool, secs: u64) -> String {
    sealed_close(user, number, ports, cut, secs, &keys("ports"))
}

/// The same under other keys.
pub(crate) fn close_under(keys: &Keys, number: u64) -> String {
    sealed_close("alice", number, "", true, 0, keys)
}

fn sealed_close(user: &str, number: u64, ports: &str, cut: bool, secs: u64, keys: &Keys) -> String {
    let ports = ports.split(',').filter(|port| !port.is_empty());
    let request = Request::Close {
        allow: Allow::Source,
        ports: ports.map(|port| port.parse().unwrap()).collect(),
        cut,
    };
    let mut message = message(number, MessageType::Access, request, secs);
    user.clone_into(&mut message.username);
    spa::seal(&message, keys, salt(number)).unwrap()
}

/// Asks to open tcp/22 under this name and these keys.
pub(crate) fn knock_as(username: &str, number: u64, keys: &Keys) -> String {
    let request = Request::Access {
        allow: Allow::Source,
        ports: vec!["tcp/22".parse().unwrap()],
    };
    let mut message = message(number, MessageType::Access, request, 0);
    username.clone_into(&mut message.username);
    spa::seal(&message, keys, salt(number)).unwrap()
}

/// Asks to have packets to these ports led to another place, in a message of this type.
pub(crate) fn nat_knock(number: u64, kind: u8, ports: &str, host: &str, port: u16) -> String {
    nat_knock_of("alice", number, kind, ports, (host, port))
}

/// The same of this user.
pub(crate) fn nat_knock_of(
    user: &str,
    number: u64,
    kind: u8,
    ports: &str,
    (host, port): (&str, u16),
) -> String {
    let request = Request::Access {
        allow: Allow::Source,
        ports: ports.split(',').map(|port| port.parse().unwrap()).collect(),
    };
    let mut message = message(number, kind.try_into().unwrap(), request, 0);
    user.clone_into(&mut message.username);
    message.nat_access = Some(NatAccess {
        host: host.to_owned(),
        port,
    });
    spa::seal(&message, &keys("ports"), salt(number)).unwrap()
}

/// Asks to run a command.
pub(crate) fn command(number: u64, text: &str, secs: u64) -> String {
    let request = Request::Command {
        allow: Allow::Source,
        command: text.to_owned(),
    };
    let message = message(number, MessageType::Command, request, secs);
    spa::seal(&message, &keys("commands"), salt(number)).unwrap()
}

fn message(number: u64, message_type: MessageType, request: Request, secs: u64) -> Message {
    Message {
        random: *format!("{number:016}").as_bytes().first_chunk().unwrap(),
        username: "alice".to_owned(),
        timestamp_secs: NOW_SECS + secs,
        version: Message::VERSION.to_owned(),
        message_type,
        request,
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}

fn salt(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(crate) fn keys(word: &str) -> Keys {
    let encryption = spa::EncryptionKey::new(Secret::from_passphrase(word)).unwrap();
    let hmac = spa::HmacKey::new(Secret::from_passphrase(format!("{word}-hmac"))).unwrap();
    let hmac = Some((hmac, DigestType::Sha256));
    Keys::new(encryption, spa::EncryptionMode::Cbc, hmac).unwrap()
}
