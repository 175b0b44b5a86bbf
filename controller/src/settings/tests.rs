//! What the file may say, and what is said of its mistakes.

use super::*;

#[test]
fn what_init_writes_reads_back() {
    let text = Settings::text(("prod", "controller.example:7443"), None).unwrap();

    let settings = Settings::parse(&text).unwrap();

    assert_eq!(settings.listen, Listen::Everywhere(7443));
    assert_eq!(settings.policy_valid, Some(Duration::from_secs(604_800)));
}

#[test]
fn every_mistake_is_named_at_once_with_its_line_and_key() {
    let text = "fleet = 'a b'\naddress = 'x'\npolicy_valid = 'soon'\n\nlisten = '1'";

    let invalid = Settings::parse(text).unwrap_err();

    let said = invalid.in_file(Path::new("/etc/controller.toml"));
    let begins: Vec<_> = said
        .lines()
        .map(|line| line.split(": `").next().unwrap())
        .collect();
    assert_eq!(
        begins,
        [
            "/etc/controller.toml:1: fleet",
            "/etc/controller.toml:2: address",
            "/etc/controller.toml:3: policy_valid",
            "/etc/controller.toml:5: listen",
        ]
    );
}

#[test]
fn how_long_the_log_is_kept_and_how_fast_it_is_filled_can_be_said() {
    let parse = |more: &str| Settings::parse(&format!("fleet = 'a'\naddress = 'x:1'\n{more}"));
    let usual = parse("").unwrap();
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    assert_eq!(usual.retention.keep, days(400));
    assert_eq!(usual.retention.keep_noise, days(30));
    assert_eq!(usual.event_quota, Some(EVENT_QUOTA));

    let other = parse(
        "[retention]\nkeep = 'off'\nkeep_noise = '7d'\n[quota]\nevent_bytes_per_second = 0\n",
    );
    let other = other.unwrap();
    assert_eq!((other.retention.keep, other.event_quota), (None, None));
    assert_eq!(other.retention.keep_noise, days(7));

    let wrong = "[retention]\nkep = '1d'\nkeep_noise = 'soon'\n[quota]\nevent_burst_bytes = -1\n";
    let wrong = parse(wrong).unwrap_err().to_string();
    for said in [
        "retention.kep: unknown setting; did you mean keep?",
        "retention.keep_noise: `soon` is no time",
        "quota.event_burst_bytes: less than 0",
    ] {
        assert!(wrong.contains(said), "{wrong}");
    }
}

#[test]
fn every_unknown_setting_is_refused_with_the_one_that_was_meant() {
    let text = "fleet = 'a'\naddress = 'x:1'\npolicy_valdi = '7d'\n[metrics]\nlsten = ''\n\
                [[sink]]\nname = 's'\ntype = 'file'\n[[sink]]\nforamt = ''\ncolour = ''\n";

    let said = Settings::parse(text).unwrap_err().to_string();

    let [one, two, three, four] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert_eq!(
        one,
        "line 3: policy_valdi: unknown setting; did you mean policy_valid?"
    );
    assert_eq!(
        two,
        "line 5: metrics.lsten: unknown setting; did you mean listen?"
    );
    assert_eq!(
        three,
        "line 10: sink[2].foramt: unknown setting; did you mean format?"
    );
    assert!(four.starts_with("line 11: sink[2].colour: unknown setting; there are name, type"));
}

#[test]
fn an_unknown_setting_keeps_no_wrong_value_from_being_named() {
    let text = "fleet = 'a'\naddress = 'x:1'\nlisten = '9464'\ncolour = 'red'\n[[sink]]\nname = 's'\n\
                type = 'webhok'\nkinds = ['refusd']\nalarm_after = 'soon'\nsize = 3\n";

    let said = Settings::parse(text).unwrap_err().to_string();

    let places: Vec<&str> = said
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "listen",
            "colour",
            "sink[1].type",
            "sink[1].kinds",
            "sink[1].alarm_after",
            "sink[1].size"
        ],
        "{said}"
    );
}

