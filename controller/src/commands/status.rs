//! `postern-controller status`

use std::fmt::Write as _;

use clap::Args;
use controller::{ControllerStatus, Status};
use program::disk;

use super::data::DataArgs;
use super::error::CommandError;

/// Say what the controller does now: fleet, policy, hosts, sinks, database
///
/// Asks the controller that serves from the directory, over a socket there. Without one, what the
/// directory says, and exit code 3. Whether all of it is sound: `postern-controller check`.
///
/// JSON fields: is_serving, fleet, address, database_bytes, database_error (what only the database knows is 0 then), last_backup_at, version, pid, listens_at,
/// serving_secs, generation, set_back, hosts, hosts_connected, hosts_in_sync, hosts_locked, users,
/// records, signed_records, log_conflicts, log_conflict_at, sinks (name, type, lag_ms, error),
/// controllers (address, version, since_ms, hosts, is_serving).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  postern-controller status
  postern-controller status --data /var/lib/postern --json | jq .hosts_connected")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

// === impl StatusArgs ===

impl StatusArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self { data, json } = self;
        let data = data.enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CommandError::Runtime)?;
        let status = runtime.block_on(controller::status(&data))?;
        let text = if json {
            serde_json::to_string(&status).unwrap_or_default() + "\n"
        } else {
            text(&status)
        };
        program::print(text)?;
        if status.is_serving {
            return Ok(());
        }
        Err(CommandError::NotServing { data })
    }
}

fn text(status: &Status) -> String {
    let Status {
        is_serving,
        fleet,
        address,
        database_bytes,
        database_error,
        last_backup_at,
        version,
        pid,
        listens_at,
        serving_secs,
        generation,
        set_back,
        hosts,
        hosts_connected,
        hosts_in_sync,
        hosts_locked,
        users,
        records,
        signed_records,
        log_conflicts,
        log_conflict_at,
        sinks,
        controllers,
    } = status;
    let mut lines = format!("fleet     {fleet}, members dial {address}\n");
    let size = disk::size(*database_bytes);
    let backup = match last_backup_at.as_str() {
        "" => "none is known here",
        at => at,
    };
    if *is_serving {
        let since = humantime::format_duration(std::time::Duration::from_secs(*serving_secs));
        let _ = writeln!(
            lines,
            "serving   for {since} at {listens_at}, version {version}, process {pid}"
        );
        // Of one that is alone, all is said already.
        if controllers.len() > 1 {
            for (at, one) in controllers.iter().enumerate() {
                let _ = writeln!(lines, "          {}", controller(one, at == 0));
            }
        }
        let _ = writeln!(lines, "policy    generation {generation}");
        if !set_back.is_empty() {
            let _ = writeln!(lines, "          warning: hosts are sent none: {set_back}");
        }
        let is_away = !database_error.is_empty() && *records == 0;
        let in_sync = if is_away {
            String::new()
        } else {
            format!(", {hosts_in_sync} in sync")
        };
        let locked = match hosts_locked {
            0 => String::new(),
            locked => format!(", {locked} locked"),
        };
        let _ = writeln!(
            lines,
            "hosts     {hosts_connected} of {hosts} connected{in_sync}{locked}"
        );
        let _ = writeln!(lines, "users     {users}");
        for sink in sinks {
            let lag = std::time::Duration::from_secs(sink.lag_ms / 1_000);
            let lag = match sink.lag_ms {
                0 => "has everything".to_owned(),
                _ => format!("is {} behind", humantime::format_duration(lag)),
            };
            let why = match sink.error.as_str() {
                "" => String::new(),
                error => format!(": {error}"),
            };
            let _ = writeln!(
                lines,
                "sink      {} ({}) {lag}{why}",
                sink.name, sink.r#type
            );
        }
        if is_away {
            let _ = writeln!(lines, "database  {signed_records} records signed");
        } else {
            let _ = writeln!(
                lines,
                "database  {size}, {records} records, {signed_records} signed"
            );
        }
        if !database_error.is_empty() {
            let _ = writeln!(
                lines,
                "          warning: nothing is granted, applied or joined by it: {database_error}"
            );
        }
        if *log_conflicts > 0 {
            let _ = writeln!(
                lines,
                "          warning: {log_conflicts} times the log was not what somebody was shown of it, \
                 last at {log_conflict_at}: postern audit list --kind audit-conflict"
            );
        }
    } else {
        let _ = writeln!(lines, "database  {size}");
    }
    let _ = writeln!(lines, "backup    {backup}");
    lines
}

