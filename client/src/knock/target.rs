//! Whom to knock at, where, and under which keys: by the fleet's directory, or with static keys.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fleet::wire::DirectoryHost;
use member::Membership;
use policy::PortSet;
use program::Failure as _;
use spa::{ExchangePublic, Keys};

use super::args::KnockArgs;
use super::asker::Asker;
use super::gpg::PacketKeys;
use super::keep::Keep;
use super::listed::{Listed, port_set, spa_port};
use super::refresh;
use super::request::{AllowBy, KnockRequest, What, login_name};
use super::send::Route;
use crate::context::Context;
use crate::directory::{Directory, addresses};
use crate::error::{CommandError, Result};
use crate::profile::home;
use crate::rc::{RcFile, Stanza};
use crate::ui::Ui;

/// All that the packet and its way need.
#[derive(Debug)]
pub(crate) struct Target {
    /// As it was named.
    pub(crate) name: String,
    /// Where to send to: addresses or names, never empty.
    pub(crate) addresses: Vec<String>,
    pub(crate) port: u16,
    pub(crate) keys: PacketKeys,
    pub(crate) tagged: bool,
    pub(crate) username: String,
    pub(crate) allow: AllowBy,
    /// The fleet's controller, for its members.
    pub(crate) asker: Option<Asker>,
    /// What the directory says of the host.
    pub(crate) listed: Option<Listed>,
    pub(crate) request: KnockRequest,
    pub(crate) route: Route,
    /// The file that packets are written to as well.
    pub(crate) keep: Option<Keep>,
    /// No packet so far was one that a stock server, and fwknop's own client, cannot read.
    pub(crate) is_read_by_fwknopd: bool,
}

/// Finds the target: in the fleet when the profile has joined one and no static key is meant.
///
/// # Errors
///
/// Exit code 2 when the command line does not say enough, 1 when the host is not known, 3 when the
/// controller is needed and not reached.
pub(crate) async fn find(
    context: &Context,
    args: &KnockArgs,
    host: Option<&str>,
) -> Result<Target> {
    let membership = if args.keys.is_static() {
        None
    } else {
        context.profile.membership_if_any()?
    };
    match (host, membership) {
        (Some(host), Some(membership)) => {
            let mut asker = Asker::new(membership);
            let directory = refresh::directory(context, &mut asker, host, args).await?;
            in_fleet(&context.ui, asker, &directory, host, args)
        }
        (host, _) => outside(context, args, host),
    }
}

/// The same by this directory, with nobody to ask where it does not know the host.
pub(crate) fn in_fleet(
    ui: &Ui,
    asker: Asker,
    directory: &Directory,
    host: &str,
    args: &KnockArgs,
) -> Result<Target> {
    let membership = asker.membership();
    let entries = directory.entries(host);
    let Some(&first) = entries.first() else {
        return Err(unknown_host(membership, directory, host));
    };
    let mut request = KnockRequest::merge(&args.request, &Stanza::default())?;
    let route = Route::merge(&args.route, &Stanza::default())?;
    choose_ports(ui, (&mut request, &route), &entries)?;
    // When none lets in what is asked for, the host says why not.
    let entry = entry_for(&request, &entries).unwrap_or(first);
    // Whoever says -R and no page means what the fleet finds out by itself.
    let allow = match request.allow.clone() {
        None | Some(AllowBy::Resolve { said: false, .. }) => AllowBy::Find,
        Some(allow) => allow,
    };
    Ok(Target {
        name: host.to_owned(),
        addresses: match &args.route.destination {
            Some(named) => vec![named.clone()],
            None => addresses(entry),
        },
        port: route.port.unwrap_or_else(|| spa_port(entry)),
        keys: PacketKeys::Rijndael(pairwise(membership, entry)?),
        tagged: args.keys.form().unwrap_or(true),
        username: request
            .username
            .clone()
            .unwrap_or_else(|| membership.name.clone()),
        allow,
        listed: Some(Listed {
            ports: permitted(&entries),
            ..Listed::of(directory, entry)
        }),
        asker: Some(asker),
        request,
        route,
        keep: Keep::of(&args.keep),
        is_read_by_fwknopd: true,
    })
}

/// That a host which policy lets her in to is closed to everybody.
pub(crate) fn locked_words(host: &str) -> String {
    format!("{host} is locked or being installed anew: nobody can open anything there now")
}

/// What can be done about it.
pub(crate) const LOCKED_HINT: &str =
    "ask an operator; it is there again as soon as it is unlocked, or has joined anew";

