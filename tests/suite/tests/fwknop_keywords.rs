//! Every keyword of access.conf, in one file that real fwknopd and our agent read, and with packets of
//! the stock client that must and must not pass.

use std::collections::BTreeSet;

use harness::in_lab;
use suite::Beside;

/// Lines of a stanza, and what a knock says to it; what the knock opens is its number's port.
struct Case {
    lines: &'static str,
    knock: &'static [&'static str],
    opens: bool,
}

const fn opens(lines: &'static str, knock: &'static [&'static str]) -> Case {
    Case {
        lines,
        knock,
        opens: true,
    }
}

const fn refused(lines: &'static str, knock: &'static [&'static str]) -> Case {
    Case {
        lines,
        knock,
        opens: false,
    }
}

/// `KEY`, `HMAC`, `PORT` and `DIR` stand for the stanza's own. Where the lines name no key, they are added.
const CASES: &[Case] = &[
    opens("SOURCE 192.0.2.20", &[]),
    refused("SOURCE 192.0.2.99", &[]),
    opens("SOURCE 198.51.100.1, 192.0.2.0/24", &[]),
    opens("SOURCE 192.0.2.99/255.255.255.0", &[]),
    opens("DESTINATION 192.0.2.0/24", &[]),
    refused("DESTINATION 198.51.100.0/24", &[]),
    opens("OPEN_PORTS tcp/PORT", &[]),
    refused("OPEN_PORTS tcp/9", &[]),
    refused("RESTRICT_PORTS tcp/PORT", &[]),
    opens("RESTRICT_PORTS tcp/9", &[]),
    opens("KEY: KEY;\nHMAC_KEY: HMAC;", &[]),
    refused("KEY other\nHMAC_KEY HMAC", &[]),
    refused("KEY KEY\nHMAC_KEY other", &[]),
    opens(
        "KEY_BASE64 YmFzZTY0LWtleQ==\nHMAC_KEY HMAC",
        &["--key-rijndael", "base64-key"],
    ),
    opens(
        "KEY KEY\nHMAC_KEY_BASE64 YmFzZTY0LWhtYWM=",
        &["--key-hmac", "base64-hmac"],
    ),
    opens("HMAC_DIGEST_TYPE sha512", &["--hmac-digest-type", "sha512"]),
    refused("HMAC_DIGEST_TYPE sha512", &[]),
    opens("ENCRYPTION_MODE CTR", &["-M", "ctr"]),
    refused("ENCRYPTION_MODE CTR", &[]),
    opens(
        "FW_ACCESS_TIMEOUT 1000\nMAX_FW_TIMEOUT 2000",
        &["-f", "600"],
    ),
    opens("REQUIRE_USERNAME alice", &["-U", "alice"]),
    refused("REQUIRE_USERNAME alice", &["-U", "bob"]),
    opens(
        "REQUIRE_USERNAME alice@corp.example",
        &["-U", "alice@corp.example"],
    ),
    opens("REQUIRE_USERNAME root bob", &["-U", "root bob"]),
    refused("REQUIRE_USERNAME root bob", &["-U", "root"]),
    opens("REQUIRE_SOURCE_ADDRESS Y", &[]),
    refused("REQUIRE_SOURCE_ADDRESS Y", &["-s"]),
    refused("REQUIRE_SOURCE yes", &["-s"]),
    opens("REQUIRE_SOURCE_ADDRESS N", &["-s"]),
    opens("ACCESS_EXPIRE 12/31/2035", &[]),
    refused("ACCESS_EXPIRE 12/31/2020", &[]),
    opens("ACCESS_EXPIRE 1/1/36", &[]),
    refused("ACCESS_EXPIRE 1/1/20 23:59:59", &[]),
    opens("ACCESS_EXPIRE_EPOCH 2000000000", &[]),
    refused("ACCESS_EXPIRE_EPOCH 1000000000", &[]),
    opens("%include_keys DIR/keys.PORT", &[]),
    // Of two lines the last counts, and a key does not lose its HMAC.
    opens("KEY abc\nHMAC_KEY HMAC\nKEY KEY", &[]),
    refused("KEY abc\nHMAC_KEY HMAC\nKEY KEY", &["no HMAC"]),
    refused(
        "KEY abc\nHMAC_KEY HMAC\nKEY xyz",
        &["--key-rijndael", "abc"],
    ),
    opens("OPEN_PORTS tcp/9\nOPEN_PORTS tcp/PORT", &[]),
    refused("OPEN_PORTS tcp/PORT\nOPEN_PORTS tcp/9", &[]),
    refused(
        "ACCESS_EXPIRE 12/31/2035\nACCESS_EXPIRE_EPOCH 1000000000",
        &[],
    ),
    opens(
        "ACCESS_EXPIRE_EPOCH 1000000000\nACCESS_EXPIRE 12/31/2035",
        &[],
    ),
    // What stands behind a passphrase is a part of it.
    opens(
        "KEY tail PORT # c\nHMAC_KEY HMAC",
        &["--key-rijndael", "tail PORT # c"],
    ),
    refused(
        "KEY tail PORT # c\nHMAC_KEY HMAC",
        &["--key-rijndael", "tail PORT"],
    ),
    opens(
        "KEY blank PORT ;\nHMAC_KEY HMAC",
        &["--key-rijndael", "blank PORT "],
    ),
    // Words of other tools and of fwknop 1.x.
    opens(
        "keytype Base 64 key\nhkeytype Base 64 key\nSUDO_EXE /usr/bin/sudo",
        &[],
    ),
    opens("ENABLE_FORWARD_ACCESS N;\nPERMIT_CLIENT_TIMEOUT N", &[]),
];

#[test]
fn every_keyword_of_access_conf_decides_as_on_fwknopd() {
    in_lab(|lab| {
        let dir = tempfile::tempdir()?;
        let (mut access, mut wanted) = (String::new(), BTreeSet::new());
        let mut knocks = Vec::new();
        for (case, port) in CASES.iter().zip(2000_u16..) {
            let own = |text: &str| {
                text.replace("KEY: KEY", &format!("KEY: key-{port}"))
                    .replace("KEY KEY", &format!("KEY key-{port}"))
                    .replace("KEY: HMAC", &format!("KEY: hmac-{port}"))
                    .replace("KEY HMAC", &format!("KEY hmac-{port}"))
                    .replace("PORT", &port.to_string())
                    .replace("DIR", &dir.path().display().to_string())
            };
            let lines = case.lines.replace("_PORTS", "_P__TS");
            let lines = own(&lines).replace("_P__TS", "_PORTS");
            access.push_str(&stanza(&lines, port));
            let keys = format!("KEY key-{port}\nHMAC_KEY hmac-{port}\n");
            std::fs::write(dir.path().join(format!("keys.{port}")), keys)?;
            let knock: Vec<_> = case.knock.iter().map(|word| own(word)).collect();
            let address = if knock.iter().any(|word| word == "-s") {
                "192.0.2.20"
            } else {
                "203.0.113.9"
            };
            if case.opens {
                wanted.insert(format!("{address} tcp/{port}"));
            }
            knocks.push(words(&knock, port));
        }
        let beside = Beside::start(lab, &access, "", &[])?;

        for knock in &knocks {
            let knock: Vec<_> = knock.iter().map(String::as_str).collect();
            beside.knock(&knock)?;
        }

        beside.both_opened(&wanted)
    });
}

#[test]
fn stanzas_of_included_files_and_folders_open_as_on_fwknopd() {
    in_lab(|lab| {
        let dir = tempfile::tempdir()?;
        let root = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("d"))?;
        std::fs::write(dir.path().join("one"), stanza("", 2001))?;
        std::fs::write(dir.path().join("d/two.conf"), stanza("", 2002))?;
        std::fs::write(dir.path().join("d/three"), stanza("", 2003))?;
        let access = format!("%include {root}/one\n%include_folder {root}/d\n");
        let beside = Beside::start(lab, &access, "", &[])?;

        for port in 2001..=2003 {
            let knock = words(&[], port);
            let knock: Vec<_> = knock.iter().map(String::as_str).collect();
            beside.knock(&knock)?;
        }

        let wanted = [2001, 2002].map(|port| format!("203.0.113.9 tcp/{port}"));
        beside.both_opened(&BTreeSet::from(wanted))
    });
}

/// A stanza with what the lines do not say.
fn stanza(lines: &str, port: u16) -> String {
    let has = |word: &str| lines.lines().any(|line| line.starts_with(word));
    let mut stanza = String::new();
    if !has("SOURCE") {
        stanza.push_str("SOURCE ANY\n");
    }
    let keys = format!("KEY key-{port}\nHMAC_KEY hmac-{port}\n");
    // Nothing ends while the rest is still sent.
    let lasting = "MAX_FW_TIMEOUT 3600\nFW_ACCESS_TIMEOUT 3600\n";
    if has("SOURCE") {
        stanza.push_str(&format!("{lines}\n{keys}{lasting}"));
        return stanza;
    }
    if !has("FW_ACCESS_TIMEOUT") {
        stanza.push_str(lasting);
    }
    if has("KEY") || has("%include_keys") {
        stanza.push_str(&format!("{lines}\n"));
    } else {
        stanza.push_str(&format!("{keys}{lines}\n"));
    }
    stanza
}

/// What the stock client is told.
fn words(knock: &[String], port: u16) -> Vec<String> {
    let has = |word: &str| knock.iter().any(|own| own == word);
    let mut words = vec!["-A".to_owned(), format!("tcp/{port}")];
    if !has("-s") {
        words.extend(["-a", "203.0.113.9"].map(str::to_owned));
    }
    if !has("--key-rijndael") {
        words.extend(["--key-rijndael".to_owned(), format!("key-{port}")]);
    }
    if !has("--key-hmac") && !has("no HMAC") {
        words.extend(["--key-hmac".to_owned(), format!("hmac-{port}")]);
    }
    words.extend(knock.iter().filter(|word| *word != "no HMAC").cloned());
    words
}
