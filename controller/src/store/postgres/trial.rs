//! A PostgreSQL server for tests: on a socket of its own, in a directory that goes with it. Not the
//! cluster that Debian's package makes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::store::place::PostgresSettings;
use crate::store::seal::SealKey;
use crate::store::sql::Connection;

/// Where Debian puts them, newest last.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// No server of a test needs longer to answer.
const START_MAX: Duration = Duration::from_secs(30);
/// What child processes of one test know it by.
const SOCKET: &str = "POSTERN_TEST_POSTGRES";
/// In the directory of a test: the names of its database and its schema.
const KNOWN: &str = "database";

/// A server that ends when this is dropped, or its process dies.
pub(crate) struct Trial {
    /// Its directory, and that of its socket.
    dir: TempDir,
    name: &'static str,
    server: Option<Child>,
}

// === impl Trial ===

impl Trial {
    /// Makes and starts one; `settings` are lines of postgresql.conf.
    pub(crate) fn start(settings: &str) -> Self {
        let dir = TempDir::with_prefix_in("pg", "/tmp").unwrap();
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(dir.path()));
        }
        let mut trial = Self {
            dir,
            name: "a",
            server: None,
        };
        run(as_postgres("initdb")
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8"])
            .args(["--no-locale", "-D"])
            .arg(trial.data()));
        trial.configure(&format!(
            "listen_addresses = ''\nmax_connections = 200\nunix_socket_directories = '{}'\n{settings}",
            trial.dir.path().display()
        ));
        trial.run();
        trial
    }

    /// A standby of it that a commit waits for.
    pub(crate) fn standby(&self) -> Self {
        let dir = TempDir::with_prefix_in("pg", "/tmp").unwrap();
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(dir.path()));
        }
        let mut standby = Self {
            dir,
            name: "b",
            server: None,
        };
        self.sql(
            "postgres",
            "SELECT pg_create_physical_replication_slot('b')",
        );
        run(as_postgres("pg_basebackup")
            .arg("-h")
            .arg(self.socket())
            .args(["-U", "postgres", "-R", "-X", "stream", "-S", "b"])
            .args(["-c", "fast", "--no-sync", "-D"])
            .arg(standby.data()));
        // Promoted, it has none itself.
        standby.configure(&format!(
            "synchronous_standby_names = ''\nwal_retrieve_retry_interval = 200ms\n\
             unix_socket_directories = '{}'",
            standby.dir.path().display()
        ));
        standby.run();
        self.sql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
        );
        self.sql("postgres", "SELECT pg_reload_conf()");
        standby
    }

    /// Makes of a standby what takes writes.
    pub(crate) fn promote(&self) {
        // One that waited would see row versions that the replay before has to remove.
        self.sql("postgres", "SELECT pg_promote(false)");
        let began = crate::clock::instant();
        while self.count("SELECT CAST(CAST(pg_is_in_recovery() AS int) AS bigint)") > 0 {
            assert!(began.elapsed() < START_MAX, "it stays a standby");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds lines to its configuration.
    pub(crate) fn configure(&self, lines: &str) {
        let path = self.data().join("postgresql.conf");
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{before}\n{lines}\n")).unwrap();
    }

    /// Whoever comes over a network has to say a password.
    pub(crate) fn only_with_password(&self) {
        let path = self.data().join("pg_hba.conf");
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            path,
            format!("host all all 127.0.0.0/8 scram-sha-256\n{before}"),
        )
        .unwrap();
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn run(&mut self) {
        let began = crate::clock::instant();
        while self.try_sql("postgres", "SELECT 1").is_err() {
            assert!(began.elapsed() < START_MAX, "PostgreSQL does not answer");
            let server = self.server.as_mut();
            // It does not start beside what a killed one has left.
            if server.is_none_or(|server| server.try_wait().unwrap().is_some()) {
                self.server = Some(self.spawn());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn spawn(&self) -> Child {
        let log = std::fs::File::create(self.dir.path().join(format!("{}.log", self.name)));
        let mut command = as_postgres("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(log.unwrap());
        command.spawn().unwrap()
    }

    /// Ends it, and with SIGKILL all that it has started, as a failing machine does.
    pub(crate) fn kill(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let pid = Pid::from_raw(server.id().cast_signed());
        let started = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        kill(pid, signal).unwrap();
        if signal == Signal::SIGKILL {
            for one in started.unwrap().split_whitespace() {
                // It may have ended.
                let _ = kill(Pid::from_raw(one.parse().unwrap()), signal);
            }
        }
        server.wait().unwrap();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join(self.name)
    }

    /// The directory of its socket.
    pub(crate) fn socket(&self) -> &Path {
        self.dir.path()
    }

    fn try_sql(&self, database: &str, sql: &str) -> Result<(), postgres::Error> {
        let at = address(self.socket(), database);
        // The driver is a runtime, which cannot be in another.
        std::thread::scope(|scope| {
            let run = || postgres::Client::connect(&at, postgres::NoTls)?.batch_execute(sql);
            scope.spawn(run).join().unwrap()
        })
    }

    /// Runs statements in a database.
    pub(crate) fn sql(&self, database: &str, sql: &str) {
        self.try_sql(database, sql).unwrap();
    }

    /// The number that a query gives. Not in a task.
    pub(crate) fn count(&self, sql: &str) -> usize {
        let at = address(self.socket(), "postgres");
        let mut client = postgres::Client::connect(&at, postgres::NoTls).unwrap();
        let count: i64 = client.query_one(sql, &[]).unwrap().get(0);
        usize::try_from(count).unwrap()
    }

    /// How its database of this name is reached.
    pub(crate) fn settings(&self, database: &str) -> PostgresSettings {
        settings(self.socket(), database)
    }

    /// The engine over its own database, under the key of all fixtures. Not in a task.
    pub(in crate::store) fn engine(&self) -> super::Postgres {
        super::Postgres::open(&self.settings("postgres"), &SealKey::new(&[7; 32]), None).unwrap()
    }

    /// What a question finds that is asked of its own database. Not in a task.
    pub(in crate::store) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let engine = self.engine();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let readers = engine.readers();
        let asked = readers.ask(Duration::ZERO, |connection| Ok(question(connection)));
        runtime.block_on(asked).unwrap()
    }

    /// What tells child processes of this server.
    pub(crate) fn for_children(&self) -> (&'static str, PathBuf) {
        (SOCKET, self.socket().to_owned())
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.kill(Signal::SIGQUIT);
    }
}

/// What stands for a directory of a test, where it is to be PostgreSQL's: a schema, which costs a tenth of
/// a database; made when it is not there, and whether it was.
pub(crate) fn database_in(dir: &Path) -> Option<(PostgresSettings, bool)> {
    let socket = PathBuf::from(std::env::var_os(SOCKET)?);
    let known = dir.join(KNOWN);
    let is_new = !known.exists();
    if is_new {
        let schema = random_name();
        let make = format!("CREATE SCHEMA {schema}");
        let at = address(&socket, "postgres");
        // The driver is a runtime, which cannot be in another.
        let making = std::thread::spawn(move || {
            let mut client = postgres::Client::connect(&at, postgres::NoTls).unwrap();
            client.batch_execute(&make).unwrap();
        });
        making.join().unwrap();
        std::fs::write(&known, format!("postgres {schema}")).unwrap();
    }
    let (database, schema) = known_in(dir);
    let mut found = settings(&socket, &database);
    found.url += &format!(" options='-c search_path={schema}'");
    Some((found, is_new))
}

/// Copies what stands for one directory to another, as a backup does; false where it is none of
/// PostgreSQL's.
pub(crate) fn copy(from: &Path, to: &Path) -> bool {
    let Some(socket) = std::env::var_os(SOCKET) else {
        return false;
    };
    let ((database, schema), copy) = (known_in(from), random_name());
    let of_server = |program: &str| {
        let mut command = as_postgres(program);
        command.arg("-h").arg(&socket).args(["-U", "postgres"]);
        command
    };
    run(of_server("createdb").arg(&copy));
    let dump = of_server("pg_dump")
        .args(["-n", &schema, &database])
        .output()
        .unwrap();
    assert!(dump.status.success());
    let file = to.join("dump.sql");
    std::fs::write(&file, dump.stdout).unwrap();
    run(of_server("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d"])
        .arg(&copy)
        .stdin(std::fs::File::open(file).unwrap()));
    std::fs::write(to.join(KNOWN), format!("{copy} {schema}")).unwrap();
    true
}

/// Runs statements in a database. Not in a task.
pub(crate) fn sql_at(settings: &PostgresSettings, sql: &str) {
    let mut client = postgres::Client::connect(&settings.url, postgres::NoTls).unwrap();
    client.batch_execute(sql).unwrap();
}

/// Runs statements as somebody who has the password does, in what stands for a directory; how many rows the
/// last has changed.
pub(crate) fn edit(dir: &Path, sql: &str) -> Option<u64> {
    let (settings, _) = database_in(dir)?;
    let sql = sql.to_owned();
    let editing = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&settings.url, postgres::NoTls).unwrap();
        let mut changed = 0;
        for statement in sql.split(';').filter(|it| !it.trim().is_empty()) {
            changed = client.execute(statement, &[]).unwrap();
        }
        changed
    });
    Some(editing.join().unwrap())
}

/// Database and schema.
fn known_in(dir: &Path) -> (String, String) {
    let known = std::fs::read_to_string(dir.join(KNOWN)).unwrap();
    let (database, schema) = known.split_once(' ').unwrap();
    (database.to_owned(), schema.to_owned())
}

fn random_name() -> String {
    let mut number = [0; 8];
    getrandom::fill(&mut number).unwrap();
    format!("t{}", hex::encode(number))
}

fn settings(socket: &Path, database: &str) -> PostgresSettings {
    PostgresSettings {
        url: address(socket, database),
        password_file: None,
        ca_file: None,
    }
}

fn address(socket: &Path, database: &str) -> String {
    format!("host={} user=postgres dbname={database}", socket.display())
}

fn run(command: &mut Command) {
    let done = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

/// A program of PostgreSQL's, which do not run as root; it dies with whoever started it.
fn as_postgres(program: &str) -> Command {
    let versions = std::fs::read_dir(PROGRAMS);
    let versions = versions.expect("PostgreSQL is not installed; deploy/setup.sh installs it");
    let newest = versions.map(|entry| entry.unwrap().path()).max().unwrap();
    let program = newest.join("bin").join(program);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if nix::unistd::geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}
