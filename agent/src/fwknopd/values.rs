//! What the value of a variable may be, before anybody asks what it means.

use super::variables::{Kind, Variable};

/// The facilities that fwknopd knows.
pub(crate) const FACILITIES: [(&str, u8); 9] = [
    ("LOG_DAEMON", 3),
    ("LOG_LOCAL0", 16),
    ("LOG_LOCAL1", 17),
    ("LOG_LOCAL2", 18),
    ("LOG_LOCAL3", 19),
    ("LOG_LOCAL4", 20),
    ("LOG_LOCAL5", 21),
    ("LOG_LOCAL6", 22),
    ("LOG_LOCAL7", 23),
];

/// What of a value is surely not meant, whatever the variable: fwknopd would take it literally.
pub(crate) fn shape(value: &str, is_ended: bool) -> Result<(), String> {
    if value.starts_with('=') {
        return Err("`=` would be part of the value: NAME VALUE;".to_owned());
    }
    if value.starts_with(['"', '\'']) {
        return Err("quotes would be part of the value".to_owned());
    }
    if !is_ended && value.contains(" #") {
        return Err(
            "no `;` ends the value, so that the comment behind it is part of it".to_owned(),
        );
    }
    Ok(())
}

/// Whether a variable can have this value; what is worth a warning if it can, what is wrong if not.
pub(crate) fn check(variable: &Variable, value: &str) -> Result<Option<String>, String> {
    match variable.kind {
        Kind::Text | Kind::Path => Ok(None),
        Kind::Switch => Ok(match switch(value) {
            Some(_) => None,
            None => Some(format!(
                "`{value}` is neither Y nor N; it is taken for {}",
                if doubtful(variable) { "Y" } else { "N" }
            )),
        }),
        Kind::Number(min, max) => {
            let (number, is_whole) = number(value).ok_or_else(|| format!("`{value}` is no number"))?;
            if !(min..=max).contains(&number) {
                return Err(format!("{number} is not {min} to {max}"));
            }
            Ok((!is_whole).then(|| format!("`{value}` is read as {number}")))
        }
        Kind::Facility => match facility(value) {
            Some(_) => Ok(None),
            None => Err(format!("`{value}` is none of LOG_DAEMON, LOG_LOCAL0 to LOG_LOCAL7")),
        },
        Kind::Chain => match chain(value) {
            Some(_) => Ok(None),
            None => Err(
                "not six fields between commas: target, table, chain, position, own chain, position"
                    .to_owned(),
            ),
        },
    }
}

/// What a switch says in words that are neither yes nor no. For fwknopd all of them are no; where
/// that opens something, doubt leaves it shut.
pub(crate) fn doubtful(variable: &Variable) -> bool {
    variable.name == "ENABLE_SPA_PACKET_AGING"
}

/// Yes or no by the first letter.
pub(crate) fn switch(value: &str) -> Option<bool> {
    match value.chars().next() {
        Some('y' | 'Y') => Some(true),
        Some('n' | 'N') => Some(false),
        Some(_) | None => None,
    }
}

/// The digits at the beginning, and whether that is all of it.
pub(crate) fn number(value: &str) -> Option<(u64, bool)> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = value.split_at(digits);
    Some((digits.parse().ok()?, rest.is_empty()))
}

/// The number of a facility of syslog.
pub(crate) fn facility(value: &str) -> Option<u8> {
    let found = FACILITIES.iter().find(|(name, _)| *name == value);
    found.map(|(_, number)| *number)
}

/// The six fields of a chain.
pub(crate) fn chain(value: &str) -> Option<[&str; 6]> {
    let fields: Vec<&str> = value.split(',').map(str::trim).collect();
    let fields: [&str; 6] = fields.try_into().ok()?;
    fields
        .iter()
        .all(|field| !field.is_empty())
        .then_some(fields)
}
