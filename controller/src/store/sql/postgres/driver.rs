//! One connection to a server, whose statements are waited for: no longer than the server is at them, and
//! than anybody wants the answer.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, SimpleQueryMessage, Socket};
use tokio_util::sync::CancellationToken;

use crate::store::sql::Error;

/// So long nobody doubts that the server is at a statement; then it is asked over another connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// So often nobody is reached there, until the statement counts as lost.
const ATTEMPTS: u32 = 3;
/// For as long as such a question may take.
pub(in crate::store) const ASKING_MAX: Duration = Duration::from_secs(5);
/// Which connection it is: numbers alone are used again.
const NAME: &str =
    "SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// What comes at some time.
pub(in crate::store) type Later<'s, T> = Pin<Box<dyn Future<Output = T> + Send + 's>>;

/// Another way to the server of a connection.
pub(in crate::store) trait Elsewhere: Send + Sync {
    /// Whether the server is at a statement of the connection of this name; one that it is not at any more
    /// is ended there. `None` where nobody is reached.
    fn is_at_work<'s>(&'s self, name: &'s str) -> Later<'s, Option<bool>>;
    /// Ends what a connection does now.
    fn cancel(&self, token: CancelToken) -> Later<'_, ()>;
    /// Counts what is waited for.
    fn journeys(&self) -> Arc<AtomicU64>;
}

/// One connection.
pub(super) struct Driver {
    client: Client,
    /// Of the connection.
    name: String,
    elsewhere: Arc<dyn Elsewhere>,
    /// The server has said that something is not as it was asked for.
    is_warned: Arc<AtomicBool>,
    /// How often something was waited for, over this connection and others to the same server.
    journeys: Arc<AtomicU64>,
    /// Its thread is whichever waits.
    runtime: Runtime,
}

// === impl Driver ===

impl Driver {
    /// Connects, and says `first`; each of both within a time.
    pub(super) fn connect<T>(
        (config, tls): (&Config, T),
        (first, connect_max): (&str, Duration),
        elsewhere: Arc<dyn Elsewhere>,
    ) -> Result<Self, Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let is_warned = Arc::<AtomicBool>::default();
        let warned = Arc::clone(&is_warned);
        let connecting = async {
            let (client, mut connection) = config.connect(tls).await?;
            tokio::spawn(async move {
                // Whatever ends it, whoever waits for a statement is told.
                while let Some(Ok(said)) =
                    std::future::poll_fn(|context| connection.poll_message(context)).await
                {
                    if is_warning(&said) {
                        warned.store(true, Ordering::SeqCst);
                    }
                }
            });
            let said = client.simple_query(&format!("{first} {NAME}")).await?;
            let name = said.iter().rev().find_map(first_of).unwrap_or_default();
            Ok::<_, tokio_postgres::Error>((client, name.to_owned()))
        };
        let connected =
            runtime.block_on(async { tokio::time::timeout(connect_max, connecting).await });
        let (client, name) = connected.map_err(|_| Error::Silent)??;
        Ok(Self {
            client,
            name,
            journeys: elsewhere.journeys(),
            elsewhere,
            is_warned,
            runtime,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the server has warned since this was last asked.
    pub(super) fn take_warning(&self) -> bool {
        self.is_warned.swap(false, Ordering::SeqCst)
    }

    /// What statements come to that are told together. When `unwanted` is, the server is told to end them.
    pub(super) fn wait<T>(
        &self,
        statements: impl Future<Output = T>,
        unwanted: Option<&CancellationToken>,
    ) -> Result<T, Error> {
        if unwanted.is_some_and(CancellationToken::is_cancelled) {
            return Err(Error::Unwanted);
        }
        let given_up = async {
            match unwanted {
                Some(unwanted) => unwanted.cancelled().await,
                None => std::future::pending().await,
            }
        };
        self.journeys.fetch_add(1, Ordering::Relaxed);
        self.runtime.block_on(async {
            let (mut statements, mut lost) = (pin!(statements), pin!(self.lost()));
            tokio::select! {
                biased;
                done = &mut statements => return Ok(done),
                () = &mut lost => return Err(Error::Silent),
                () = given_up => self.elsewhere.cancel(self.client.cancel_token()).await,
            }
            tokio::select! {
                biased;
                done = statements => Ok(done),
                () = lost => Err(Error::Silent),
            }
        })
    }

    /// Comes when the server is not at the statement of this connection that was begun just now.
    async fn lost(&self) {
        let mut failed = 0;
        loop {
            tokio::time::sleep(PATIENCE).await;
            let asked = self.elsewhere.is_at_work(&self.name);
            match tokio::time::timeout(ASKING_MAX, asked).await {
                Ok(Some(true)) => failed = 0,
                Ok(Some(false)) => return,
                Ok(None) | Err(_) => failed += 1,
            }
            if failed >= ATTEMPTS {
                return;
            }
        }
    }
}

/// The first value of a row that a statement without parameters gives.
pub(in crate::store) fn first_of(said: &SimpleQueryMessage) -> Option<&str> {
    let SimpleQueryMessage::Row(row) = said else {
        return None;
    };
    row.get(0)
}

fn is_warning(said: &AsyncMessage) -> bool {
    let AsyncMessage::Notice(notice) = said else {
        return false;
    };
    // Servers speak languages; those of before 9.6 alone do not say this.
    notice.parsed_severity() == Some(Severity::Warning)
}
