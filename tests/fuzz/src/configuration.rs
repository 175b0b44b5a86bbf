//! Files by which programs are set up: fwknopd.conf, agent.toml, controller.toml.
//!
//! A file is used or refused with mistakes that name lines which are there. What was read of one of
//! fwknopd, written as one of ours, means the same: `postern-agent import` does that.

use std::path::Path;

use agent::config::{Config, ConfigError, RawConfig, fwknopd};
use agent::fwknopd::read::Reading;
use controller::Settings;

pub(crate) fn fwknopd_conf(bytes: &[u8]) {
    let Some((&switches, bytes)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    let (conf, over) = text.split_once("\n\u{c}\n").unwrap_or((&text, ""));
    let mut reading = Reading::default();
    if switches & 1 == 0 {
        reading.add_alone(Path::new("fwknopd.conf"), conf);
    } else {
        reading.add(Path::new("fwknopd.conf"), conf);
        reading.add(Path::new("over.conf"), over);
    }
    let meaning = fwknopd::of(reading, Some(Path::new("/etc/fwknop")));
    let raw = meaning.raw.clone();
    let read = Config::try_from(meaning.raw);
    if !meaning.mistakes.is_empty() {
        return;
    }
    let written = toml::to_string(&raw).expect("a configuration can be written");
    let again = RawConfig::read_text(&written).unwrap_or_else(|mistakes| {
        panic!("what we wrote can be read: {mistakes}\n{written}");
    });
    assert_eq!(
        toml::to_string(&again).as_ref(),
        Ok(&written),
        "it means the same once it was written"
    );
    assert_eq!(
        Config::try_from(again).is_ok(),
        read.is_ok(),
        "and can be used as before"
    );
}

pub(crate) fn agent_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let raw = match RawConfig::read_text(text) {
        Ok(raw) => raw,
        Err(ConfigError::Invalid(mistakes)) => {
            assert!(!mistakes.is_empty(), "refused for nothing");
            return;
        }
        Err(ConfigError::Unreadable(cause)) => panic!("a text is no file: {cause}"),
    };
    let written = toml::to_string(&raw).expect("a configuration can be written");
    let again = RawConfig::read_text(&written).expect("what we wrote can be read");
    assert_eq!(toml::to_string(&again).as_ref(), Ok(&written));
    if let Err(ConfigError::Invalid(mistakes)) = Config::try_from(raw) {
        assert!(!mistakes.is_empty(), "refused for nothing");
    }
}

pub(crate) fn controller_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(invalid) = Settings::parse(text) {
        assert!(!invalid.0.is_empty(), "refused for nothing");
        let lines = text.lines().count().max(1);
        for mistake in &invalid.0 {
            assert!(
                mistake.line <= lines + 1,
                "{} of {lines}: {mistake:?}",
                mistake.line
            );
        }
    }
}