#[test]
fn what_is_no_toml_and_what_is_missing_is_named_with_its_line() {
    for (text, said) in [
        ("fleet = 'a'\naddress = \n", "line 2: "),
        ("fleet = 'a'", "line 1: missing field `address`"),
        (
            "fleet = 1\naddress = 'x:1'",
            "line 1: invalid type: integer `1`, expected a string",
        ),
    ] {
        let found = Settings::parse(text).unwrap_err().to_string();
        assert!(found.starts_with(said), "{found}");
    }
}

fn sink(text: &str) -> Result<SinkSettings, String> {
    let text = format!("fleet = 'a'\naddress = 'x:1'\n[[sink]]\nname = 's'\n{text}");
    match Settings::parse(&text) {
        Ok(mut settings) => Ok(settings.sinks.remove(0)),
        Err(invalid) => Err(invalid.to_string()),
    }
}

#[test]
fn each_type_of_sink_is_read_with_what_is_usual() {
    let webhook = sink("type = 'webhook'\nurl = 'https://siem.example/x'").unwrap();
    let syslog = sink("type = 'syslog'\naddress = 'log.example'").unwrap();
    let clear = sink("type = 'syslog'\naddress = '2001:db8::1'\ntransport = 'udp'").unwrap();
    let file = sink("type = 'file'\npath = 'events'").unwrap();
    let otlp = sink("type = 'otlp'\nurl = 'https://c:4317'\nkinds = ['read', 'sink']").unwrap();

    assert_eq!(webhook.from, Begin::Now);
    assert_eq!(webhook.target.place(), "https://siem.example/x");
    assert_eq!(syslog.target.place(), "log.example:6514 (TLS)");
    assert_eq!(clear.target.place(), "[2001:db8::1]:514 (UDP, in clear)");
    assert_eq!(
        file.under(Path::new("/data")).target.place(),
        "/data/events"
    );
    assert_eq!(otlp.kinds.unwrap().len(), 2);
}

#[test]
fn what_a_sink_cannot_be_is_named() {
    for (text, said) in [
        (
            "type = 'webhok'",
            "sink[1].type: `webhok` is no type of sink; did you mean webhook?",
        ),
        (
            "type = 'webhook'",
            "sink[1].url: a sink of type webhook needs it",
        ),
        ("type = 'webhook'\nurl = 'siem'", "sink[1].url: not a URL"),
        (
            "type = 'webhook'\nurl = 'https://me:secret@siem'",
            "sink[1].url: not a URL",
        ),
        (
            "type = 'file'\npath = 'x'\nca = 'y'",
            "sink[1].ca: a sink of type file has no such",
        ),
        (
            "type = 'syslog'\naddress = 'x'\nsecret_file = 'y'",
            "sink[1].secret_file: a sink of",
        ),
        (
            "type = 'syslog'\naddress = 'x'\ntransport = 'tcp'\nca = 'y'",
            "there is no TLS",
        ),
        (
            "type = 'file'\npath = 'x'\nkinds = ['grant-opend']",
            "did you mean grant-opened?",
        ),
        (
            "type = 'file'\npath = 'x'\nbatch = 0",
            "sink[1].batch: not a number from 1",
        ),
        (
            "type = 'file'\npath = 'x'\nformat = 'xml'",
            "`xml` is none of json, ocsf",
        ),
        (
            "type = 'otlp'\nurl = 'https://c'\nkey = 'x'",
            "its certificate is not named",
        ),
        (
            "type = 'webhook'\nurl = 'https://c'\nheader = 'X-Key:'",
            "`token_file` has the rest of it",
        ),
        (
            "type = 'file'\npath = 'x'\n[[sink]]\nname = 's'\ntype = 'file'\npath = 'x'",
            "line 8: sink[2].name: another sink is called `s`",
        ),
    ] {
        let found = sink(text).unwrap_err();
        assert!(found.contains(said), "{text}\n{found}");
    }
}

