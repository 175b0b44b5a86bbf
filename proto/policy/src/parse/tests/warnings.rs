//! What is taken and doubtful.

use super::*;

#[test]
fn words_that_other_tools_write_are_passed_over_with_a_warning() {
    let text = "SOURCE ANY\nkeytype Base 64 key\nhkeytype Base 64 key\nKEY k\nHMAC_KEY h\n\
                SUDO_EXE /usr/bin/sudo\nENABLE_FORWARD_ACCESS N;\nOPEN_PORTS tcp/22\n";

    let policy = parse("access.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"));

    let warnings: Vec<_> = policy.warnings.iter().map(ToString::to_string).collect();
    for line in [
        "access.conf:2: keytype: the line has no effect",
        "access.conf:3: hkeytype: the line has no effect",
        "access.conf:6: SUDO_EXE: the line has no effect",
    ] {
        assert!(
            warnings.iter().any(|said| said == line),
            "{line}: {warnings:?}"
        );
    }
    let on = text.replace("ACCESS N;", "ACCESS Y;");
    assert!(parse("access.conf", &on, &NoIncludes).is_err());
}

#[test]
fn doubtful_things_are_warnings() {
    let warned = |text: &str| -> Vec<String> {
        let warnings = alone(text).warnings;
        warnings
            .iter()
            .map(|warning| warning.keyword.as_deref().unwrap_or_default().to_owned())
            .collect()
    };
    let sound = "SOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\n";

    assert_eq!(warned(sound), [""; 0]);
    assert_eq!(warned(""), [""]);
    assert_eq!(
        warned("SOURCE ANY\nKEY k\nOPEN_PORTS tcp/22\n"),
        ["HMAC_KEY"]
    );
    assert_eq!(warned("SOURCE ANY\nKEY k\nHMAC_KEY h\n"), ["OPEN_PORTS"]);
    for (line, keyword) in [
        ("ENCRYPTION_MODE ECB", "ENCRYPTION_MODE"),
        ("FW_ACCESS_TIMEOUT 600", "FW_ACCESS_TIMEOUT"),
        ("FW_ACCESS_TIMEOUT 0", "FW_ACCESS_TIMEOUT"),
        ("MAX_FW_TIMEOUT 0", "MAX_FW_TIMEOUT"),
        ("RESTRICT_PORTS tcp/22", "RESTRICT_PORTS"),
        ("ENABLE_CMD_EXEC Y", "ENABLE_CMD_EXEC"),
        ("CMD_EXEC_USER nobody", "CMD_EXEC_USER"),
    ] {
        assert_eq!(warned(&format!("{sound}{line}\n")), [keyword], "{line}");
    }
}

#[test]
fn a_key_shared_by_hosts_is_a_warning_in_a_fleet() {
    let shared = |hosts: &str| {
        let text = format!("NAME a\n{hosts}\nSOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\n");
        policy(&text).warnings.len()
    };

    assert_eq!(shared(""), 1);
    assert_eq!(shared("HOSTS ANY"), 1);
    assert_eq!(shared("HOSTS role=web"), 1);
    assert_eq!(shared("HOSTS name=web-1\nHOSTS name=web-2"), 1);
    assert_eq!(shared("HOSTS name=web-1"), 0);
}

#[test]
fn a_prefix_around_the_address_has_sane_bounds_and_a_wide_one_is_warned_of() {
    let stanza =
        |lines: &str| format!("NAME a\nHOSTS name=a\nSOURCE ANY\nOPEN_PORTS tcp/22\n{lines}\n");
    let parsed = |lines: &str| parse("fleet.conf", &stanza(lines), &NoIncludes);
    for line in [
        "OPEN_PREFIX 0",
        "OPEN_PREFIX 15",
        "OPEN_PREFIX 33",
        "OPEN_PREFIX",
        "OPEN_PREFIX 24\nOPEN_PREFIX 24",
        "OPEN_PREFIX6 31",
        "OPEN_PREFIX6 129",
        "OPEN_PREFIX6 56x",
        "OPEN_PACKET_SOURCE perhaps",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }

    assert!(
        parsed("OPEN_PREFIX 24\nOPEN_PREFIX6 56")
            .unwrap()
            .warnings
            .is_empty()
    );
    let wide = parsed("OPEN_PREFIX 16\nOPEN_PREFIX6 32\nOPEN_PACKET_SOURCE Y").unwrap();
    assert_eq!(wide.warnings.len(), 3, "{:?}", wide.warnings);
}
