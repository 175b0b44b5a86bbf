//! What the gate needs of the other domains: of this process, or of processes of their own. The one
//! place in which the two differ.

use std::io;

use engine::{Command, CommandEnd, Ended};
use fleet::GrantId;

use super::capture::{RemoteCapture, RemoteSyns};
use super::channel::{Channel, ChannelError};
use super::command::RemoteCommands;
use super::firewall::{self as filter, Domain};
use crate::capture::{self, Capture, CaptureError, SynCaptures, Syns};
use crate::command_runner::{CommandRunner, Commands, RunnerSettings};
use crate::config::Config;
use crate::firewall::FirewallError;
use crate::hide_first::HiddenFirst;
use crate::orders::OrderSender;
use crate::report::DomainReport;

/// The other domains. Each part is asked for once.
pub trait Parts {
    /// The processes that the domains are; none where they are one.
    fn domains(&self) -> Vec<DomainReport>;

    /// The packet filter.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    fn filter(&mut self, config: &Config) -> Result<Box<dyn Domain>, FirewallError>;

    /// The sources of packets.
    ///
    /// # Errors
    ///
    /// When one of them cannot be used.
    fn captures(&mut self, config: &Config) -> Result<Vec<Box<dyn Capture>>, CaptureError>;

    /// What shows SYNs.
    fn syns(&mut self, config: &Config) -> Box<dyn Syns>;

    /// What runs commands; how they end is left in the mailbox behind `orders`.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    fn commands(&mut self, config: &Config, orders: OrderSender) -> io::Result<Box<dyn Commands>>;
}

/// All in this process.
#[derive(Debug, Default)]
pub struct Here {
    /// What was hidden before anything else.
    pub hidden: Option<HiddenFirst>,
}

/// Each in a process of its own.
#[derive(Debug)]
pub struct Apart {
    /// To the supervisor, which is the firewall domain: for requests, and for notices.
    pub filter: Option<(Channel, Channel)>,
    /// The processes.
    pub domains: Vec<DomainReport>,
    /// One for each source of packets.
    pub captures: Vec<Channel>,
    /// For SYNs.
    pub syns: Option<Channel>,
    /// Where commands are on.
    pub commands: Option<Channel>,
}

/// Where commands are off: none is ever asked for.
#[derive(Debug)]
struct NoCommands;

// === impl Here ===

impl Parts for Here {
    fn domains(&self) -> Vec<DomainReport> {
        Vec::new()
    }

    fn filter(&mut self, config: &Config) -> Result<Box<dyn Domain>, FirewallError> {
        Ok(Box::new(filter::Local::open(config, self.hidden.take())?))
    }

    fn captures(&mut self, config: &Config) -> Result<Vec<Box<dyn Capture>>, CaptureError> {
        config.captures.iter().map(capture::open).collect()
    }

    fn syns(&mut self, config: &Config) -> Box<dyn Syns> {
        Box::new(SynCaptures::of(&config.captures))
    }

    fn commands(&mut self, config: &Config, orders: OrderSender) -> io::Result<Box<dyn Commands>> {
        let settings = RunnerSettings::of(config);
        Ok(Box::new(CommandRunner::new(orders, settings)))
    }
}

// === impl Apart ===

impl Parts for Apart {
    fn domains(&self) -> Vec<DomainReport> {
        self.domains.clone()
    }

    fn filter(&mut self, _config: &Config) -> Result<Box<dyn Domain>, FirewallError> {
        let Some((requests, notices)) = self.filter.take() else {
            return Err(FirewallError::Lost);
        };
        match filter::Remote::connect(requests, notices) {
            Ok(remote) => Ok(Box::new(remote)),
            // It has said why.
            Err(ChannelError::Gone | ChannelError::Silent) => Err(FirewallError::Lost),
            Err(cause @ (ChannelError::Malformed | ChannelError::Io(_))) => {
                Err(FirewallError::Denied(cause.to_string()))
            }
        }
    }

    fn captures(&mut self, _config: &Config) -> Result<Vec<Box<dyn Capture>>, CaptureError> {
        let open = |channel| -> Result<Box<dyn Capture>, CaptureError> {
            Ok(Box::new(RemoteCapture::open(channel)?))
        };
        self.captures.drain(..).map(open).collect()
    }

    fn syns(&mut self, _config: &Config) -> Box<dyn Syns> {
        match self.syns.take() {
            Some(channel) => Box::new(RemoteSyns::new(channel)),
            None => Box::new(SynCaptures::default()),
        }
    }

    fn commands(&mut self, _config: &Config, orders: OrderSender) -> io::Result<Box<dyn Commands>> {
        Ok(match self.commands.take() {
            Some(channel) => Box::new(RemoteCommands::start(channel, orders)?),
            None => Box::new(NoCommands),
        })
    }
}

impl Commands for NoCommands {
    fn start(&self, _command: Command) -> Result<(), Ended> {
        Err(CommandEnd::NotRun("commands are off on this host".to_owned()).into())
    }

    fn end(&self, _id: GrantId) {}

    fn leave(&self) {}
}
