//! What libraries read from the environment before anything of ours runs. It cannot be set safely in a running process,
//! so the process starts itself once more with it set; workers inherit it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::base::{Error, Result};

/// Name and value, and why.
const WANTED: [(&str, &str); 2] = [
    // ONNX Runtime's official builds report to their maker at the start, whatever their own interface is told.
    ("ORT_DISABLE_TELEMETRY", "1"),
    // GIO would look for desktop settings, and complain where there is no home directory.
    ("GSETTINGS_BACKEND", "memory"),
];

/// Starts `program` again with the same arguments unless the environment is as it should be; returns only if it is.
///
/// # Errors
/// When the program cannot be started again.
pub fn ensure(program: &Path) -> Result<()> {
    if WANTED.iter().all(|(name, _)| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1));
    for (name, value) in WANTED {
        if std::env::var_os(name).is_none() {
            again.env(name, value);
        }
    }
    // exec only comes back when it failed.
    Err(Error::io("cannot start again", program, again.exec()))
}