#[test]
fn a_key_in_a_url_is_not_shown_and_a_token_that_goes_in_clear_is_warned_of() {
    let webhook =
        |url: &str, more: &str| sink(&format!("type = 'webhook'\nurl = '{url}'\n{more}")).unwrap();
    let token = "token_file = 'token'\n";

    let open = webhook("http://siem.example:8080/in?key=QSECRET", token);
    assert_eq!(
        open.target.place(),
        "http://siem.example:8080/in?… (in clear)"
    );
    assert!(
        open.warning()
            .unwrap()
            .contains("its token goes over the network")
    );
    let query = webhook("http://siem.example/in?key=QSECRET", "").warning();
    assert!(query.unwrap().contains("the query of its URL"));
    for (url, more) in [
        ("https://siem.example/in?key=QSECRET", token),
        ("http://127.0.0.1:8080/in", token),
        ("http://[::1]/in", token),
        ("http://localhost/in", token),
        ("http://siem.example/in", ""),
    ] {
        assert_eq!(webhook(url, more).warning(), None, "{url}");
    }
    let plain = webhook("https://siem.example/in", "").target.place();
    assert_eq!(plain, "https://siem.example/in");
}

#[test]
fn how_old_keys_may_be_and_whether_they_are_refused_can_be_said() {
    let parse = |more: &str| Settings::parse(&format!("fleet = 'a'\naddress = 'x:1'\n{more}"));
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    let usual = parse("").unwrap().identity;
    assert_eq!((usual.max_age, usual.max_absence), (days(365), days(90)));
    assert!(!usual.refuse);

    let other = parse("[identity]\nmax_age = 'off'\nmax_absence = '7d'\nrefuse = true\n");
    let other = other.unwrap().identity;

    assert_eq!((other.max_age, other.max_absence), (None, days(7)));
    assert!(other.refuse);
    let wrong = parse("[identity]\nmax_ag = '1d'\nmax_absence = 'soon'\n");
    let wrong = wrong.unwrap_err().to_string();
    for said in [
        "did you mean max_age?",
        "identity.max_absence: `soon` is no time",
    ] {
        assert!(wrong.contains(said), "{wrong}");
    }
}

#[test]
fn the_controllers_of_a_fleet_are_addresses_and_this_one_is_among_them() {
    let read = |list: &str| {
        let text = format!("fleet = 'f'\naddress = 'a.example:7443'\ncontrollers = {list}\n");
        Settings::parse(&text).map(|settings| settings.controllers)
    };
    let both = read("['a.example:7443', 'b.example:7443']").unwrap();
    assert_eq!(both, ["a.example:7443", "b.example:7443"]);
    assert!(read("[]").unwrap().is_empty());
    for (list, said) in [
        (
            "['a.example:7443', 'b']",
            "line 3: controllers: `b` is not host:port",
        ),
        (
            "['b.example:7443']",
            "line 3: controllers: `a.example:7443`, the address of this one, is not among them",
        ),
    ] {
        let found = read(list).unwrap_err().to_string();
        assert!(found.contains(said), "{found}");
    }
}

#[test]
fn a_database_at_a_server_is_named_without_its_password_and_reached_over_tls_only() {
    let parse = |database: &str| {
        Settings::parse(&format!(
            "fleet = \"prod\"\naddress = \"controller.example:7443\"\n[database]\n{database}"
        ))
    };
    let dir = Path::new("/var/lib/postern");

    let settings = parse("postgres = \"host=/run/postgresql\"\npassword_file = \"db.password\"");
    let database = settings.unwrap().under(dir).database.unwrap();
    assert_eq!(database.password_file.unwrap(), dir.join("db.password"));

    for (url, expected) in [
        (
            "postgresql://postern:secret@db.example/postern",
            "a file of its own",
        ),
        (
            "postgresql://postern@db.example/postern?sslmode=disable",
            "sslmode=disable",
        ),
        ("host=/run/postgresql,db.example", "one or the other"),
        ("hots=db.example", "none of PostgreSQL's"),
    ] {
        let said = parse(&format!("postgres = \"{url}\""))
            .unwrap_err()
            .to_string();
        assert!(said.contains(expected), "{said}");
        assert!(
            said.contains("database.postgres") && !said.contains("secret"),
            "{said}"
        );
    }
    for url in [
        "postgresql://postern@127.0.0.1/postern?sslmode=disable",
        "postgresql://postern@db.example,db-2.example/postern",
    ] {
        assert!(parse(&format!("postgres = \"{url}\"")).is_ok(), "{url}");
    }
}
