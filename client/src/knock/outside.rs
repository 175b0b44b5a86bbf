//! The address that the world sees us under, as a web page tells it.

use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use ureq::config::IpFamily;

use crate::error::{CommandError, Result};

/// How long the page may take in all.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The most of a page that is read, in bytes; an address has at most 39.
const PAGE_LEN_MAX: u64 = 4096;

/// A web page, and who asks it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    pub(crate) url: &'a str,
    /// As whom; `None` as wget calls itself.
    pub(crate) agent: Option<&'a str>,
    /// A program that asks, as wget does; `None` for ourselves.
    pub(crate) wget: Option<&'a str>,
}

/// Asks the page.
///
/// # Errors
///
/// Exit code 3 when the page cannot be read, 1 when it shows no address of the family that `way` is
/// of: the hole would be for packets that never come.
pub(crate) async fn address(page: Page<'_>, way: Option<IpAddr>) -> Result<IpAddr> {
    let url = page.url;
    let text = match page.wget {
        Some(program) => by_wget(program, page).await?,
        None => by_ourselves(page, way)?,
    };
    let hint = "name another page with --resolve-url, or the address itself with -a";
    let address = first_address(&text)
        .ok_or_else(|| CommandError::refused(format!("{url} shows no address")).with_hint(hint))?;
    match way {
        Some(way) if way.is_ipv4() != address.is_ipv4() => {
            let family = if way.is_ipv4() { "IPv4" } else { "IPv6" };
            Err(CommandError::refused(format!(
                "{url} shows {address}, and the packet goes over {family}, as what follows would"
            ))
            .with_hint(hint))
        }
        Some(_) | None => Ok(address),
    }
}

/// The words that the reference calls wget with.
async fn by_wget(program: &str, Page { url, agent, .. }: Page<'_>) -> Result<String> {
    let mut command = tokio::process::Command::new(program);
    if let Some(agent) = agent {
        command.args(["-U", agent]);
    }
    command
        .args(["--secure-protocol=auto", "--quiet", "-O", "-", url])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let unasked = || {
        CommandError::unreachable(format!("{program} could not ask {url} for our address"))
            .with_hint("without -w and WGET_CMD it is asked without wget; -a names the address")
    };
    let ran = tokio::time::timeout(TIMEOUT, command.output()).await;
    let output = ran
        .map_err(|_| unasked().because("it did not end in time"))?
        .map_err(|cause| unasked().because(cause))?;
    if !output.status.success() {
        return Err(unasked().because(output.status.to_string()));
    }
    let page = output.stdout;
    let most = usize::try_from(PAGE_LEN_MAX).unwrap_or(usize::MAX);
    let page = page.get(..most).unwrap_or(&page);
    Ok(String::from_utf8_lossy(page).into_owned())
}

fn by_ourselves(Page { url, agent, .. }: Page<'_>, way: Option<IpAddr>) -> Result<String> {
    let name = agent.unwrap_or("Wget");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(3)
        .ip_family(match way {
            None => IpFamily::Any,
            Some(IpAddr::V4(_)) => IpFamily::Ipv4Only,
            Some(IpAddr::V6(_)) => IpFamily::Ipv6Only,
        })
        .build()
        .into();
    agent
        .get(url)
        .header("User-Agent", name)
        .call()
        .and_then(|mut answer| {
            answer
                .body_mut()
                .with_config()
                .limit(PAGE_LEN_MAX)
                .read_to_string()
        })
        .map_err(|cause| {
            CommandError::unreachable(format!("cannot ask {url} for our address"))
                .because(cause)
                .with_hint("name the address yourself with -a, or use -s")
        })
}

fn first_address(page: &str) -> Option<IpAddr> {
    page.split(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':')))
        .filter_map(|word| {
            word.trim_matches(':')
                .parse::<IpAddr>()
                .ok()
                .or_else(|| word.parse().ok())
        })
        .map(|address| address.to_canonical())
        .find(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_a_page_counts() {
        let found = |page| first_address(page).map(|address| address.to_string());

        assert_eq!(found("203.0.113.77\n").as_deref(), Some("203.0.113.77"));
        assert_eq!(
            found("{\"ip\":\"2001:db8::1\"}").as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(
            found("<b>IP: 203.0.113.9</b>").as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!(found("no such thing"), None);
    }
}
