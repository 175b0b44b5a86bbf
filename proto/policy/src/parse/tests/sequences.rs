//! KNOCK_SEQUENCE: where it may stand, and how it is written.

use super::*;
use crate::Secrets;

#[test]
fn a_stanza_takes_sequences_where_it_has_keys_that_prove_something() {
    let text = "NAME n\nSOURCE ANY\nHOSTS ANY\nOPEN_PORTS tcp/22\nKNOCK_SEQUENCE Y\n";
    let read = policy(text);
    assert!(read.stanzas[0].knock_sequence);
    let printed = read.print(Secrets::Show);
    assert!(printed.contains("\nKNOCK_SEQUENCE Y\n"), "{printed}");
    assert_eq!(policy(&printed), read);
    assert!(!policy(&text.replace("SEQUENCE Y", "SEQUENCE N")).stanzas[0].knock_sequence);

    let own = |lines: &str| format!("SOURCE ANY\nOPEN_PORTS tcp/22\nKNOCK_SEQUENCE Y\n{lines}");
    assert!(alone(&own("KEY k\nHMAC_KEY h\n")).stanzas[0].knock_sequence);
    for (lines, expected) in [
        (
            "KEY k\n",
            "a:3: KNOCK_SEQUENCE: a knock sequence needs an HMAC key",
        ),
        (
            "KEY k\nHMAC_KEY h\nREQUIRE_USERNAME bob\n",
            "a:3: KNOCK_SEQUENCE: a sequence names no user",
        ),
        (
            "GPG_HOME_DIR /g\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID 1234ABCD\n",
            "a:3: KNOCK_SEQUENCE: OpenPGP has no key",
        ),
    ] {
        let said = shown(parse_as(Dialect::Alone, "a", &own(lines), &NoIncludes));
        assert!(
            said.iter().any(|said| said.starts_with(expected)),
            "{said:?}"
        );
    }
}
