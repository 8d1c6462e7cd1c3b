//! `muster serve`: one replica, until somebody says stop.

use std::env;

use clap::Args;

use super::output::{self, Exit, Failure};
use crate::config::{Config, Flags, Settings};
use crate::serve;

/// Run one replica. Every setting can also stand in a file or in a MUSTER_ variable.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: Flags,
}

/// Reads the settings, then serves or only shows them.
pub(crate) fn run(command: Serve) -> Result<(), Failure> {
    let flags = command.settings;
    let settings = Settings::join(&flags, &|name| env::var(name).ok());
    if flags.print_config {
        output::data(&settings.print())?;
    }
    let config = Config::check(&settings).map_err(|error| {
        let failure = Failure::new("the configuration does not hold").exit(Exit::Refused);
        error.0.into_iter().fold(failure, Failure::cause)
    })?;
    if flags.check_config {
        return output::data("the configuration holds\n");
    }
    if flags.print_config {
        return Ok(());
    }
    let internal = |error| Failure::new("cannot start").because(&error).exit(Exit::Internal);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    let ended = runtime.block_on(serve::run(config));
    // What still runs must not keep the process: everything that counts is on the disk.
    runtime.shutdown_background();
    ended.map_err(|error| {
        let code = error.exit_code();
        Failure::new("the replica does not serve").because(&error).exit_code(code)
    })
}
