//! Logs of the process: for a person on a terminal, JSON lines otherwise (journald, a file).

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::base::{Error, ErrorKind, Result};

/// What is logged unless RUST_LOG says otherwise.
const DEFAULT_FILTER: &str = "info,ort=warn,rumqttc=warn";

static IN_FORCE: OnceLock<String> = OnceLock::new();

/// The filter in force, for processes that this one starts.
pub(crate) fn filter() -> &'static str {
    IN_FORCE.get().map_or(DEFAULT_FILTER, String::as_str)
}

/// Installs the log of this process on standard error; once a process. `default` replaces the usual filter when
/// RUST_LOG is not set.
pub fn init(default: Option<&str>) -> Result<()> {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|f| !f.is_empty());
    let wanted = wanted.unwrap_or_else(|| default.unwrap_or(DEFAULT_FILTER).to_owned());
    let filter = EnvFilter::try_new(IN_FORCE.get_or_init(|| wanted))
        .map_err(|e| Error::new(ErrorKind::Config, "the log filter is wrong").source(e))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = if std::io::stderr().is_terminal() {
        subscriber.with_target(false).compact().try_init()
    } else {
        subscriber.json().flatten_event(true).with_ansi(false).try_init()
    };
    installed.map_err(|e| Error::new(ErrorKind::Internal, "the log is installed already").source(e))
}
