//! Logs of the process: for a person on a terminal, JSON lines otherwise (journald, a file).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::base::{Error, ErrorKind, Result};

/// What is logged unless RUST_LOG says otherwise.
const DEFAULT_FILTER: &str = "info,ort=warn,rumqttc=warn";

/// Installs the log of this process on standard error; once a process. `default` replaces the usual filter when
/// RUST_LOG is not set.
pub fn init(default: Option<&str>) -> Result<()> {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(default.unwrap_or(DEFAULT_FILTER)))
        .map_err(|e| Error::new(ErrorKind::Config, "the log filter is wrong").source(e))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = if std::io::stderr().is_terminal() {
        subscriber.with_target(false).compact().try_init()
    } else {
        subscriber.json().flatten_event(true).with_ansi(false).try_init()
    };
    installed.map_err(|e| Error::new(ErrorKind::Internal, "the log is installed already").source(e))
}
