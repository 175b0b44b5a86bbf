//! Labels, signatures and what stanzas say of them. Which label a SYN gets is compared with p0f
//! itself in the suite; here are the rules one by one.

use super::*;
use crate::{Dialect, NoIncludes, Policy, Secrets, parse, parse_as};

/// Written for these tests.
const FILE: &str = "\
; comment
classes = unix,win

[mtu]
label = Ethernet
sig = 1500

[tcp:request]
label = g:unix:Linux:
sig = *:64:0:*:mss*44,*:mss,sok,ts,nop,ws:df,id+:0
label = s:unix:Linux:far
sig = 4:64:0:*:mss*44,7:mss,sok,ts,nop,ws:df,id+:0
label = s:!:scanner:
sys = @unix
sig = *:255-:0:1460:1024,0:mss::0
label = s:win:Windows:10
sig = *:128:0:1460:%8192,8:mss,nop,ws,nop,nop,sok:df,id+:*

[http:request]
label = s:!:curl:
sig = *:?:
";

fn file() -> OsSignatures {
    OsSignatures::parse("os.fp", FILE).unwrap()
}

/// What Linux sends over Ethernet.
fn linux() -> Syn {
    let mut options = OptionKinds::default();
    for kind in [
        kinds::MSS,
        kinds::SACK_OK,
        kinds::TIMESTAMP,
        kinds::NOP,
        kinds::SCALE,
    ] {
        assert!(options.push(kind));
    }
    Syn {
        is_v6: false,
        ttl: 57,
        ip_options_len: 0,
        mss: 1460,
        window: 64_240,
        scale: 10,
        options,
        eol_pad: 0,
        quirks: Quirks::DF.and(Quirks::ID_PLUS),
        has_payload: false,
        has_timestamp: true,
        headers_len: 60,
    }
}

fn label(syn: Syn) -> Option<(String, bool)> {
    let file = file();
    let found = file.identify(&syn)?;
    Some((found.label.to_string(), found.is_fuzzy))
}

#[test]
fn a_syn_is_what_the_first_exact_label_says_before_a_generic_and_that_before_a_fuzzy_one() {
    let of = |syn| label(syn).unwrap();
    assert_eq!(of(linux()), ("Linux".to_owned(), false));
    assert_eq!(
        of(Syn {
            scale: 7,
            ..linux()
        }),
        ("Linux far".to_owned(), false)
    );
    // Too far away, or with DF cleared on its way.
    assert_eq!(of(Syn { ttl: 20, ..linux() }), ("Linux".to_owned(), true));
    let quirks = Quirks::ECN;
    assert_eq!(of(Syn { quirks, ..linux() }), ("Linux".to_owned(), true));
    // What no network does.
    let quirks = linux().quirks.and(Quirks::PUSHF_PLUS);
    assert_eq!(label(Syn { quirks, ..linux() }), None);
    assert_eq!(
        label(Syn {
            window: 64_241,
            ..linux()
        }),
        None
    );
}

#[test]
fn version_6_has_no_quirks_of_version_4_and_needs_none() {
    let quirks = Quirks::FLOW;
    let v6 = Syn {
        is_v6: true,
        mss: 1440,
        window: 64_800,
        quirks,
        ..linux()
    };
    // 45 segments: another multiple.
    assert_eq!(label(v6), None);
    let v6 = Syn {
        window: 63_360,
        quirks: Quirks::default(),
        ..v6
    };
    assert_eq!(label(v6), Some(("Linux".to_owned(), false)));
}

#[test]
fn a_program_that_takes_any_time_to_live_is_never_guessed() {
    let mut options = OptionKinds::default();
    options.push(kinds::MSS);
    let syn = Syn {
        ttl: 41,
        window: 1024,
        scale: 0,
        options,
        quirks: Quirks::default(),
        has_timestamp: false,
        headers_len: 44,
        ..linux()
    };
    assert_eq!(label(syn), Some(("scanner".to_owned(), false)));
    let quirks = Quirks::ECN;
    assert_eq!(label(Syn { quirks, ..syn }), None);
}

#[test]
fn a_syn_is_shown_as_a_signature_that_fits_it() {
    let shown = linux().to_string();
    assert_eq!(shown, "4:57+7:0:1460:mss*44,10:mss,sok,ts,nop,ws:df,id+:0");

    let text = format!("[tcp:request]\nlabel = s:unix:Own:\nsig = {shown}\n");
    let file = OsSignatures::parse("own.fp", &text).unwrap();

    let found = file.identify(&linux()).unwrap();
    assert_eq!(
        (found.label.words(), found.is_fuzzy),
        ("Own".to_owned(), false)
    );
}

