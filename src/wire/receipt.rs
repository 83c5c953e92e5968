//! The centre's receipt: what it has committed, so that the node may let go of it.

use serde::{Deserialize, Serialize};

use crate::base::{Error, ErrorKind, Result};

/// Published by the centre on `…/receipt` after its commit; sent again for duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Event id and revision.
    #[serde(default)]
    pub events: Vec<(String, u32)>,
    /// Content hashes of pictures.
    #[serde(default)]
    pub snapshots: Vec<String>,
}

impl Receipt {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.snapshots.is_empty()
    }
}

/// Reads a receipt as it came over the wire.
pub fn parse(payload: &[u8]) -> Result<Receipt> {
    serde_json::from_slice(payload)
        .map_err(|e| Error::new(ErrorKind::Invalid, "a receipt cannot be understood").source(e))
}