/// One of several, in a line.
fn controller(one: &ControllerStatus, is_this: bool) -> String {
    let ControllerStatus {
        address,
        version,
        since_ms: _,
        hosts,
        is_serving,
    } = one;
    let address = match address.as_str() {
        "" => "one of an older version",
        address => address,
    };
    let version = match version.as_str() {
        "" => String::new(),
        version => format!(", version {version}"),
    };
    let which = match (is_this, is_serving) {
        (true, _) => " (this one)",
        (false, true) => "",
        (false, false) => ", silent: it may have died",
    };
    let hosts = match hosts {
        1 => "1 host".to_owned(),
        hosts => format!("{hosts} hosts"),
    };
    format!("controller {address}{which}{version}: {hosts} connected")
}

#[cfg(test)]
mod tests {
    use controller::SinkStatus;

    use super::*;

    #[test]
    fn the_status_says_what_serves_and_what_lags() {
        let status = Status {
            is_serving: true,
            fleet: "prod".to_owned(),
            address: "controller.example:7443".to_owned(),
            database_bytes: 3 << 20,
            version: "1.2.3".to_owned(),
            pid: 42,
            listens_at: "[::]:7443".to_owned(),
            serving_secs: 3_700,
            generation: 7,
            hosts: 30,
            hosts_connected: 29,
            hosts_in_sync: 28,
            hosts_locked: 1,
            users: 20,
            records: 12_345,
            signed_records: 12_340,
            log_conflicts: 1,
            log_conflict_at: "2026-11-25T00:00:00Z".to_owned(),
            sinks: vec![SinkStatus {
                name: "siem".to_owned(),
                r#type: "webhook".to_owned(),
                lag_ms: 61_500,
                error: "connection refused".to_owned(),
            }],
            controllers: vec![
                ControllerStatus {
                    address: "controller.example:7443".to_owned(),
                    version: "1.2.3".to_owned(),
                    hosts: 28,
                    is_serving: true,
                    ..ControllerStatus::default()
                },
                ControllerStatus {
                    address: "b.example:7443".to_owned(),
                    version: "1.2.2".to_owned(),
                    hosts: 1,
                    is_serving: true,
                    ..ControllerStatus::default()
                },
                ControllerStatus::default(),
            ],
            ..Status::default()
        };

        assert_eq!(
            text(&status),
            "\
fleet     prod, members dial controller.example:7443
serving   for 1h 1m 40s at [::]:7443, version 1.2.3, process 42
          controller controller.example:7443 (this one), version 1.2.3: 28 hosts connected
          controller b.example:7443, version 1.2.2: 1 host connected
          controller one of an older version, silent: it may have died: 0 hosts connected
policy    generation 7
hosts     29 of 30 connected, 28 in sync, 1 locked
users     20
sink      siem (webhook) is 1m 1s behind: connection refused
database  3.0 MiB, 12345 records, 12340 signed
          warning: 1 times the log was not what somebody was shown of it, last at 2026-11-25T00:00:00Z: postern audit list --kind audit-conflict
backup    none is known here
"
        );
        let away = Status {
            database_error: "the database cannot be reached at db-1".to_owned(),
            hosts_in_sync: 0,
            records: 0,
            log_conflicts: 0,
            sinks: Vec::new(),
            controllers: Vec::new(),
            ..status.clone()
        };
        assert_eq!(
            text(&away),
            "\
fleet     prod, members dial controller.example:7443
serving   for 1h 1m 40s at [::]:7443, version 1.2.3, process 42
policy    generation 7
hosts     29 of 30 connected, 1 locked
users     20
database  12340 records signed
          warning: nothing is granted, applied or joined by it: the database cannot be reached at db-1
backup    none is known here
"
        );
        let stopped = Status {
            is_serving: false,
            last_backup_at: "2026-11-26T00:00:00Z".to_owned(),
            ..status
        };
        assert_eq!(
            text(&stopped),
            "\
fleet     prod, members dial controller.example:7443
database  3.0 MiB
backup    2026-11-26T00:00:00Z
"
        );
    }
}
