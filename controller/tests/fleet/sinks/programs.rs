//! Programs of others, as Debian packs them (`tests/monitoring.sh` unpacks them beside the build).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The unpacked programs of others.
pub(crate) fn monitoring() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_postern-controller"));
    let tree = target.ancestors().nth(2).unwrap().join("monitoring");
    assert!(
        tree.join("complete").exists(),
        "{} is not there: `tests/monitoring.sh` unpacks what this test needs",
        tree.display()
    );
    tree
}

/// A program that ends with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program of the tree.
pub(crate) fn start(program: &str, arguments: &[&str]) -> Running {
    let tree = monitoring();
    let mut command = Command::new(tree.join(program));
    command
        .args(arguments)
        .env("LD_LIBRARY_PATH", tree.join("usr/lib/x86_64-linux-gnu"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
