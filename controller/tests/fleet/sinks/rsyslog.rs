//! A real rsyslog.

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::programs::{Running, free_port, monitoring, start};

/// An rsyslog that receives over TLS on `port` and writes host, message id and structured data of
/// each message into `received`. With it the authority that its certificate is of, and a client's
/// certificate, which it wants to see.
pub(super) struct Rsyslog {
    pub(super) dir: TempDir,
    pub(super) port: u16,
    _running: Option<Running>,
}

impl Rsyslog {
    /// Everything but the program.
    pub(super) fn prepare() -> Self {
        let dir = TempDir::new().unwrap();
        certificates(dir.path());
        let port = free_port();
        let text = format!(
            r#"global(workDirectory="{dir}" maxMessageSize="64k"
  defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{dir}/ca.pem"
  defaultNetstreamDriverCertFile="{dir}/server.pem" defaultNetstreamDriverKeyFile="{dir}/server.key")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="line" type="string" string="%hostname% %msgid% %structured-data%\n")
action(type="omfile" file="{dir}/received" template="line")
"#,
            dir = dir.path().display()
        );
        std::fs::write(dir.path().join("rsyslog.conf"), text).unwrap();
        Self {
            dir,
            port,
            _running: None,
        }
    }

    pub(super) fn start(&mut self) {
        let modules = monitoring().join("usr/lib/x86_64-linux-gnu/rsyslog");
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let _ = std::fs::remove_file(path("pid"));
        let arguments = [
            "-n",
            "-C",
            "-f",
            &path("rsyslog.conf"),
            "-i",
            &path("pid"),
            "-M",
            modules.to_str().unwrap(),
        ];
        self._running = Some(start("usr/sbin/rsyslogd", &arguments));
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("rsyslog does not listen");
    }

    /// What it has written: host, kind and number of each event.
    pub(super) fn received(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("received")).unwrap_or_default();
        let each = text.lines().filter_map(|line| {
            let (host, rest) = line.split_once(' ')?;
            let (kind, data) = rest.split_once(' ')?;
            let (_, seq) = data.split_once(" seq=\"")?;
            Some(format!("{host} {kind} {}", seq.split_once('"')?.0))
        });
        each.collect()
    }
}

/// An authority, and what it has signed for the server and for a client.
fn certificates(dir: &Path) {
    let write = |name: &str, text: String| {
        program::files::create(&dir.join(name), 0o600, text.as_bytes()).unwrap();
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write("ca.pem", params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        write(
            &format!("{name}.pem"),
            params.signed_by(&key, &issuer).unwrap().pem(),
        );
        write(&format!("{name}.key"), key.serialize_pem());
    }
}
