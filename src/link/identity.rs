//! Who this node is to its centre: `link.json` in the node's state directory, readable by its owner only.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::{Error, ErrorKind, Result};
use crate::wire::link::Identity;

/// Where the identity is kept.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("link.json")
}

/// Reads it; `None` for a node that is not enrolled.
pub fn load(state_dir: &Path) -> Result<Option<Identity>> {
    let path = path(state_dir);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("cannot read this node's identity", &path, e)),
    };
    // The parser's text could quote the secret.
    serde_json::from_str(&text).map(Some).map_err(|_| {
        Error::new(ErrorKind::Corrupt, "this node's identity cannot be understood")
            .at(path.display())
            .hint("enrol the node again: wardwatch enrol")
    })
}

/// Writes it durably, in place of an earlier one.
pub fn save(state_dir: &Path, identity: &Identity) -> Result<()> {
    let (path, beside) = (path(state_dir), state_dir.join("link.json.part"));
    let text = serde_json::to_vec(identity)
        .map_err(|e| Error::new(ErrorKind::Internal, "an identity cannot be written as JSON").source(e))?;
    let write = || {
        std::fs::remove_file(&beside).or_else(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        })?;
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)?;
        File::open(state_dir)?.sync_all()
    };
    write().map_err(|e| Error::io("cannot keep this node's identity", &path, e))
}
