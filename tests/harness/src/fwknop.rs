//! The stock client and server, as Debian ships them.

use std::net::IpAddr;

use nix::sys::signal::Signal;

use crate::{Node, Process, Ran, Result, machine, wait};

/// A running `fwknopd` in one node.
#[derive(Debug)]
pub struct Fwknopd {
    process: Process,
}

// === impl Fwknopd ===

impl Fwknopd {
    /// Starts the stock server on `eth0` with this access.conf and further lines for fwknopd.conf,
    /// and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it does not come up; the text holds its log.
    pub fn start(node: &Node, access: &str, more_conf: &str) -> Result<Self> {
        machine::require(&["fwknopd"])?;
        let run_dir = node.dir.join("fwknop-run");
        std::fs::create_dir_all(&run_dir)?;
        let run_dir = run_dir.display().to_string();
        let access = node.write("fwknopd-access.conf", access)?;
        let conf = node.write(
            "fwknopd.conf",
            &format!(
                "PCAP_INTF eth0;\n\
                 FWKNOP_RUN_DIR {run_dir};\n\
                 FWKNOP_PID_FILE {run_dir}/fwknopd.pid;\n\
                 DIGEST_FILE {run_dir}/digest.cache;\n\
                 FIREWALL_EXE /usr/sbin/iptables;\n\
                 {more_conf}\n"
            ),
        )?;
        let mut command = node.command("fwknopd");
        command.arg("-f").arg("-c").arg(conf).arg("-a").arg(access);
        let mut process = node.start("fwknopd", &mut command)?;
        process.wait_for("main event loop", wait::SOON)?;
        Ok(Self { process })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has logged `needle`.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn wait_for(&mut self, needle: &str) -> Result<()> {
        self.process.wait_for(needle, wait::SOON)?;
        Ok(())
    }

    /// Ends it as an operator would.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(wait::SOON)?;
        Ok(())
    }
}

/// Runs the stock client in a node, towards `server`, with no files of its own.
///
/// # Errors
///
/// When it cannot be started or fails.
pub fn fwknop(node: &Node, server: impl Into<IpAddr>, arguments: &[&str]) -> Result<Ran> {
    machine::require(&["fwknop"])?;
    let server = server.into().to_string();
    let mut words = vec!["fwknop", "--no-save-args", "--no-rc-file", "-D", &server];
    words.extend(arguments);
    node.run(&words)?.ok()
}

/// The stock client with one of its own rc stanzas.
///
/// # Errors
///
/// When it cannot be started or fails.
pub fn fwknop_with_rc(node: &Node, rc: &str, stanza: &str, arguments: &[&str]) -> Result<Ran> {
    machine::require(&["fwknop"])?;
    let file = node.write("stock.fwknoprc", rc)?;
    let file = file.display().to_string();
    let mut words = vec!["fwknop", "--no-save-args", "--rc-file", &file, "-n", stanza];
    words.extend(arguments);
    node.run(&words)?.ok()
}
