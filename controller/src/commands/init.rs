//! `postern-controller init`.

use std::path::PathBuf;

use clap::Args;
use controller::{PostgresSettings, Settings, is_name};

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
        let data = self.data.enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(CommandError::Runtime)?;
        let database = self.database.map(|url| PostgresSettings {
            url,
            password_file: self.database_password_file,
            ca_file: self.database_ca_file,
        });
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