#[test]
fn every_mistake_of_a_file_has_its_line_and_its_field() {
    let sig = |sig: &str| format!("[tcp:request]\nlabel = s:unix:Linux:\nsig = {sig}\n");
    let fields = [
        ("5:64:0:*:*,*:mss:df:0", "the field version"),
        ("4:0:0:*:*,*:mss:df:0", "the field ttl"),
        ("4:200+56:0:*:*,*:mss:df:0", "the field ttl"),
        ("4:64:256:*:*,*:mss:df:0", "the field options"),
        ("4:64:0:65536:*,*:mss:df:0", "the field mss"),
        ("4:64:0:*:mss*0,*:mss:df:0", "the field window"),
        ("4:64:0:*:%1,*:mss:df:0", "the field window"),
        ("4:64:0:*:*:mss:df:0", "the field window"),
        ("4:64:0:*:*,x:mss:df:0", "the field scale"),
        ("4:64:0:*:*,*:mss,noop:df:0", "the field layout"),
        ("4:64:0:*:*,*:eol+1,mss:df:0", "the field layout"),
        ("4:64:0:*:*,*:mss:fd:0", "the field quirks"),
        ("6:64:0:*:*,*:mss:df:0", "the field quirks"),
        ("4:64:0:*:*,*:mss:flow:0", "the field quirks"),
        ("4:64:0:*:*,*:mss:df:1", "the field payload"),
        ("4:64:0", "the signature has 3 fields"),
    ];
    for (value, expected) in fields {
        let mistakes = OsSignatures::parse("os.fp", &sig(value)).unwrap_err();
        let said = mistakes.to_string();
        assert!(
            said.starts_with(&format!("os.fp:3: sig: {expected}")),
            "{value}: {said}"
        );
    }
    let text = "x\n[tcp:requests]\n[tcp:request]\nsig = 4:64:0:*:*,*:mss:df:0\nlable = a\nlabel = s:unix\n";
    let said = OsSignatures::parse("os.fp", text).unwrap_err().to_string();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "os.fp:1: the line is neither a section nor `key = value`",
            "os.fp:2: `tcp:requests` is no section (did you mean tcp:request?)",
            "os.fp:4: sig: the signature stands below no label (label = s:unix:Linux:6.x)",
            "os.fp:5: `lable` is no key of [tcp:request] (did you mean label?)",
            "os.fp:6: label: the label has fewer than three fields between colons (s:unix:Linux:6.x)",
        ]
    );
}

fn rule(lines: &str) -> OsRule {
    let text = format!("SOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\n{lines}");
    let policy = parse_as(Dialect::Alone, "a", &text, &NoIncludes).unwrap();
    policy.stanzas[0].os.as_deref().unwrap().clone()
}

fn read(text: &str) -> Policy {
    parse("a", text, &NoIncludes).unwrap()
}

#[test]
fn a_stanza_names_systems_with_or_without_their_flavor_or_by_an_expression() {
    let file = file();
    let accepted = |lines: &str| {
        let rule = rule(lines);
        let labels = file.labels().filter(|label| rule.accepts(label));
        labels.map(OsLabel::words).collect::<Vec<_>>()
    };
    assert_eq!(accepted("REQUIRE_OS linux\n"), ["Linux", "Linux far"]);
    assert_eq!(
        accepted("REQUIRE_OS Linux:far, Windows\n"),
        ["Linux far", "Windows 10"]
    );
    assert_eq!(accepted("REQUIRE_OS Linux far\n"), ["Linux far"]);
    assert_eq!(accepted("REQUIRE_OS s:win:Windows:10\n"), ["Windows 10"]);
    assert_eq!(
        accepted("REQUIRE_OS_REGEX ^(linux|w.*10$)\n"),
        ["Linux", "Linux far", "Windows 10"]
    );
    // Both must hold.
    assert_eq!(
        accepted("REQUIRE_OS Linux\nREQUIRE_OS_REGEX far\n"),
        ["Linux far"]
    );
    assert_eq!(
        rule("REQUIRE_OS Linux, Linx, BeOS\nREQUIRE_OS_REGEX ^x\n").unknown_to(&file),
        ["Linx", "BeOS", "^x"]
    );
}

#[test]
fn what_a_stanza_requires_is_printed_and_reads_back() {
    let text = "NAME n\nSOURCE ANY\nHOSTS ANY\nREQUIRE_OS Linux , Mac OS X:10.x,Linux\nREQUIRE_OS_REGEX [34]\\.x\n";
    let policy = read(text);

    let printed = policy.print(Secrets::Show);

    assert!(
        printed.contains("REQUIRE_OS Linux, Mac OS X:10.x\nREQUIRE_OS_REGEX [34]\\.x\n"),
        "{printed}"
    );
    assert_eq!(read(&printed), policy);
}

#[test]
fn a_value_that_names_no_system_is_a_mistake_and_a_slip_of_the_pen_a_warning() {
    let text = |line: &str| format!("NAME n\nSOURCE ANY\nHOSTS ANY\nOPEN_PORTS tcp/22\n{line}\n");
    for (line, expected) in [
        (
            "REQUIRE_OS Linux,",
            "a:5: REQUIRE_OS: the value names no operating system",
        ),
        (
            "REQUIRE_OS_REGEX (",
            "a:5: REQUIRE_OS_REGEX: the value is no regular expression",
        ),
        (
            "REQUIRE_OS Lin\u{fc}x",
            "a:5: REQUIRE_OS: the value has other than printable",
        ),
    ] {
        let said = parse("a", &text(line), &NoIncludes)
            .unwrap_err()
            .to_string();
        assert!(said.starts_with(expected), "{said}");
    }
    let policy = read(&text("REQUIRE_OS Linx:3.x, Windows"));
    let warnings: Vec<_> = policy.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["a:5: REQUIRE_OS: no usual file of signatures names `Linx` (did you mean Linux?)"]
    );
}
