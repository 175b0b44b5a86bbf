//! The Debian packages on a machine with systemd: installed, upgraded, removed and purged for real.
//!
//! `tests/packages.sh` has packed this build, and the same once more as version 0.0.9. Each test boots
//! systemd in namespaces on a copy of this machine's files that lives in memory.

mod agent;
mod apt;
mod boot;
mod contents;
mod controller;
mod fwknop;
mod pages;
mod readme;
