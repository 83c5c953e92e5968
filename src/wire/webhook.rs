//! `wardwatch.webhook/1`: what a receiver is told. Its JSON Schema is `docs/webhook.schema.json`. No picture, no address
//! of a camera, nothing of its owner.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::SeverityJson;
use crate::base::{Error, ErrorKind, Result};
use crate::config::What;

/// The value of `schema`.
pub const SCHEMA: &str = "wardwatch.webhook/1";

/// One thing that a receiver is told. Receivers key on `id`, and ignore unknown fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// Always `wardwatch.webhook/1`.
    pub schema: String,
    /// UUID of what is told, the same each time it is sent; also the header `webhook-id`.
    pub id: String,
    /// `alert`: an alert is on the centre's disk. `dispatch`: an officer sent a patrol.
    pub what: What,
    /// When that was; RFC 3339 with the site's offset, as every time here.
    pub at: String,
    pub ward: String,
    pub node: String,
    /// UUID of the event, unique within its node.
    pub event: String,
    /// Camera id; `null`: the event is about the node itself.
    pub camera: Option<String>,
    /// What people call the camera.
    pub name: String,
    /// Alley or block; may be empty.
    pub area: String,
    /// WGS84 latitude and longitude of the camera.
    pub place: Option<[f64; 2]>,
    pub rule: String,
    /// The rule's kind: `intrusion`, `line_crossing`, `loitering`, or `system`.
    pub kind: String,
    pub severity: SeverityJson,
    /// Object class; `null` where no object took part.
    pub label: Option<String>,
    pub started_at: String,
    /// Of a dispatch: events that belong together have the same.
    pub incident: Option<String>,
    /// Of a dispatch: who sent the patrol, as colleagues call him.
    pub by: Option<String>,
    /// Where the page shows it, if `public_url` is set.
    pub page: Option<String>,
}

impl Told {
    /// The JSON Schema, as in `docs/webhook.schema.json`. Unknown fields are allowed: later versions may add some.
    ///
    /// # Errors
    /// None that is known.
    pub fn json_schema() -> Result<String> {
        serde_json::to_string_pretty(&schemars::schema_for!(Self))
            .map(|text| text + "\n")
            .map_err(|e| Error::new(ErrorKind::Internal, "the webhook's schema cannot be written as JSON").source(e))
    }
}
