//! `postern ssh`

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::args::Access;
use crate::knock::reach::{ReachArgs, reach};

/// The port of ssh when nobody says.
const SSH_PORT: u16 = 22;

/// Knock at a host, wait until ssh answers there, and start ssh
///
/// HOST and what follows are for ssh, as in `ssh HOST [ARGS]`: options of this command stand before
/// HOST. ssh is told the address that answered, and keeps the host's key under the name that was typed.
/// The port is that of -A, or of ssh's -p, else 22.
///
/// When the port does not open, it is said why and ssh is not started: exit code 1. Else the exit code
/// is that of ssh.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern ssh web-1
  postern ssh root@web-1 -p 2222 uptime
  postern ssh -f 60 web-1 -L 8080:localhost:80
  postern ssh -n office                       a stanza of ~/.fwknoprc

So that plain `ssh web-1` knocks by itself, in ~/.ssh/config:
  Host web-* db-*
    ProxyCommand postern proxy %n %p")]
pub(crate) struct SshArgs {
    /// Port of ssh there [default: tcp/22]
    #[arg(short = 'A', long, value_name = "PORT")]
    access: Option<Access>,

    #[command(flatten)]
    reach: ReachArgs,

    // Not as documentation, where the brackets would be a link.
    #[arg(
        help = "[USER@]HOST, and what else ssh is told",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "HOST"
    )]
    words: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: SshArgs) -> Result {
    let SshArgs {
        access,
        reach: options,
        words,
    } = args;
    let (named, rest) = match words.split_first() {
        Some((first, _)) if first.starts_with('-') => {
            return Err(CommandError::usage(format!(
                "{first} stands before the host and is no option of this command"
            ))
            .with_hint("options of ssh stand behind HOST: `postern ssh web-1 -l root`"));
        }
        Some((first, rest)) => (Some(first.clone()), rest.to_vec()),
        None => (None, Vec::new()),
    };
    let host = named.as_deref().map(|named| host_of(named).to_owned());
    let access = match access {
        Some(access) => access,
        None => format!("tcp/{}", port_in(&rest).unwrap_or(SSH_PORT))
            .parse()
            .map_err(CommandError::usage)?,
    };
    let args = options.into_knock(host, Some(access));
    let reached = reach(context, &args).await?;
    let name = reached.knock.target.name.clone();
    let mut command = ssh(&named.unwrap_or(name), reached.at, &rest);
    drop(reached);
    let cause = command.exec();
    let error = CommandError::refused("cannot start ssh");
    Err(if cause.kind() == ErrorKind::NotFound {
        error.because("there is no program ssh on this machine")
    } else {
        error.because(cause)
    })
}

/// ssh to the address that answered, under the name that was typed.
fn ssh(named: &str, at: SocketAddr, rest: &[String]) -> Command {
    let mut command = Command::new("ssh");
    let address = at.ip().to_canonical();
    command.arg("-o").arg(format!("HostName={address}"));
    command
        .arg("-o")
        .arg(format!("HostKeyAlias={}", host_of(named)));
    // It was knocked for already.
    command.args(["-o", "ProxyCommand=none"]);
    if port_in(rest).is_none() && at.port() != SSH_PORT {
        command.arg("-p").arg(at.port().to_string());
    }
    command.arg(named).args(rest);
    command
}

fn host_of(named: &str) -> &str {
    named.rsplit_once('@').map_or(named, |(_, host)| host)
}

/// The port among the options of ssh, which end where the remote command begins.
fn port_in(words: &[String]) -> Option<u16> {
    /// Options of ssh that take a value of their own.
    const WITH_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut letters = word.strip_prefix('-')?.chars();
        let Some(first) = letters.find(|letter| WITH_VALUE.contains(*letter)) else {
            continue;
        };
        let stuck = letters.as_str();
        let value = if stuck.is_empty() {
            words.next()?
        } else {
            stuck
        };
        if first == 'p' {
            return value.parse().ok();
        }
        if first == 'o'
            && let Some((name, port)) = value.split_once(['=', ' '])
            && name.eq_ignore_ascii_case("port")
        {
            return port.trim().parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_port_of_ssh_is_found_among_its_options_and_not_in_the_remote_command() {
        for (text, port) in [
            ("", None),
            ("-p 2222", Some(2222)),
            ("-vp2222 uptime", Some(2222)),
            ("-l root -p 2222", Some(2222)),
            ("-o Port=2222", Some(2222)),
            ("-l -p nc -p 80", None),
            ("uptime -p", None),
            ("-L 8080:localhost:80 -N", None),
        ] {
            assert_eq!(port_in(&words(text)), port, "{text}");
        }
    }

    #[test]
    fn ssh_is_told_the_address_that_answered_and_keeps_the_name() {
        let at = "[2001:db8::1]:2222".parse().unwrap();

        let command = ssh("root@web-1", at, &words("uptime"));

        let told: Vec<_> = command
            .get_args()
            .filter_map(|word| word.to_str())
            .collect();
        let expected = "-o HostName=2001:db8::1 -o HostKeyAlias=web-1 -o ProxyCommand=none -p 2222 \
                        root@web-1 uptime";
        assert_eq!(told.join(" "), expected);
    }
}
