//! Tokens: what is read is written alike, and nothing else is.

use fleet::Token;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(token) = text.parse::<Token>() else {
        return;
    };
    let again: Token = token
        .to_string()
        .parse()
        .expect("what we wrote can be read");
    assert_eq!(again.to_string(), token.to_string());
    assert!(
        !format!("{token:?}").contains(&format!("{:?}", token.secret)),
        "a secret in a log"
    );
}
