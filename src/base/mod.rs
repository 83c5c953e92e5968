//! L0: the vocabulary every other layer speaks. No I/O beyond the clock, no heavy dependency.

pub mod audio;
pub mod clock;
pub mod error;
pub mod geometry;
pub mod pulse;
pub mod recording;
pub mod telemetry;
pub mod trajectory;
pub mod types;

pub use clock::{Clock, Stamp};
pub use error::{Error, ErrorKind, Result};
pub use pulse::Pulse;
