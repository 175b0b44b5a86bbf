//! From the files and flags of a start to a running agent.

use program::Failure;

use crate::config::{ConfigSource, Layers, Named, RawConfig};
use crate::{hide_first, run};

/// Starts with these files and flags, and runs until told to stop. What was hidden is hidden first,
/// before anything that can fail, and whatever is wrong with the configuration.
///
/// # Errors
///
/// What is wrong with the configuration, or why it cannot run.
pub fn start(named: Named, flags: RawConfig) -> Result<(), Box<dyn Failure>> {
    let layers = Layers::of(&named, flags.clone());
    layers.say();
    let hidden = hide_first::hide_first(layers.readable());
    match layers.raw_and_config() {
        Ok((raw, mut config)) => {
            // One name for all: what was laid first is what is kept, read past and taken away.
            if let Ok(Some(first)) = &hidden {
                config.firewall.chain.clone_from(&first.chain);
            }
            let source = ConfigSource::new(named, flags, raw);
            run::run(&config, source, hidden).map_err(|error| Box::new(error) as Box<dyn Failure>)
        }
        Err(invalid) => {
            if let Err(cause) = hidden {
                tracing::error!(error = %program::one_line(&cause), "what was protected is not hidden");
            }
            Err(Box::new(invalid))
        }
    }
}
