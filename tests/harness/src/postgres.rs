//! A PostgreSQL server of Debian's, on a socket of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::{Process, Result, shell, wait};

/// Where Debian puts its programs, a directory for each version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A server knows few connections by default; each controller has some ten.
const SETTINGS: &str = "listen_addresses = ''\nmax_connections = 200\n";

/// A running server, which goes with all that is in it when this value goes. Sockets of the file system are
/// the same in every namespace.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    process: Option<Process>,
}

// === impl Postgres ===

impl Postgres {
    /// Makes a server with nothing in it, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed or does not come up; the text holds its log.
    pub fn start() -> Result<Self> {
        // The path of a socket has 107 bytes at most.
        let dir = PathBuf::from(format!("/tmp/postern-pg-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut server = Self { dir, process: None };
        let mut own = Command::new("chown");
        shell::run(own.arg("postgres:postgres").arg(&server.dir))?.ok()?;
        let mut make = as_postgres("initdb")?;
        make.args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8"]);
        shell::run(make.args(["--no-locale", "-D"]).arg(server.data()))?.ok()?;
        let file = server.data().join("postgresql.conf");
        let defaults = fs::read_to_string(&file)?;
        let socket = format!("unix_socket_directories = '{}'\n", server.dir.display());
        fs::write(&file, format!("{defaults}\n{SETTINGS}{socket}"))?;
        server.start_again()?;
        Ok(server)
    }

    /// Starts it where it was killed.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = as_postgres("postgres")?;
        command.arg("-D").arg(self.data());
        let mut process = Process::start(&mut command, &self.dir.join("log"))?;
        process.wait_for(
            "database system is ready to accept connections",
            START_LIMIT,
        )?;
        self.process = Some(process);
        let answers = || Ok(self.sql("postgres", "SELECT 1").is_ok());
        wait::until("PostgreSQL answers", START_LIMIT, answers)?;
        Ok(())
    }

    /// Kills it with -9, as a failing machine does. Its other processes end by themselves.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// The process that all its others come from; `None` while it is killed.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Makes a database, and says how it is reached.
    ///
    /// # Errors
    ///
    /// When there is one of this name.
    pub fn database(&self, name: &str) -> Result<String> {
        self.database_at(name, &self.dir)
    }

    /// The same, reached over the socket in another directory.
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database).
    pub fn database_at(&self, name: &str, socket: &Path) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(format!(
            "host={} user=postgres dbname={name}",
            socket.display()
        ))
    }

    /// The directory of its socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs statements, and gives what they print, a row a line.
    ///
    /// # Errors
    ///
    /// With what the server says.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = as_postgres("psql")?;
        psql.args(["-AtqX", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        psql.arg(&self.dir).args(["-d", database, "-c", sql]);
        Ok(shell::run(&mut psql)?.ok()?.stdout)
    }

    /// Has it write down from now on what every session executes, and what it makes of that.
    ///
    /// # Errors
    ///
    /// With what the server says.
    pub fn write_down(&self) -> Result<()> {
        for setting in [
            "log_statement = 'all'",
            "log_parameter_max_length = 0",
            "log_min_messages = 'error'",
            // Each line that begins with this is another entry; what belongs to it begins with a tab.
            "log_line_prefix = '@%u@'",
        ] {
            self.sql("postgres", &format!("ALTER SYSTEM SET {setting}"))?;
        }
        self.sql("postgres", "SELECT pg_reload_conf()")?;
        Ok(())
    }

    /// What sessions of this role have caused to be written down, of this severity (`LOG`, `ERROR`): a line each.
    pub fn written_down(&self, role: &str, severity: &str) -> Vec<String> {
        let log = self.process.as_ref().map(Process::log).unwrap_or_default();
        let mut entries: Vec<String> = Vec::new();
        for line in log.lines() {
            match (line.strip_prefix('\t'), entries.last_mut()) {
                (Some(more), Some(entry)) => {
                    entry.push(' ');
                    entry.push_str(more);
                }
                _ => entries.push(line.to_owned()),
            }
        }
        let begin = format!("@{role}@{severity}:");
        let of_role = entries.iter().filter_map(|it| it.strip_prefix(&begin));
        let words = of_role.map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
        words.collect()
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.process.take());
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A program of the newest version, which does not run as root; it ends when this program does.
fn as_postgres(program: &str) -> Result<Command> {
    let versions = fs::read_dir(PROGRAMS).with_context(|| {
        format!("{PROGRAMS}: PostgreSQL is missing; deploy/setup.sh installs it")
    })?;
    let versions = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = versions.max().context("no version of PostgreSQL")?;
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "QUIT",
        "--reuid=postgres",
        "--regid=postgres",
    ]);
    command
        .arg("--clear-groups")
        .arg(program_of(&newest, program));
    // Its user cannot enter every directory that a test runs in.
    command.current_dir("/");
    Ok(command)
}

fn program_of(version: &Path, name: &str) -> PathBuf {
    version.join("bin").join(name)
}
