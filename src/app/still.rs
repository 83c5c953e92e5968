//! One picture of a recording as a small JPEG, masks burned in: `wardwatch still`, never started by a person, because the
//! decoder is C code fed by strangers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::errand;
use crate::base::geometry::Polygon;
use crate::base::{Error, ErrorKind, Result, Stamp};
use crate::config::{Sandbox, SnapshotConfig};
use crate::ingest::file::VideoFile;
use crate::privacy::Masks;
use crate::snapshot;

/// Good enough for a time line.
const QUALITY: u8 = 70;

/// What is to be made.
#[derive(Serialize, Deserialize)]
pub(super) struct Work {
    /// An MP4 file that begins with the picture.
    pub(super) input: PathBuf,
    pub(super) masks: Vec<Polygon>,
    /// Pixels, at most.
    pub(super) width: u32,
}

/// Has a child make it; the JPEG as base64.
///
/// # Errors
/// What the child says; `Timeout` when it had to be killed.
pub(super) async fn in_child(program: &Path, work: &Work, sandbox: Sandbox, within: Duration) -> Result<String> {
    errand::send(program, &["still"], work, sandbox, within).await
}

/// The child.
///
/// # Errors
/// An order that is none.
pub fn run() -> Result<()> {
    errand::run(|work: &Work| work.input.parent().map(Path::to_owned).into_iter().collect(), |work| make(&work))
}

fn make(work: &Work) -> Result<String> {
    let mut video = VideoFile::open(&work.input, Stamp::default())?;
    let frame = video.next_frame()?.ok_or_else(|| Error::new(ErrorKind::Invalid, "there is no picture in it"))?;
    let masked = Masks::new(work.masks.clone()).burn(&frame);
    let config = SnapshotConfig { max_width: work.width, quality: QUALITY, overlay: false };
    Ok(BASE64.encode(&snapshot::take(&masked, None, &config)?.jpeg))
}
