//! Retained status messages of node, centre and cameras.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a node or the centre says of itself; `offline` is its last will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    Online,
    Stopping,
    Offline,
}

/// `…/status` of a node and `…/centre/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerStatus {
    pub state: PeerState,
    pub version: String,
    pub boot_id: String,
    /// RFC 3339: when this state began. In a last will: when the connection was made.
    pub since: String,
}

/// `…/camera/<camera>/status`. Valid only while its node is online.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraStatus {
    /// `connecting`, `online`, `offline`, `auth_failed`, `faulty`, `restarting`, `removed`, `quarantined`.
    pub state: String,
    /// Why it is not online.
    pub fault: Option<String>,
    /// One sentence for the technician.
    pub detail: Option<String>,
    /// RFC 3339: when this state began.
    pub since: String,
    pub codec: Option<String>,
    pub width: u32,
    pub height: u32,
    pub fps: f32,
    /// RFC 3339.
    pub last_frame: Option<String>,
    pub boot_id: String,
    /// Revision of the cameras document in force.
    pub config_revision: u64,
    /// RFC 3339: when a camera in quarantine is tried again; otherwise null.
    #[serde(default)]
    pub retry_at: Option<String>,
}
