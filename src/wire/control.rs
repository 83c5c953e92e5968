//! What the commands of a person at this machine say to the running node, over a socket that only its user may open: one
//! JSON line there, one back.

use serde::{Deserialize, Serialize};

/// No line is longer.
pub const MAX_LINE: u64 = 256 << 10;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Control {
    /// Keep a range.
    Hold(HoldJson),
    /// End a hold.
    Release { id: String },
    /// Which holds there are.
    Holds,
}

/// A hold; times in UTC milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldJson {
    pub id: String,
    pub camera: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub reason: String,
    pub issuer: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlAnswer {
    /// What there is of the range is kept.
    Held {
        segments: u32,
        clips: u32,
        bytes: u64,
        holes: Vec<HoleJson>,
    },
    /// Nothing of the range is left; nothing is held.
    TooLate {
        holes: Vec<HoleJson>,
    },
    /// `None`: there was no such hold.
    Released {
        hold: Option<HoldJson>,
    },
    Holds {
        holds: Vec<HoldJson>,
    },
    /// It was not done.
    Refused {
        reason: String,
    },
}

/// A part of a range that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleJson {
    pub from_ms: i64,
    pub to_ms: i64,
    pub why: String,
}
