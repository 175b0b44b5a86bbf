//! What is read of a controller's directory, whether or not its controller runs.

use std::path::Path;

use super::error::StartError;
use crate::data_dir::DataDir;
use crate::settings::Settings;
use crate::store::seal::SealKey;
use crate::store::{Place, Store};

/// When the certificates of a directory expire, seconds since the Unix epoch.
pub(crate) fn expiries(dir: &DataDir) -> Result<Vec<(&'static str, u64)>, StartError> {
    let mut expiries = Vec::new();
    for (of, name) in [("authority", "ca"), ("server", "server")] {
        expiries.extend(dir.identity(name)?.expires_secs().map(|end| (of, end)));
    }
    Ok(expiries)
}

/// The settings of a directory, for whoever only reads them.
pub(crate) fn settings_of(data: &Path) -> Result<Settings, StartError> {
    let dir = DataDir::open(data)?;
    Ok(read_settings(&dir)?.under(dir.path()))
}

/// The store of a directory, whose controller may run.
pub(crate) fn open_beside(data: &Path) -> Result<Store, StartError> {
    let dir = DataDir::open(data)?;
    let settings = read_settings(&dir)?.under(dir.path());
    open_store(place(&dir, &settings)?, dir.seal_key()?)
}

/// Where the database of a directory with these settings is.
pub(crate) fn place(dir: &DataDir, settings: &Settings) -> Result<Place, StartError> {
    match &settings.database {
        Some(database) => Ok(Place::Postgres(database.clone())),
        None => Ok(Place::File(dir.existing_database()?)),
    }
}

/// Opens the database.
pub(crate) fn open_store(place: Place, seal: SealKey) -> Result<Store, StartError> {
    Store::open(&place, seal).map_err(|source| match place {
        Place::File(path) => StartError::Database { path, source },
        Place::Postgres(_) => source.into(),
    })
}

/// The settings of a directory, as they stand there.
pub(crate) fn read_settings(dir: &DataDir) -> Result<Settings, StartError> {
    let path = dir.settings();
    let text = dir.read_settings()?;
    Settings::parse(&text).map_err(|mistakes| StartError::Settings { path, mistakes })
}
