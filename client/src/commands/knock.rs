//! `postern knock`

use spa::Allow;

use crate::context::Context;
use crate::error::Result;
use crate::knock::args::KnockArgs;
use crate::knock::outside;
use crate::knock::packet::{self, Circumstances};
use crate::knock::request::AllowBy;
use crate::knock::target::{self, Target};

pub(crate) async fn run(context: &Context, args: KnockArgs) -> Result {
    let target = target::find(&context.ui, &context.profile, &args).await?;
    let allow = match &target.allow {
        AllowBy::Known(allow) => *allow,
        AllowBy::Resolve(url) => Allow::Address(outside::address(url)?),
    };
    let world = Circumstances {
        now_secs: context.now_secs,
        username: target.username.clone(),
        allow,
        host: target.name.clone(),
    };
    let message = packet::message(&target.request, &world)?;
    let packet = packet::seal(&message, &target.keys, target.tagged)?;

    let mut lines = packet::fields(&message)?;
    if context.verbose > 0 {
        lines.extend(more(&target));
    }
    if args.dry_run {
        lines.iter().for_each(|line| context.ui.note(line));
        return context.ui.say(packet);
    }
    for line in lines {
        context.ui.say(line)?;
    }
    let Target {
        name,
        address,
        port,
        route,
        ..
    } = &target;
    let (transport, length) = (route.transport, packet.len());
    context.ui.say(format_args!(
        "sending {length} byte packet to {name} over {transport}/{port}"
    ))?;
    route.send(&packet, address, *port)
}

/// What -v adds. Keys appear by their public names only.
fn more(target: &Target) -> Vec<String> {
    let keys = &target.keys;
    let hmac = keys
        .hmac()
        .map_or_else(|| "none".to_owned(), |(_, digest)| digest.to_string());
    let form = if target.tagged { "tagged" } else { "fwknop" };
    let transport = target.route.transport;
    vec![
        format!("key: {}", keys.fingerprint()),
        format!("encryption mode: {}", keys.mode()),
        format!("hmac: {hmac}"),
        format!("form: {form}"),
        format!(
            "way: {transport} to {} port {}",
            target.address, target.port
        ),
    ]
}
