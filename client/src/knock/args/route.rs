//! Where a packet goes, and how.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Where the packet goes, and how.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Way")]
pub(crate) struct RouteArgs {
    /// Address or name to send to; with HOST of a fleet instead of the directory's address
    #[arg(short = 'D', long, value_name = "ADDRESS")]
    pub(crate) destination: Option<String>,

    /// Port to send to [default: the directory's, else 62201]
    #[arg(short = 'p', long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) server_port: Option<u16>,

    /// Way to send: udp, tcp, http, or with CAP_NET_RAW udpraw, tcpraw, icmp [default: udp]
    #[arg(short = 'P', long, value_name = "PROTO")]
    pub(crate) server_proto: Option<Transport>,

    /// Knock at a sequence of ports instead of sending a packet, by empty datagrams or, with =tcp, by
    /// SYNs: where no packet with a payload gets through. The stanza must say KNOCK_SEQUENCE. There is
    /// room for one port of -A; without -A the stanza opens what it lists. The address that it opens
    /// for must be the one under which the host sees this machine
    #[arg(
        long,
        value_name = "PROTO",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "udp",
        conflicts_with_all = ["server_port", "server_proto", "spoof_source", "rand_port", "http_proxy"]
    )]
    pub(crate) sequence: Option<SequenceProto>,

    /// Source port to send from
    #[arg(short = 'S', long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) source_port: Option<u16>,

    /// Source address to write into the packet, with -P udpraw, tcpraw or icmp
    #[arg(short = 'Q', long, value_name = "IP", value_parser = address)]
    pub(crate) spoof_source: Option<IpAddr>,

    /// Send to a random port from 10000 to 65534; the host must capture them all
    #[arg(short = 'r', long, conflicts_with = "server_port")]
    pub(crate) rand_port: bool,

    /// Send through a web proxy, as HOST:PORT; without PORT the port of -p. Means -P http
    #[arg(short = 'H', long, value_name = "PROXY")]
    pub(crate) http_proxy: Option<Proxy>,

    /// User agent of -P http and of the question that -R asks [default: Fwknop/3.0.0]
    #[arg(short = 'u', long, value_name = "NAME", value_parser = agent)]
    pub(crate) user_agent: Option<String>,

    /// Call ourselves Wget when -R asks
    #[arg(long, conflicts_with = "user_agent")]
    pub(crate) use_wget_user_agent: bool,

    /// ICMP type of -P icmp [default: echo reply]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) icmp_type: Option<u8>,

    /// ICMP code of -P icmp [default: 0]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) icmp_code: Option<u8>,

    /// Send over IPv4 only
    #[arg(short = '4', long, alias = "server-resolve-ipv4")]
    pub(crate) ipv4: bool,

    /// Send over IPv6 only
    #[arg(short = '6', long, conflicts_with = "ipv4")]
    pub(crate) ipv6: bool,
}

/// How a packet travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    /// In one datagram.
    Udp,
    /// In the first segment of a connection.
    Tcp,
    /// As the path of a GET request.
    Http,
    /// In a datagram that is made here down to the network header.
    UdpRaw,
    /// In a SYN segment that begins no connection.
    TcpRaw,
    /// In an ICMP message, by default an echo reply.
    Icmp,
}

/// What the packets of a knock sequence are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SequenceProto {
    /// Empty datagrams.
    Udp,
    /// SYNs.
    Tcp,
}

/// A web proxy that passes the request on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    /// `None` is the port that the packet goes to.
    pub(crate) port: Option<u16>,
}

// === impl Transport ===

impl Transport {
    /// Whether the headers are made here, for which the kernel asks CAP_NET_RAW.
    pub(crate) fn is_raw(self) -> bool {
        match self {
            Self::UdpRaw | Self::TcpRaw | Self::Icmp => true,
            Self::Udp | Self::Tcp | Self::Http => false,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::TcpRaw => "tcpraw",
            Self::Udp => "udp",
            Self::UdpRaw => "udpraw",
        })
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            "http" => Ok(Self::Http),
            "udpraw" => Ok(Self::UdpRaw),
            "tcpraw" => Ok(Self::TcpRaw),
            "icmp" => Ok(Self::Icmp),
            _ => Err("write udp, tcp, http, udpraw, tcpraw or icmp".to_owned()),
        }
    }
}

// === impl SequenceProto ===

impl FromStr for SequenceProto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            _ => Err("write udp or tcp".to_owned()),
        }
    }
}

impl fmt::Display for SequenceProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

// === impl Proxy ===

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("write HOST:PORT of a proxy that speaks HTTP".to_owned()),
        };
        let rest = rest.split('/').next().unwrap_or_default();
        // The text is not repeated: it may be a password.
        if rest.contains('@') {
            return Err("a name and password for the proxy are not sent".to_owned());
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(self::port(port)?))
            }
            Some(_) | None => (rest, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("there is no host; write HOST:PORT".to_owned());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Reads a port.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a port, 1 to 65535".to_owned()),
        Ok(port) => Ok(port),
    }
}

/// An address, IPv4 or IPv6.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| "not an IPv4 or IPv6 address".to_owned())
}

/// A user agent, which is a line of its own in a request.
pub(crate) fn agent(text: &str) -> Result<String, String> {
    let is_fit = !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    is_fit
        .then(|| text.to_owned())
        .ok_or_else(|| "write printable ASCII characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_perhaps_a_port() {
        let proxy = |host: &str, port| {
            Ok(Proxy {
                host: host.to_owned(),
                port,
            })
        };

        assert_eq!("proxy.example".parse(), proxy("proxy.example", None));
        assert_eq!("192.0.2.1:3128".parse(), proxy("192.0.2.1", Some(3128)));
        assert_eq!("http://p:81/x".parse(), proxy("p", Some(81)));
        assert_eq!("[2001:db8::1]:80".parse(), proxy("2001:db8::1", Some(80)));
        assert_eq!("2001:db8::1".parse(), proxy("2001:db8::1", None));
        for unfit in ["", ":80", "p:0", "p:70000", "https://p", "ftp://p"] {
            assert!(unfit.parse::<Proxy>().is_err(), "{unfit}");
        }
    }

    #[test]
    fn a_password_of_a_proxy_is_refused_and_not_repeated() {
        let refused = "mbr:hunter2@proxy:80".parse::<Proxy>().unwrap_err();

        assert!(!refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_user_agent_cannot_add_a_line_to_the_request() {
        assert_eq!(agent("Mozilla/5.0").as_deref(), Ok("Mozilla/5.0"));
        assert!(agent("x\r\nHost: y").is_err());
        assert!(agent("").is_err());
    }
}
