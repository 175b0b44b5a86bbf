//! Clocks that are wrong, at the controller and at who talks to it: they are named, and nothing else is
//! blamed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use harness::postern::{Member, binary};
use harness::shell::run;
use harness::{Node, Process, Result, in_lab, machine, wait};
use suite::{Company, POLICY};

/// Where the controllers of these tests listen.
const PORT: u16 = 7443;

/// As `faketime` does it, which stays between us and the program and does not end it with itself.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// `postern-controller WORDS...` with a clock that is off by so much, as "-2d".
fn controller(node: &Node, off: &str, words: &[&str]) -> Result<Command> {
    machine::require(&["faketime"])?;
    let mut command = node.command(binary("postern-controller")?);
    command.args(words).arg("--data").arg(data(node));
    if !off.is_empty() {
        command.env("LD_PRELOAD", LIBRARY).env("FAKETIME", off);
        // What is waited for is waited for as long as ever.
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    Ok(command)
}

fn serve(node: &Node, off: &str) -> Result<Process> {
    let listen = format!("0.0.0.0:{PORT}");
    let mut command = controller(node, off, &["serve", "--listen", &listen])?;
    let mut process = node.start("controller-of-another-time", &mut command)?;
    process.wait_for("serving", wait::SOON)?;
    Ok(process)
}

fn data(node: &Node) -> PathBuf {
    node.dir.join("controller-data")
}

#[test]
fn a_controller_that_is_set_back_behind_the_certificates_of_its_members_is_named_with_its_clock() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 0, POLICY)?;
        company.operator.run(&["host", "list"])?.ok()?;
        company.controller.kill()?;
        let _controller = serve(&company.controller.node, "-2d")?;

        for words in [
            &["host", "list"][..],
            &["token", "create", "--role", "user", "--name", "bob"],
        ] {
            let ran = company.operator.run(words)?.code(1)?;
            let blamed = "the controller's clock is 48 h behind this machine's";
            let is_it = ran.stderr.contains(blamed) && ran.stderr.contains("set the clock");
            ensure!(is_it && !ran.stderr.contains("--profile"), "{}", ran.text());
        }
        Ok(())
    });
}

#[test]
fn a_controller_that_was_made_ahead_of_time_says_so_and_serves_once_its_clock_is_right() {
    in_lab(|lab| {
        let node = lab.node("control", 1)?;
        let address = format!("{}:{PORT}", node.v4);
        let words = ["init", "--fleet", "lab", "--address", &address];
        let mut init = controller(&node, "+3d", &words)?;
        let made = run(&mut init)?.ok()?;
        let is_token = |word: &&str| word.starts_with("postern1.");
        let token = made.stdout.split_whitespace().find(is_token);
        let token = token.context("init printed no token")?;
        let person = Member::stranger(&lab.node("desk", 5)?, "operator");
        let join = ["join", token, "--name", "operator"];

        let mut ahead = serve(&node, "+3d")?;
        let ran = person.run(&join)?.code(1)?;
        let begins = "the controller's certificate begins only in 71 h";
        ensure!(ran.stderr.contains(begins), "{}", ran.text());
        ensure!(ran.stderr.contains("set the clock"), "{}", ran.text());
        ahead.kill()?;

        let right = serve(&node, "")?;
        person.run(&join)?.ok()?;
        person.run(&["host", "list"])?.ok()?;
        let said = right.log();
        ensure!(said.contains("certificate begins in the future"), "{said}");
        Ok(())
    });
}
