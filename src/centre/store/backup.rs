//! The centre's database for a backup and after a restore. Pictures and clips are files beside it and not its concern.

use std::path::Path;

use super::sqlite::SCHEMA;
use crate::base::Result;
use crate::store::sqlite::{self, fault};

/// Copies the database at `path` into the new file `to`; the centre may run.
///
/// # Errors
/// See [`sqlite::copy`].
pub fn copy(path: &Path, to: &Path) -> Result<()> {
    sqlite::copy(path, SCHEMA, to)
}

/// Makes a copy ready to be the centre's database; gives the number of events in it. Codes for enrolment and one-time
/// links that were given out before the backup may have been used since, sessions ended since: they are good no more. Nor is anybody told again of what was.
///
/// # Errors
/// See [`sqlite::settle`].
pub fn settle(path: &Path) -> Result<u64> {
    let doing = "cannot settle the restored database";
    sqlite::settle(path, SCHEMA, |tx| {
        for gone in ["enrol_code", "login_link", "session", "login_failure", "webhook_delivery"] {
            tx.execute(&format!("DELETE FROM {gone}"), []).map_err(|e| fault(doing, e))?;
        }
        tx.query_row("SELECT COUNT(*) FROM event", [], |r| r.get(0)).map_err(|e| fault(doing, e))
    })
}
