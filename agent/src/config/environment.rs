//! The configuration's layer from the environment: `POSTERN_AGENT_MAX_AGE_SECS=60`.

use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;

use super::raw::RawConfig;

/// What the names of the variables begin with; the key follows in capitals.
const PREFIX: &str = "POSTERN_AGENT_";

/// Reads the variables that are ours, and tells every mistake: an unknown key, a value that is not
/// what its key takes.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (RawConfig, Vec<String>) {
    let mut raw = RawConfig::default();
    let mut mistakes = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let key = name.trim_start_matches(PREFIX).to_ascii_lowercase();
        let set = value
            .to_str()
            .ok_or_else(|| "the value is not UTF-8".to_owned())
            .and_then(|value| set(&mut raw, &key, value));
        if let Err(mistake) = set {
            mistakes.push(format!("{name}: {mistake}"));
        }
    }
    (raw, mistakes)
}

fn set(raw: &mut RawConfig, key: &str, value: &str) -> Result<(), String> {
    match key {
        "state_dir" => raw.state_dir = Some(value.into()),
        "witness_dir" => raw.witness_dir = Some(value.into()),
        "access_file" => raw.access_file = Some(value.into()),
        "controller" => raw.controller = Some(value.to_owned()),
        "interfaces" => raw.interfaces = Some(list(value)),
        "pcap_file" => raw.pcap_file = Some(value.into()),
        "follow" => raw.follow = Some(switch(value)?),
        "udp_server" => raw.udp_server = Some(value.to_owned()),
        "spa_port" => raw.spa_port = Some(number(value)?),
        "filter" => raw.filter = Some(value.to_owned()),
        "buffer_mib" => raw.buffer_mib = Some(number(value)?),
        "promiscuous" => raw.promiscuous = Some(switch(value)?),
        "gateway" => raw.gateway = Some(switch(value)?),
        "accept_destinations" => raw.accept_destinations = Some(list(value)),
        "backend" => raw.backend = Some(value.to_owned()),
        "mark" => raw.mark = Some(value.to_owned()),
        "hooks" => raw.hooks = Some(list(value)),
        "chain" => raw.chain = Some(value.to_owned()),
        "protect" => raw.protect = Some(list(value)),
        "nat_forward" => raw.nat_forward = Some(switch(value)?),
        "nat_local" => raw.nat_local = Some(switch(value)?),
        "nat_dns" => raw.nat_dns = Some(switch(value)?),
        "nat_snat" => raw.nat_snat = Some(switch(value)?),
        "snat_address" => raw.snat_address = Some(list(value)),
        "destination_rule" => raw.destination_rule = Some(switch(value)?),
        "flush_at_start" => raw.flush_at_start = Some(switch(value)?),
        "flush_at_exit" => raw.flush_at_exit = Some(switch(value)?),
        "dry_run" => raw.dry_run = Some(switch(value)?),
        "ageing" => raw.ageing = Some(switch(value)?),
        "max_age_secs" => raw.max_age_secs = Some(number(value)?),
        "max_future_secs" => raw.max_future_secs = Some(number(value)?),
        "commands" => raw.commands = Some(switch(value)?),
        "commands_running_max" => raw.commands_running_max = Some(number(value)?),
        "commands_waiting_max" => raw.commands_waiting_max = Some(number(value)?),
        "command_timeout_secs" => raw.command_timeout_secs = Some(number(value)?),
        "spa_over_http" => raw.spa_over_http = Some(switch(value)?),
        "x_forwarded_for" => raw.x_forwarded_for = Some(switch(value)?),
        "audit_days" => raw.audit_days = Some(number(value)?),
        "grants_max" => raw.grants_max = Some(number(value)?),
        _ => return Err("unknown key".to_owned()),
    }
    Ok(())
}

/// Values between commas.
fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|part| part.trim().to_owned())
        .collect()
}

fn number<N: FromStr<Err: Display>>(value: &str) -> Result<N, String> {
    value
        .trim()
        .parse()
        .map_err(|cause| format!("`{value}`: {cause}"))
}

fn switch(value: &str) -> Result<bool, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("`{value}` is not true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(variables: &[(&str, &str)]) -> (RawConfig, Vec<String>) {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        read(variables)
    }

    #[test]
    fn every_kind_of_value_is_read_and_other_programs_variables_are_left_alone() {
        let (raw, mistakes) = read_of(&[
            ("POSTERN_AGENT_INTERFACES", "eth0, eth1"),
            ("POSTERN_AGENT_MAX_AGE_SECS", "60"),
            ("POSTERN_AGENT_COMMANDS", "off"),
            ("POSTERN_AGENT_UDP_SERVER", "62201"),
            ("POSTERN_AGENT_STATE_DIR", "/tmp/x"),
            ("POSTERN_LOG", "debug"),
            ("PATH", "/bin"),
        ]);

        let expected = RawConfig {
            interfaces: Some(vec!["eth0".to_owned(), "eth1".to_owned()]),
            max_age_secs: Some(60),
            commands: Some(false),
            udp_server: Some("62201".to_owned()),
            state_dir: Some("/tmp/x".into()),
            ..RawConfig::default()
        };
        assert_eq!((raw, mistakes), (expected, Vec::new()));
    }

    #[test]
    fn every_mistake_is_told_with_its_variable() {
        let (_, mistakes) = read_of(&[
            ("POSTERN_AGENT_MAX_AGE", "60"),
            ("POSTERN_AGENT_SPA_PORT", "70000"),
            ("POSTERN_AGENT_AGEING", "perhaps"),
        ]);

        assert_eq!(
            mistakes,
            [
                "POSTERN_AGENT_MAX_AGE: unknown key",
                "POSTERN_AGENT_SPA_PORT: `70000`: number too large to fit in target type",
                "POSTERN_AGENT_AGEING: `perhaps` is not true or false",
            ]
        );
    }

    #[test]
    fn every_key_of_the_file_is_one_of_the_environment() {
        let sample = include_str!("../../../deploy/agent.toml");
        for line in sample.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
            else {
                continue;
            };
            let set = set(&mut RawConfig::default(), key, "1");
            assert_eq!(set, Ok(()), "{key}");
        }
    }
}
