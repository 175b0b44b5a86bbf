//! A server at an address, with a certificate that openssl has made.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::Server;
use super::trial::Trial;
use crate::store::error::StoreError;
use crate::store::place::PostgresSettings;

/// Of the loopback network, and nobody else's at the usual port.
fn address() -> String {
    let [high, low] = [std::process::id() / 250 % 250, std::process::id() % 250];
    format!("127.77.{}.{}", high + 1, low + 1)
}

fn openssl(dir: &Path, words: &str) {
    let done = Command::new("openssl")
        .current_dir(dir)
        .args(words.split_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {words}: {said}");
}

/// An authority of this name in `NAME.pem` and `NAME.key`.
fn authority(dir: &Path, name: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        dir,
        &format!("req -x509 {key} -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}"),
    );
}

/// A server that answers at an address as `localhost`, with a certificate of the authority `ca`.
fn server(dir: &Path) -> Trial {
    authority(dir, "ca");
    authority(dir, "another");
    std::fs::write(dir.join("san"), "subjectAltName = DNS:localhost\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        dir,
        &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"),
    );
    openssl(
        dir,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 \
         -extfile san",
    );
    let mut trial = Trial::start("");
    let placed = |name: &str| trial.socket().join(name);
    for name in ["server.pem", "server.key"] {
        std::fs::copy(dir.join(name), placed(name)).unwrap();
        let own = Command::new("chown")
            .arg("postgres")
            .arg(placed(name))
            .status();
        assert!(own.unwrap().success());
    }
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(placed("server.key"), private).unwrap();
    let lines = format!(
        "listen_addresses = '{}'\nssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'",
        address(),
        placed("server.pem").display(),
        placed("server.key").display(),
    );
    for made in [
        "CREATE ROLE postern LOGIN PASSWORD 'correct horse'",
        "CREATE DATABASE fleet OWNER postern",
    ] {
        trial.sql("postgres", made);
    }
    trial.kill(nix::sys::signal::Signal::SIGINT);
    trial.configure(&lines);
    trial.only_with_password();
    trial.run();
    trial
}

/// As an operator names it.
fn settings(dir: &Path, host: &str, ca: &str, password: &str) -> PostgresSettings {
    let file: PathBuf = dir.join(format!("{}.password", password.len()));
    std::fs::write(&file, format!("{password}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    PostgresSettings {
        url: format!(
            "host={host} hostaddr={} user=postern dbname=fleet",
            address()
        ),
        password_file: Some(file),
        ca_file: Some(dir.join(ca)),
    }
}

/// Why it cannot be used.
fn refused(settings: &PostgresSettings) -> String {
    let tried = Server::of(settings).and_then(|server| server.to_write());
    let error: StoreError = tried.map(drop).unwrap_err();
    program::one_line(&error).to_string()
}

#[test]
fn a_server_at_an_address_proves_its_name_over_tls_or_hears_no_password() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut trial = server(dir.path());
    let named = |host, ca, password| settings(dir.path(), host, ca, password);

    let connection = Server::of(&named("localhost", "ca.pem", "correct horse"));
    let connection = connection.unwrap().to_write().unwrap();
    let is_tls: bool = crate::store::sql::Connection::prepare(
        &connection,
        "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    )
    .unwrap()
    .query_row([], |row| row.get(0))
    .unwrap();
    assert!(is_tls);

    for (host, ca, password, words) in [
        ("localhost", "another.pem", "correct horse", "UnknownIssuer"),
        (
            "db.example",
            "ca.pem",
            "correct horse",
            "not valid for name",
        ),
        (
            "localhost",
            "ca.pem",
            "wrong",
            "password authentication failed",
        ),
    ] {
        let said = refused(&named(host, ca, password));
        assert!(said.contains(words), "{host} {ca}: {said}");
        assert!(!said.contains(password), "{said}");
    }

    drop(connection);
    trial.kill(nix::sys::signal::Signal::SIGINT);
    trial.configure("ssl = off");
    trial.run();
    let said = refused(&named("localhost", "ca.pem", "correct horse"));
    assert!(said.contains("TLS"), "{said}");
}