fn unknown_host(membership: &Membership, directory: &Directory, host: &str) -> CommandError {
    if directory.is_locked(host) {
        return CommandError::refused(locked_words(host)).with_hint(LOCKED_HINT);
    }
    let error = CommandError::refused(format!(
        "no policy lets {} open anything on a host named {host}",
        membership.name
    ));
    let names = directory.names();
    let nearest = names
        .iter()
        .map(|name| (strsim::jaro_winkler(name, host), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match nearest {
        Some((_, nearest)) => error.with_hint(format!(
            "did you mean {nearest}? `postern list` shows the hosts; for one outside of the fleet use \
             -D ADDRESS alone"
        )),
        None => error.with_hint(
            "`postern list` shows the hosts; for one outside of the fleet use -D ADDRESS alone",
        ),
    }
}

/// All that the entries of a host let in, each once; empty for anything.
fn permitted(entries: &[&DirectoryHost]) -> Vec<String> {
    if entries.iter().any(|entry| entry.ports.is_empty()) {
        return Vec::new();
    }
    let ports = entries.iter().flat_map(|entry| &entry.ports).cloned();
    let ports: BTreeSet<String> = ports.collect();
    ports.into_iter().collect()
}

/// The keys of this user and that host.
///
/// # Errors
///
/// Exit code 1 when the host's public key is unfit, or a keyring does not give this user's.
pub(crate) fn pairwise(membership: &Membership, host: &DirectoryHost) -> Result<Keys> {
    let unfit = || CommandError::refused(format!("the key of {} is unfit", host.name));
    let secret = membership
        .exchange()?
        .ok_or_else(|| CommandError::refused("this profile has no exchange key"))?;
    let their: [u8; 32] = host
        .exchange_key
        .as_slice()
        .try_into()
        .map_err(|_| unfit())?;
    let their = ExchangePublic(their);
    spa::pairwise(secret, &their, &secret.public(), &their).map_err(|cause| unfit().because(cause))
}

/// The entry that lets in what is asked for: another one may have another SPA port.
fn entry_for<'e>(
    request: &KnockRequest,
    entries: &[&'e DirectoryHost],
) -> Option<&'e DirectoryHost> {
    let permits = |entry: &DirectoryHost| match &request.what {
        What::Ports { ports, forward: _ } => {
            let allowed = port_set(&entry.ports);
            entry.ports.is_empty() || ports.iter().all(|port| allowed.contains(*port))
        }
        What::Close { .. } | What::Command(_) => true,
    };
    entries.iter().find(|entry| permits(entry)).copied()
}

/// Fills in the one port that the directory names, and warns of those that it does not.
fn choose_ports(
    ui: &Ui,
    (request, route): (&mut KnockRequest, &Route),
    entries: &[&DirectoryHost],
) -> Result {
    let What::Ports { ports, forward } = &mut request.what else {
        return Ok(());
    };
    let anything = entries.iter().any(|entry| entry.ports.is_empty());
    let allowed = entries.iter().flat_map(|entry| &entry.ports);
    let allowed = port_set(allowed);
    if ports.is_empty() {
        match allowed.iter().next().filter(|only| only.single().is_some()) {
            Some(port) if allowed.len() == 1 && !anything => ports.push(port),
            // The stanza says what it opens.
            Some(_) | None if route.sequence.is_some() => {}
            Some(_) | None => {
                return Err(
                    CommandError::usage("which port? nothing is asked for with -A")
                        .with_hint(format!("you may ask for {}", any_of(&allowed, anything))),
                );
            }
        }
    } else if !anything && forward.is_none() {
        for port in ports {
            if !allowed.contains(*port) {
                ui.warn(format_args!(
                    "the directory does not let you open {port} there; `postern sync` fetches it anew"
                ));
            }
        }
    }
    Ok(())
}

fn any_of(ports: &PortSet, anything: bool) -> String {
    if anything {
        "any port, as in -A tcp/22".to_owned()
    } else {
        let ports: Vec<String> = ports.spelled_out().map(|port| port.to_string()).collect();
        ports.join(", ")
    }
}

fn outside(context: &Context, args: &KnockArgs, host: Option<&str>) -> Result<Target> {
    let ui = &context.ui;
    if host.is_some() && args.route.destination.is_some() {
        return Err(CommandError::usage(
            "HOST and -D both name a host, and this profile has joined no fleet",
        )
        .with_hint("leave one of them out, or join with `postern join -`"));
    }
    let (rc, stanza) = read_rc(ui, args)?;
    by_stanza(ui, args, host, (&rc, &stanza))
}

/// Whom the stanza names, with the command line on top of it.
///
/// # Errors
///
/// Exit code 2 when they do not say enough, 64 for what is wrong in the stanza.
pub(crate) fn by_stanza(
    ui: &Ui,
    args: &KnockArgs,
    host: Option<&str>,
    (rc, stanza): (&RcFile, &Stanza),
) -> Result<Target> {
    stanza.require_supported()?;
    require_a_way_in(args, host, (rc, stanza))?;
    let own = args.keys.named_config.as_deref();
    let server = stanza.text("SPA_SERVER");
    // The name of the stanza is that of the host, where the stanza says where it is.
    let name = host
        .filter(|host| server.is_none() || own != Some(host))
        .or(args.route.destination.as_deref())
        .or(server)
        .ok_or_else(|| no_host(rc))?
        .to_owned();
    let request = KnockRequest::merge(&args.request, stanza)?;
    require_ports(&request, args.route.sequence.is_some())?;
    let allow = request.allow.clone().ok_or_else(|| {
        CommandError::usage("for which address? one of -a, -s and -R is needed").with_hint(
            "-a IP names it, -R asks a web page for it, -s takes wherever the packet comes from",
        )
    })?;
    let route = Route::merge(&args.route, stanza)?;
    let keys = PacketKeys::find(ui, &args.keys, stanza, &name).map_err(|error| {
        if error.hint().is_some() && rc.has(&name) && args.keys.named_config.is_none() {
            return error.with_hint(format!("there is a stanza of this name; say -n {name}"));
        }
        error
    })?;
    Ok(Target {
        addresses: vec![name.clone()],
        port: route.port.unwrap_or(fleet::DEFAULT_SPA_PORT),
        keys,
        tagged: args.keys.form().unwrap_or(false),
        username: request.username.clone().unwrap_or_else(login_name),
        allow,
        asker: None,
        listed: None,
        request,
        route,
        keep: Keep::of(&args.keep),
        is_read_by_fwknopd: true,
        name,
    })
}

/// A name alone is what members of a fleet say; whoever is none yet is told so, and not asked for
/// addresses and keys.
fn require_a_way_in(
    args: &KnockArgs,
    host: Option<&str>,
    (rc, stanza): (&RcFile, &Stanza),
) -> Result {
    let Some(host) = host else {
        return Ok(());
    };
    let says_how = args.keys.is_static()
        || args.request.says_for_whom()
        || stanza
            .text("KEY")
            .or_else(|| stanza.text("KEY_BASE64"))
            .is_some();
    if says_how || host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let error = CommandError::refused(format!(
        "{host} cannot be looked up: this profile has joined no fleet"
    ));
    Err(if rc.has(host) {
        error.with_hint(format!(
            "the rc file has a stanza of this name: `postern knock -n {host}`; to join a fleet, \
             `postern join -`"
        ))
    } else {
        error.with_hint(
            "`postern join -` joins with a token from an operator; for a host outside of a fleet \
             name its address, a port with -A, a key with --key-file or -n, and one of -a, -R and -s",
        )
    })
}

fn require_ports(request: &KnockRequest, is_sequence: bool) -> Result {
    match &request.what {
        // The stanza says what a sequence without a port opens.
        What::Ports { .. } if is_sequence => Ok(()),
        What::Ports { ports, .. } if ports.is_empty() => {
            Err(CommandError::usage("which port? nothing is asked for")
                .with_hint("-A tcp/22 opens a port, -C runs a command"))
        }
        What::Ports { .. } | What::Close { .. } | What::Command(_) => Ok(()),
    }
}

fn no_host(rc: &RcFile) -> CommandError {
    let names: Vec<&str> = rc.names().collect();
    let error = CommandError::usage("which host? there is neither HOST nor -D");
    if names.is_empty() {
        return error.with_hint("write `postern knock HOST -A tcp/22`");
    }
    error.with_hint(format!("the rc file has the stanzas {}", names.join(", ")))
}

/// The rc file and the stanza to start from.
fn read_rc(ui: &Ui, args: &KnockArgs) -> Result<(RcFile, Stanza)> {
    let keys = &args.keys;
    let path = match &keys.rc_file {
        Some(path) => path.clone(),
        None => home().join(".fwknoprc"),
    };
    let wanted = keys.rc_file.is_some() || keys.named_config.is_some();
    let rc = if keys.no_rc_file || (!wanted && !path.exists()) {
        RcFile::default()
    } else {
        RcFile::read(&path)?
    };
    if rc.is_exposed() {
        let name = path.display();
        ui.warn(format_args!(
            "others can read the keys in {name}; run `chmod 600 {name}`"
        ));
    }
    let stanza = rc.stanza(keys.named_config.as_deref()).ok_or_else(|| {
        let name = keys.named_config.as_deref().unwrap_or_default();
        let names: Vec<&str> = rc.names().collect();
        CommandError::refused(format!("{} has no stanza [{name}]", path.display()))
            .with_hint(format!("it has {}", names.join(", ")))
    })?;
    Ok((rc, stanza))
}
