//! What is read of a controller's directory, whether or not its controller runs.

use std::path::Path;

use super::error::StartError;
use crate::data_dir::DataDir;
use crate::random::random;
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
    open_store(&dir, place(&dir, &settings)?, dir.seal_key()?)
}

/// Where the database of a directory with these settings is.
pub(crate) fn place(dir: &DataDir, settings: &Settings) -> Result<Place, StartError> {
    match &settings.database {
        Some(database) => Ok(Place::Postgres(database.clone())),
        None => Ok(Place::File(dir.existing_database()?)),
    }
}

/// Opens the database, for the controller of this directory.
pub(crate) fn open_store(dir: &DataDir, place: Place, seal: SealKey) -> Result<Store, StartError> {
    let name = match place {
        Place::File(_) => None,
        Place::Postgres(_) => dir.name()?,
    };
    let store = Store::open_for(&place, seal, Some(dir.path())).map_err(|source| match place {
        Place::File(path) => StartError::Database { path, source },
        Place::Postgres(_) => source.into(),
    })?;
    Ok(match name {
        Some(name) => store.of_controller(&name),
        None => store,
    })
}

/// Gives the controller of this directory a name of its own, where it has none: several may have its database.
pub(crate) fn give_name(dir: &DataDir) -> Result<(), StartError> {
    if dir.name()?.is_none() {
        dir.write_name(&hex::encode(random::<16>()?))?;
    }
    Ok(())
}

/// Makes a first run known to a database that several may have and to a directory that was just made.
pub(crate) async fn name_first_run(dir: &DataDir, store: &Store) -> Result<(), StartError> {
    let run = hex::encode(random::<16>()?);
    store.name_run(run.clone()).await?;
    Ok(dir.write_run(&run)?)
}

/// The settings of a directory, as they stand there.
pub(crate) fn read_settings(dir: &DataDir) -> Result<Settings, StartError> {
    let path = dir.settings();
    let text = dir.read_settings()?;
    Settings::parse(&text).map_err(|mistakes| StartError::Settings { path, mistakes })
}
