//! Asks a controller how it is, or reads what its directory says.

use std::io::{self, ErrorKind};
use std::path::Path;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{PATIENCE, Status};
use crate::data_dir::{DataDir, DataDirError};
use crate::start::directory::{place, read_settings};
use crate::start::error::StartError;
use crate::store;

/// Asks the controller that serves from `data`; what its directory says when none does.
///
/// # Errors
///
/// [`StartError`] when there is no controller in it.
pub async fn status(data: &Path) -> Result<Status, StartError> {
    let dir = DataDir::open(data)?;
    let path = dir.status_socket();
    let failed = |error| DataDirError::file(&path, error);
    match ask(&path).await {
        Ok(status) => Ok(status),
        Err(error) if is_nobody(&error) => of_directory(&dir),
        Err(error) => Err(failed(error).into()),
    }
}

async fn ask(path: &Path) -> io::Result<Status> {
    let mut stream = UnixStream::connect(path).await?;
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await??;
    Ok(serde_json::from_str(&text)?)
}

/// There is no socket, or nobody behind it.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

fn of_directory(dir: &DataDir) -> Result<Status, StartError> {
    let settings = read_settings(dir)?;
    // The driver is a runtime of its own, which cannot be in another's thread.
    let asked = dir.clone();
    let asking = std::thread::spawn(move || {
        let place = place(&asked, &read_settings(&asked)?.under(asked.path()))?;
        Ok::<_, StartError>(store::bytes_at_server(&place, &asked.seal_key()?)?)
    });
    let at_server = asking.join().ok().and_then(Result::ok).flatten();
    Ok(Status {
        fleet: settings.fleet,
        address: settings.address,
        database_bytes: at_server.unwrap_or_else(|| dir.database_bytes()),
        last_backup_at: dir.last_backup(),
        ..Status::default()
    })
}
