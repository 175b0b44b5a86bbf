//! Options as rc variables on top of a stanza, and what no variable says.

use super::line::{Given, Line};
use crate::error::{CommandError, Result};
use crate::knock::args::{KeyArgs, KnockArgs, RequestArgs, RouteArgs, address, allow, offset_secs};
use crate::rc::Stanza;
use crate::rc::table::KEY_SOURCE;

/// A variable that an option says. Values may be keys, so they cannot be printed.
pub(super) struct Said {
    pub(super) variable: &'static str,
    pub(super) value: zeroize::Zeroizing<String>,
    option: &'static str,
}

// === impl Said ===

impl Said {
    pub(super) fn new(
        variable: &'static str,
        value: zeroize::Zeroizing<String>,
        option: &'static str,
    ) -> Self {
        Self {
            variable,
            value,
            option,
        }
    }

    /// Whether it is a key, or says where one is.
    pub(super) fn is_key(&self) -> bool {
        matches!(
            self.variable,
            "KEY" | "KEY_BASE64" | "KEY_FILE" | "HMAC_KEY" | "HMAC_KEY_BASE64" | "HMAC_KEY_FILE"
        )
    }
}

/// What a variable of the command line takes the place of: two of these in one would contradict each other.
const IN_PLACE_OF: &[(&str, &[&str])] = &[
    (
        "ALLOW_IP",
        &["RESOLVE_IP_HTTP", "RESOLVE_IP_HTTPS", "RESOLVE_HTTP_ONLY"],
    ),
    ("RESOLVE_IP_HTTPS", &["ALLOW_IP"]),
    ("RESOLVE_HTTP_ONLY", &["ALLOW_IP"]),
    ("SPA_SERVER_PORT", &["RAND_PORT"]),
    ("NAT_PORT", &["NAT_RAND_PORT"]),
    ("NAT_RAND_PORT", &["NAT_PORT"]),
    ("KEY", &["KEY_BASE64", "KEY_FILE", KEY_SOURCE]),
    ("KEY_BASE64", &["KEY", "KEY_FILE", KEY_SOURCE]),
    ("KEY_FILE", &["KEY", "KEY_BASE64", KEY_SOURCE]),
    ("HMAC_KEY", &["HMAC_KEY_BASE64", "HMAC_KEY_FILE"]),
    ("HMAC_KEY_BASE64", &["HMAC_KEY", "HMAC_KEY_FILE"]),
    ("HMAC_KEY_FILE", &["HMAC_KEY", "HMAC_KEY_BASE64"]),
];

/// The variables that take the place of others of the same stanza.
pub(super) fn in_place_of(variable: &str) -> &'static [&'static str] {
    let found = IN_PLACE_OF.iter().find(|(name, _)| *name == variable);
    found.map_or(&[], |(_, others)| others)
}

/// The variables that the options say, in the order of the table.
///
/// # Errors
///
/// Exit code 2 for a time that cannot be read.
pub(super) fn variables(line: &Line) -> Result<Vec<Said>> {
    let mut said: Vec<Said> = Vec::new();
    for row in crate::rc::table::ROWS {
        // A variable that several options say is that of the last of them.
        let given = |given: &&Given| given.row.variable == row.variable;
        let is_new = !said.iter().any(|said| said.variable == row.variable);
        if row.variable.is_empty() || !is_new {
            continue;
        }
        let value = match line.given().iter().rfind(given) {
            Some(given) => (value(line, given)?, given.row.long),
            None => match implied(line, row.variable) {
                Some(option) => ("Y".to_owned(), option),
                None => continue,
            },
        };
        let (value, option) = value;
        said.push(Said {
            variable: row.variable,
            value: value.into(),
            option,
        });
    }
    Ok(said)
}

/// What an option says beside its own variable.
fn implied(line: &Line, variable: &str) -> Option<&'static str> {
    let by: &[&'static str] = match variable {
        "USE_GPG" => &[
            "gpg-recipient-key",
            "gpg-signer-key",
            "gpg-home-dir",
            "gpg-agent",
        ],
        "RESOLVE_IP_HTTPS" => &["resolve-http-only"],
        "USE_HMAC" => &["key-hmac", "key-base64-hmac", "hmac-digest-type"],
        _ => &[],
    };
    by.iter().find(|option| line.has(option)).copied()
}

fn value(line: &Line, given: &Given) -> Result<String> {
    let text = given.value.as_deref().map(String::as_str);
    let secs = |text| {
        offset_secs(text)
            .map_err(|what| CommandError::usage(format!("--{}: {what}", given.row.long)))
    };
    Ok(match (given.row.long, text) {
        // `source` and `resolve` are words of rc files only.
        ("allow-ip", Some(text)) => {
            let fit = allow(text).map(|_| text.to_owned());
            fit.map_err(|what| CommandError::usage(format!("--allow-ip: {what}")))?
        }
        ("source-ip", _) => "source".to_owned(),
        ("time-offset-plus", Some(text)) => secs(text)?.to_string(),
        ("time-offset-minus", Some(text)) => (-secs(text)?).to_string(),
        ("verbose", _) => match line.count("verbose") {
            1 => "Y".to_owned(),
            count => count.to_string(),
        },
        ("digest-type" | "hmac-digest-type", Some(text)) => text.to_ascii_uppercase(),
        ("encryption-mode", Some(text)) => match text.to_ascii_uppercase() {
            mode if mode == "LEGACY" => "legacy".to_owned(),
            mode if mode == "ASYMMETRIC" => "Asymmetric".to_owned(),
            mode => mode,
        },
        ("server-proto", Some(text)) => text.to_ascii_lowercase(),
        (_, Some(text)) => text.to_owned(),
        (_, None) => "Y".to_owned(),
    })
}

/// Puts them on top of the stanza.
pub(super) fn lay(said: &[Said], stanza: &mut Stanza) {
    for Said { variable, .. } in said {
        in_place_of(variable)
            .iter()
            .for_each(|other| stanza.unset(other));
    }
    for Said {
        variable,
        value,
        option,
    } in said
    {
        stanza.set(variable, value, option);
    }
}

/// What no variable says, as `postern knock` takes it.
///
/// # Errors
///
/// Exit code 2 for a value that cannot be read.
pub(super) fn rest(line: &Line) -> Result<KnockArgs> {
    let number = |text: &str| {
        text.parse::<u8>()
            .map_err(|_| "must be 0 to 255".to_owned())
    };
    Ok(KnockArgs {
        request: RequestArgs {
            server_cmd: line.value("server-cmd").map(str::to_owned),
            ..RequestArgs::default()
        },
        route: RouteArgs {
            http_proxy: line.read("http-proxy", str::parse)?,
            icmp_type: line.read("icmp-type", number)?,
            icmp_code: line.read("icmp-code", number)?,
            spoof_source: line.read("spoof-source", address)?,
            ..RouteArgs::default()
        },
        keys: KeyArgs {
            stdin: line.has("stdin"),
            fd: line.read("fd", |text| {
                text.parse().map_err(|_| "must be a number".to_owned())
            })?,
            stanza_first: true,
            ..KeyArgs::default()
        },
        keep: crate::knock::args::KeepArgs {
            save_packet: line.value("save-packet").map(Into::into),
            save_packet_append: line.has("save-packet-append"),
        },
        ..KnockArgs::default()
    })
}
