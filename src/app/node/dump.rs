//! `ipc_dump`: every worker message as a JSON line, for developers. Holds no secret, because none travels there.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::base::{Error, Result};

/// Where messages are recorded; nowhere by default.
#[derive(Clone, Default)]
pub(super) struct Dump(Option<Arc<Mutex<File>>>);

impl Dump {
    /// Appends to `path`, if there is one.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|e| Error::io("the ipc_dump file cannot be opened", path, e))?;
        Ok(Self(Some(Arc::new(Mutex::new(file)))))
    }

    /// Records one message of worker `index`.
    pub(super) fn record(&self, index: usize, direction: &str, message: &impl Serialize) {
        let Some(file) = &self.0 else { return };
        let line = serde_json::json!({ "worker": index, "direction": direction, "message": message });
        if let Err(e) = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{line}") {
            tracing::warn!("the ipc_dump file cannot be written: {e}");
        }
    }
}
