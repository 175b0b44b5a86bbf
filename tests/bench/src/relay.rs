//! A way to the PostgreSQL server that is as long as one over a network: each direction takes half of a journey's time.
//!
//! Sockets of one machine have no distance, and not every kernel can make one up (netem). What comes is passed on late and in
//! its order, however much of it is on its way: a long line, not a narrow one.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::clock;

/// What PostgreSQL's clients look for in a directory.
const SOCKET: &str = ".s.PGSQL.5432";
/// What is read at one time at most.
const PIECE: usize = 65_536;

/// A socket before that of a server. It is forwarded until this program ends.
#[derive(Debug)]
pub(crate) struct Relay {
    dir: PathBuf,
}

// === impl Relay ===

impl Relay {
    /// Makes a way to the server whose socket is in the directory `server`; `journey` is the time there and back.
    pub(crate) fn start(server: &Path, journey: Duration) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("postern-relay-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().mode(0o755).create(&dir)?;
        let relay = Self { dir };
        let socket = relay.dir.join(SOCKET);
        let listener = UnixListener::bind(&socket)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777))?;
        let server = server.join(SOCKET);
        let each = journey / 2;
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = UnixStream::connect(&server) {
                    // Whose ends cannot be had twice is closed, and comes again.
                    let _ = forward((&client, &server), each);
                    let _ = forward((&server, &client), each);
                }
            }
        });
        Ok(relay)
    }

    /// The directory of its socket.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Passes on what comes `late` by so much, by one thread that reads and one that writes.
fn forward((from, to): (&UnixStream, &UnixStream), late: Duration) -> std::io::Result<()> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    let (on_its_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut bytes = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            let piece = bytes.get(..length).unwrap_or_default().to_vec();
            if on_its_way.send((clock::now() + late, piece)).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (arrives, piece) in arriving {
            let left = arrives.saturating_duration_since(clock::now());
            if !left.is_zero() {
                std::thread::sleep(left);
            }
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        // Whoever reads at the other side of it hears that, too.
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_together_arrives_whole_and_late_by_one_journey() {
        let dir = tempfile::tempdir().unwrap();
        let server = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        std::thread::spawn(move || {
            let (mut there, _) = server.accept().unwrap();
            let mut back = there.try_clone().unwrap();
            std::io::copy(&mut there, &mut back).unwrap();
        });
        let journey = Duration::from_millis(100);
        let relay = Relay::start(dir.path(), journey).unwrap();
        let mut client = UnixStream::connect(relay.dir().join(SOCKET)).unwrap();

        let began = clock::now();
        let sent: Vec<u8> = (0..50_u8).flat_map(|number| vec![number; 5_000]).collect();
        for piece in sent.chunks(5_000) {
            client.write_all(piece).unwrap();
        }
        let mut came = vec![0; sent.len()];
        client.read_exact(&mut came).unwrap();
        let took = began.elapsed();

        assert!(came == sent, "something else came back");
        assert!(took >= journey, "{took:?}");
        assert!(took < journey * 5, "{took:?}: one after another");
    }
}
