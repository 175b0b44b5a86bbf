//! Syslog (RFC 5424) over TLS (RFC 5425), or in clear over TCP (RFC 6587, counted) or UDP (RFC 5426).
//!
//! Syslog has no answers. A batch is therefore a connection of its own: when all is written, we say
//! that nothing more comes, and wait until the receiver has read that far and says the same. A
//! receiver that dies before it has read everything is noticed, and gets the batch again; one that
//! never ends a connection is believed after a while. Over UDP nobody knows what arrives.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleet::export::Record;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access;
use super::error::{Answer, DeliveryError};
use super::text;
use crate::settings::{Access, Format, Transport};

/// How long a receiver may take to end a connection after us.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Sends to one receiver.
#[derive(Debug)]
pub(crate) struct Syslog {
    /// `host:port`
    pub(super) address: String,
    pub(super) transport: Transport,
    pub(super) format: Format,
    pub(super) access: Access,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// The receiver has read everything.
    Both,
    /// It did not say.
    OursOnly,
}

// === impl Syslog ===

impl Syslog {
    pub(super) async fn send(&self, records: &[Record]) -> Result<Answer, DeliveryError> {
        let messages = records
            .iter()
            .map(|record| text::syslog(record, self.format));
        let end = match self.transport {
            Transport::Udp => return self.send_datagrams(messages).await,
            Transport::Tcp => {
                let stream = self.connect().await?;
                deliver(stream, &counted(messages)).await
            }
            Transport::Tls => {
                let config = access::tls(&self.access)?;
                let stream = self.connect().await?;
                let connector = TlsConnector::from(Arc::new(config));
                let stream = connector.connect(self.server_name()?, stream).await;
                let stream = stream.map_err(|source| self.unreachable(source))?;
                deliver(stream, &counted(messages)).await
            }
        };
        let end = end.map_err(|source| DeliveryError::Broken {
            place: self.address.clone(),
            source,
        })?;
        Ok(Answer(match end {
            End::Both => "the receiver read everything and ended the connection".to_owned(),
            End::OursOnly => {
                "everything was written; the receiver did not end the connection".to_owned()
            }
        }))
    }

    async fn connect(&self) -> Result<TcpStream, DeliveryError> {
        let stream = TcpStream::connect(&self.address).await;
        stream.map_err(|source| self.unreachable(source))
    }

    async fn send_datagrams(
        &self,
        messages: impl Iterator<Item = String>,
    ) -> Result<Answer, DeliveryError> {
        let failed = |source| self.unreachable(source);
        let to = tokio::net::lookup_host(&self.address)
            .await
            .map_err(failed)?
            .next();
        let to = to.ok_or_else(|| failed(io::Error::other("the name has no address")))?;
        let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(from).await.map_err(failed)?;
        socket.connect(to).await.map_err(failed)?;
        for message in messages {
            socket.send(message.as_bytes()).await.map_err(failed)?;
        }
        Ok(Answer(
            "sent; nobody knows what arrives over UDP".to_owned(),
        ))
    }

    /// The name that the receiver's certificate must have.
    fn server_name(&self) -> Result<ServerName<'static>, DeliveryError> {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(host);
        name.map_err(|_| self.unreachable(io::Error::other("not a name of a host")))
    }

    fn unreachable(&self, source: io::Error) -> DeliveryError {
        DeliveryError::Connect {
            place: self.address.clone(),
            source,
        }
    }
}

/// RFC 5425, 4.3: each message with its length in bytes before it.
fn counted(messages: impl Iterator<Item = String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
        bytes.extend_from_slice(message.as_bytes());
    }
    bytes
}

/// Writes everything, and waits until the receiver has read it.
async fn deliver<S>(mut stream: S, bytes: &[u8]) -> io::Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(bytes).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let ended = timeout(END_PATIENCE, async {
        // What a receiver says is nothing of ours: it is read and forgotten.
        let mut said = [0; 1024];
        while stream.read(&mut said).await? > 0 {}
        Ok::<_, io::Error>(())
    });
    match ended.await {
        Ok(Ok(())) => Ok(End::Both),
        // The connection was ended without the words of TLS for it.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(End::Both),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(End::OursOnly),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_preceded_by_its_length_in_bytes() {
        let messages = ["<85>1 a".to_owned(), "ä".to_owned()];

        assert_eq!(counted(messages.into_iter()), "7 <85>1 a2 ä".as_bytes());
    }

    #[tokio::test]
    async fn a_receiver_that_breaks_off_before_it_has_read_everything_gets_it_again() {
        let (ours, theirs) = tokio::io::duplex(8);
        drop(theirs);

        assert!(deliver(ours, b"more than eight bytes").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_never_ends_a_connection_is_believed_after_a_while() {
        let (ours, _theirs) = tokio::io::duplex(64);

        assert_eq!(deliver(ours, b"short").await.unwrap(), End::OursOnly);
    }
}
