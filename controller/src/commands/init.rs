//! `postern-controller init`.

use std::path::{Path, PathBuf};

use clap::Args;
use controller::{PostgresSettings, Settings, StartError, is_name, seal_key_from};

use super::data::DataArgs;
use super::error::CommandError;

/// Make a new controller: its authority, its database and the token of its first owner
///
/// The directory is made, or is there and empty. The token is the only thing on standard output.
/// Redeem it with `postern join -`, which asks for it, to become the fleet's first owner, who may do whatever a person
/// may and alone says who else may.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Where members reach the controller
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    address: String,
    /// Make a further controller of the fleet that is in the database, instead of a fleet
    ///
    /// It has the authorities from there, where they are sealed, and its address is its own. No token is made.
    #[arg(long, requires_all = ["database", "seal_key_file"], conflicts_with = "fleet")]
    join: bool,
    /// File with the first controller's seal key, a copy of its `seal.key`; `-` for standard input
    #[arg(long, value_name = "FILE", requires = "join")]
    seal_key_file: Option<PathBuf>,
    /// Name of the fleet, part of every member's certificate
    #[arg(long, value_name = "NAME", default_value = "postern", value_parser = fleet)]
    fleet: String,
    /// Keep the database at this PostgreSQL server, in a database that is there and has nothing in it
    ///
    /// What libpq calls a connection string, without a password: `host=/run/postgresql user=postern dbname=postern`,
    /// or `postgresql://postern@db.example/postern`. Servers at an address are spoken to over TLS only.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// File whose first line is the password for that server
    #[arg(long, value_name = "FILE", requires = "database")]
    database_password_file: Option<PathBuf>,
    /// File with the authorities (PEM) that the server's certificate may be of, instead of the system's
    #[arg(long, value_name = "FILE", requires = "database")]
    database_ca_file: Option<PathBuf>,
}

// === impl InitArgs ===

impl InitArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        // As whoever may read it, who need not be the owner of the directory.
        let seal = self.seal_key_file.as_deref().map(seal_key_from);
        let seal = seal.transpose().map_err(StartError::from)?;
        let data = self.data.enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(CommandError::Runtime)?;
        let database = self.database.map(|url| PostgresSettings {
            url,
            password_file: self.database_password_file,
            ca_file: self.database_ca_file,
        });
        if let (Some(seal), Some(database)) = (seal, database.clone()) {
            return Ok(runtime.block_on(join(&data, &self.address, database, &seal))?);
        }
        let named = (self.address.as_str(), self.fleet.as_str());
        let token = runtime.block_on(controller::init_over(&data, named, database))?;
        program::note(format_args!(
            "Fleet `{}` is made in {data}.\n\
             Keep a copy of {data}/ca-key.pem and {data}/seal.key in a safe place.\n\
             Start it:                  postern-controller serve --data {data}\n\
             Become its first owner:    postern join -, which asks for the token below. It is good once, \
             for 24 hours.",
            self.fleet,
            data = data.display(),
        ));
        Ok(program::print(format!("{token}\n"))?)
    }
}

/// `--join`
async fn join(
    data: &Path,
    address: &str,
    database: PostgresSettings,
    seal: &[u8; 32],
) -> Result<(), StartError> {
    let fleet = controller::init_join(data, address, database, seal).await?;
    program::note(format_args!(
        "A further controller of fleet `{fleet}` is made in {data}.\n\
         Start it:                  postern-controller serve --data {data}\n\
         Tell the members of it:    controllers = [\"…\", \"{address}\"] in controller.toml of every controller, with the \
         addresses of all; then start each again.\n\
         What else stands in the first one's controller.toml (policy_valid, certificate_life, quotas) is to stand here, too.",
        data = data.display(),
    ));
    Ok(())
}

fn address(text: &str) -> Result<String, String> {
    let settings = format!("fleet = \"fleet\"\naddress = {text:?}");
    Settings::parse(&settings)
        .map(|settings| settings.address)
        .map_err(|_| "not HOST:PORT, such as controller.example:7443".to_owned())
}

fn fleet(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "letters, digits and . _ - only, beginning with a letter or digit, at most 48"
                .to_owned(),
        )
    }
}
