//! `postern proxy`

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::num::NonZeroU16;
use std::thread;

use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::reach::{ReachArgs, reach};

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;

/// Knock at a host, wait until the port answers, and pass standard input and output on
///
/// Made for ssh's ProxyCommand. Nothing but what the host sends is printed to standard output. When the
/// port does not open, it is said why on standard error: exit code 1.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern proxy web-1 22 < /dev/null
  postern proxy -n office 22 < /dev/null      a stanza of ~/.fwknoprc

In ~/.ssh/config, so that ssh, scp, rsync and git knock by themselves; %n is the name as it was typed:
  Host web-* db-*
    ProxyCommand postern proxy %n %p

Where ssh is to connect by itself, the same with a knock before it:
  Match host web-* exec \"postern knock --quiet %n -A tcp/%p\"")]
pub(crate) struct ProxyArgs {
    /// Host: a name of the directory, or outside of a fleet an address or name; may be left out with
    /// -n STANZA, which has SPA_SERVER
    host: String,

    /// TCP port there
    #[arg(required_unless_present = "named_config")]
    port: Option<NonZeroU16>,

    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) async fn run(context: &Context, args: ProxyArgs) -> Result {
    let ProxyArgs {
        host,
        port,
        reach: options,
    } = args;
    let (host, port) = match port {
        Some(port) => (Some(host), port),
        None => (None, port_alone(&host)?),
    };
    let named = host
        .as_deref()
        .or_else(|| options.stanza())
        .unwrap_or_default();
    let named = named.to_owned();
    let access = format!("tcp/{port}").parse().map_err(CommandError::usage)?;
    let args = options.into_knock(host, Some(access));
    let reached = reach(context, &args).await?;
    let broken = |cause| {
        CommandError::unreachable(format!("the connection to tcp/{port} of {named} broke"))
            .because(cause)
    };
    let stream = reached.stream.into_std().map_err(broken)?;
    stream.set_nonblocking(false).map_err(broken)?;
    pass_through(stream).map_err(broken)
}

/// The one word beside -n STANZA.
fn port_alone(word: &str) -> Result<NonZeroU16> {
    word.parse().map_err(|_| {
        CommandError::usage(format!("which port? `{word}` is none"))
            .with_hint("write `postern proxy -n STANZA PORT`, or HOST and PORT")
    })
}

/// Both ways at once, until the host is done. Whoever waits for standard input ends with the program.
fn pass_through(mut stream: TcpStream) -> io::Result<()> {
    let mut to_host = stream.try_clone()?;
    thread::spawn(move || {
        let _ = pass(&mut io::stdin().lock(), &mut to_host);
        let _ = to_host.shutdown(Shutdown::Write);
    });
    match pass(&mut stream, &mut io::stdout().lock()) {
        // Nobody reads any more.
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

/// What is read is written at once: somebody waits for it.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        to.write_all(piece.get(..count).unwrap_or_default())?;
        to.flush()?;
    }
}
