//! From the files and flags of a start to a running agent.

use program::Failure;

use crate::config::{Config, ConfigSource, Layers, Mode, Named, RawConfig};
use crate::domains::log_to::LogTo;
use crate::domains::parts::Here;
use crate::domains::supervisor::{Supervisor, Together, together};
use crate::policies::AccessFile;
use crate::run::RunError;
use crate::{hide_first, run, state_trust};

/// Starts with these files and flags, and runs until told to stop. What was hidden is hidden first,
/// before anything that can fail, and whatever is wrong with the configuration. `log` is how the log was
/// begun.
///
/// # Errors
///
/// What is wrong with the configuration, or why it cannot run.
pub fn start(named: Named, flags: RawConfig, log: &LogTo) -> Result<(), Box<dyn Failure>> {
    let layers = Layers::of(&named, flags.clone());
    layers.say();
    let hidden = hide_first::hide_first(layers.readable());
    match layers.raw_and_config() {
        Ok((raw, mut config)) => {
            let hidden =
                hidden.map_err(|cause| -> Box<dyn Failure> { Box::new(RunError::from(cause)) })?;
            // One name for all: what was laid first is what is kept, read past and taken away.
            if let Some(first) = &hidden {
                config.firewall.chain.clone_from(&first.chain);
            }
            // What is plainly wrong is said by one process, before there are several.
            state_trust::check(&config.state_dir)
                .map_err(|cause| -> Box<dyn Failure> { Box::new(RunError::State(cause)) })?;
            if let Mode::Alone { access_file } = &config.mode {
                AccessFile::look(access_file)
                    .map_err(|cause| -> Box<dyn Failure> { Box::new(RunError::from(cause)) })?;
            }
            let ran = match supervisor(&config, &named, &flags, log) {
                Some(supervisor) => supervisor.run(&config, hidden),
                None => {
                    let source = ConfigSource::new(named, flags, raw);
                    run::run(&config, source, &mut Here { hidden })
                }
            };
            ran.map_err(|error| Box::new(error) as Box<dyn Failure>)
        }
        Err(invalid) => {
            if let Err(cause) = hidden {
                tracing::error!(error = %program::one_line(&cause), "what was protected is not hidden");
            }
            Err(Box::new(RunError::from(invalid)))
        }
    }
}

/// The other processes, where they are to be; says why they are not.
fn supervisor(
    config: &Config,
    named: &Named,
    flags: &RawConfig,
    log: &LogTo,
) -> Option<Supervisor> {
    const KEPT: &str = "capture, keys and packet filter are in one process";
    match together(config) {
        None => {}
        Some(why @ (Together::Asked | Together::DryRun)) => {
            tracing::info!(%why, "{KEPT}");
            return None;
        }
        Some(why @ Together::NotRoot) => {
            tracing::warn!(%why, "{KEPT}");
            return None;
        }
    }
    match Supervisor::start(config, named, flags, log) {
        Ok(supervisor) => Some(supervisor),
        Err(cause) => {
            tracing::warn!(why = %program::one_line(&cause), "{KEPT}");
            None
        }
    }
}
