//! `postern-controller init`.

use clap::Args;
use controller::{Settings, is_name};

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
}

// === impl InitArgs ===

impl InitArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let data = self.data.enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(CommandError::Runtime)?;
        let token = runtime.block_on(controller::init(&data, &self.address, &self.fleet))?;
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
