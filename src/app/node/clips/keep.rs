//! What becomes of clips that are made: at the start, disk and index are brought together; once a minute, what has had its
//! time leaves, first the row, then the file. Nothing that is held ever does, nor what the centre waits for, unless the
//! disk leaves no choice.

use std::path::Path;

use super::{Clips, blocking};
use crate::base::{Error, ErrorKind, Result};
use crate::record::clips::{self, Named, Problem};
use crate::store::clip::Clip;
use crate::store::reader::Reader;

/// A row, as the directory is compared with it.
pub(in crate::app) fn named(clip: Clip) -> Named {
    Named { id: clip.id, path: clip.path, held: clip.held }
}

/// For the start, before a clip is made: no file may stay that no row names.
pub(super) async fn look_over(all: &Clips, database: &Path) -> Result<()> {
    let (database, dir) = (database.to_owned(), all.0.record.clips_dir());
    let now_ms = all.0.clock.now().wall_ms;
    let problems = blocking(move || {
        let rows: Vec<Named> = match Reader::open(&database) {
            Ok(reader) => reader.clips()?.into_iter().map(named).collect(),
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        if !rows.is_empty() && !dir.exists() {
            // With its disk not mounted every row would look as if its file were gone.
            return Err(Error::new(ErrorKind::Unavailable, "the directory of clips is not there")
                .at(dir.display())
                .hint("is the disk of the recordings mounted?"));
        }
        let problems = clips::compare(&dir, &rows, false, false, now_ms)?;
        for problem in &problems {
            clips::clear(&dir, problem)?;
        }
        Ok(problems)
    })
    .await?;
    for problem in problems {
        match problem {
            Problem::NoRow { path } => tracing::info!(path, "a clip that was not finished is removed"),
            Problem::Temporary { path } => tracing::debug!(path, "what a clip was made in is removed"),
            Problem::NoFile { id, path, held } => {
                if held {
                    tracing::error!(path, "a clip that is HELD is gone");
                } else {
                    tracing::warn!(path, "a clip is gone; the index forgets it");
                }
                all.0.store.forget_clip(id).await?;
            }
            Problem::Damaged { path } | Problem::Foreign { path } => {
                tracing::warn!(path, "something is wrong in the directory of clips; `wardwatch fsck` tells more");
            }
        }
    }
    Ok(())
}
