//! The commands, one file each, named as it is typed. What can be typed is in `cli`.

pub(crate) mod audit;
pub(crate) mod can;
pub(crate) mod close;
pub(crate) mod complete;
pub(crate) mod controllers;
pub(crate) mod host;
pub(crate) mod join;
pub(crate) mod keygen;
pub(crate) mod knock;
pub(crate) mod list;
pub(crate) mod member;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod proxy;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sink;
pub(crate) mod ssh;
pub(crate) mod sync;
pub(crate) mod token;
pub(crate) mod who_can;
