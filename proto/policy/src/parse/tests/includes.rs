//! Texts of several files, and texts that may read none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::*;

/// Files by path, in the place of a disk.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, String>);

impl Files {
    fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), text.to_owned());
        self
    }
}

impl Source for Files {
    fn read(&self, path: &Path) -> Result<Zeroizing<String>, ReadError> {
        let text = self.0.get(path).cloned().map(Zeroizing::new);
        text.ok_or_else(|| ReadError("no such file".to_owned()))
    }

    fn list_conf(&self, dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
        let files = self.0.keys().rev();
        Ok(files
            .filter(|path| path.parent() == Some(dir))
            .filter(|path| path.extension().is_some_and(|end| end == "conf"))
            .cloned()
            .collect())
    }
}

#[test]
fn an_included_file_holds_whole_stanzas_and_the_including_one_goes_on() {
    let files = Files::default()
        .with("/etc/postern/more.conf", "SOURCE 192.0.2.2\nKEY two\n")
        .with("/etc/postern/d/b.conf", "SOURCE 192.0.2.4\nKEY four\n")
        .with("/etc/postern/d/a.conf", "SOURCE 192.0.2.3\nKEY three\n")
        .with("/etc/postern/d/README", "not read");
    let text = "SOURCE 192.0.2.1\n%include more.conf\n%include_folder /etc/postern/d\nKEY one\n";

    let policy = parse("/etc/postern/access.conf", text, &files).unwrap();

    let keys: Vec<_> = policy
        .stanzas
        .iter()
        .map(|stanza| {
            (
                stanza.number,
                stanza.static_keys()[0].encryption().as_bytes(),
            )
        })
        .collect();
    let expected: [(u32, &[u8]); 4] = [(1, b"one"), (2, b"two"), (3, b"three"), (4, b"four")];
    assert_eq!(keys, expected);
    assert_eq!(policy.included.len(), 3);
}

#[test]
fn mistakes_name_the_included_file() {
    let files = Files::default().with("d/more.conf", "SOURCE ANY\nOPEN_PORTS tcp\n");

    let mistakes = shown(parse(
        "access.conf",
        "%include d/more.conf\nNAME ?\n",
        &files,
    ));

    assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
    assert!(mistakes[0].starts_with("access.conf:2: NAME: "));
    assert!(mistakes[1].starts_with("access.conf:2: SOURCE: "));
    assert!(mistakes[2].starts_with("d/more.conf:2: OPEN_PORTS: `tcp` is not a port"));
}

#[test]
fn includes_nest_three_deep_and_never_into_themselves() {
    let nested = Files::default()
        .with("1", "%include 2\n")
        .with("2", "%include 3\n")
        .with("3", "SOURCE ANY\n");
    let deeper = Files::default()
        .with("1", "%include 2\n")
        .with("2", "%include 3\n")
        .with("3", "%include 4\n")
        .with("4", "SOURCE ANY\n");
    let looped = Files::default().with("1", "%include 1\n");

    assert_eq!(
        parse("0", "%include 1\n", &nested).unwrap().stanzas.len(),
        1
    );
    assert!(shown(parse("0", "%include 1\n", &deeper))[0].contains("nested more than 3 deep"));
    assert!(shown(parse("0", "%include 1\n", &looped))[0].contains("includes itself"));
    assert!(shown(parse("0", "%include 9\n", &looped))[0].contains("cannot read 9: no such file"));
}

#[test]
fn included_keys_close_their_stanza() {
    let files = Files::default()
        .with("k", "# made by hand\nKEY_BASE64 a2V5\nHMAC_KEY hmac\n")
        .with("bad", "KEY k\nOPEN_PORTS tcp/22\n");

    let policy = parse(
        "a",
        "SOURCE ANY\n%include_keys k\nSOURCE ANY\nKEY x\n",
        &files,
    )
    .unwrap();
    let behind = shown(parse(
        "a",
        "SOURCE ANY\n%include_keys k\nOPEN_PORTS tcp/22\n",
        &files,
    ));
    let other = shown(parse("a", "SOURCE ANY\n%include_keys bad\n", &files));
    let nowhere = shown(parse("a", "%include_keys k\n", &files));

    assert_eq!(
        policy.stanzas[0].static_keys()[0].encryption().as_bytes(),
        b"key"
    );
    assert!(behind[0].contains("behind %include_keys"), "{behind:#?}");
    assert_eq!(other, ["bad:2: OPEN_PORTS: only keys stand in such a file"]);
    assert!(nowhere[0].contains("outside of a stanza"));
}

#[test]
fn compiled_text_reads_no_files_and_names_one_user_for_each_key() {
    let public = ExchangeSecret::from_bytes([7; 32]).public();
    let compiled = |text: &str| parse_as(Dialect::Compiled, "policy", text, &NoIncludes);

    let ours = format!("NAME a\nSOURCE ANY\nREQUIRE_USERNAME alice\nUSER_PUBLIC_KEY {public}\n");
    let policy = compiled(&format!("{ours}{ours}")).unwrap();
    assert_eq!(policy.stanzas.len(), 2);
    assert_eq!(
        policy.stanzas[1].key,
        StanzaKey::User {
            user: "alice".into(),
            public
        }
    );

    for text in [
        "%include x\n".to_owned(),
        "%group a b\n".to_owned(),
        "SOURCE ANY\nKEY k\nHOSTS ANY\n".to_owned(),
        "SOURCE ANY\n".to_owned(),
        format!("SOURCE ANY\nUSER_PUBLIC_KEY {public}\n"),
        format!("SOURCE ANY\nREQUIRE_USERNAME a,b\nUSER_PUBLIC_KEY {public}\n"),
        format!("SOURCE ANY\nREQUIRE_USERNAME a\nKEY k\nUSER_PUBLIC_KEY {public}\n"),
        "SOURCE ANY\nREQUIRE_USERNAME a\nUSER_PUBLIC_KEY AAAA\n".to_owned(),
    ] {
        assert_eq!(shown(compiled(&text)).len(), 1, "{text:?}");
    }
}
