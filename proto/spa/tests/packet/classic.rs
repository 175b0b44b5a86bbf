//! The oldest message there is: the one printed in "Single Packet Authorization with Fwknop" (2005).

use spa::{Allow, DigestType, Malformed, Message, MessageType, Request};

/// As the article prints it, its own digest included (docs/wire-format.md). Base64 keeps its padding.
const ARTICLE: &str =
    "5628557594764037:bWJy:1132121405:0.9.4:1:MC4wLjAuMCx0Y3AvMjI=:q8vIpYY6q3qEflaFtU3Jag";

#[test]
fn the_message_of_the_founding_article_is_read() {
    let (message, decoded) = Message::decode(ARTICLE.as_bytes()).unwrap();

    assert_eq!(
        message,
        Message {
            random: *b"5628557594764037",
            username: "mbr".to_owned(),
            timestamp_secs: 1_132_121_405,
            version: "0.9.4".to_owned(),
            message_type: MessageType::Access,
            request: Request::Access {
                allow: Allow::Source,
                ports: vec!["tcp/22".parse().unwrap()],
            },
            nat_access: None,
            client_timeout_secs: 0,
            digest_type: DigestType::Md5,
        }
    );
    assert_eq!(decoded.message_text, "0.0.0.0,tcp/22");
}

#[test]
fn a_change_to_the_message_of_the_founding_article_is_refused() {
    let changed = ARTICLE.replace("1132121405", "1132121406");

    let refused = Message::decode(changed.as_bytes());

    assert_eq!(refused.unwrap_err(), Malformed::DigestMismatch);
}
