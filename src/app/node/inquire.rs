//! Answers what the centre asks over the channel and waits for. Each question is a task of its own, so that none keeps
//! another, or a live picture, waiting.

use std::path::{Path, PathBuf};

use super::document::{Documents, Wish};
use super::rehearse::Rehearsals;
use super::scout::Scout;
use crate::base::types::{CameraId, Gap};
use crate::base::{Error, ErrorKind, Result};
use crate::store::reader::Reader;
use crate::wire::inquiry::{GapSpan, Inquiry, MAX_SPANS, Recordings, Reply, Span};

/// Cloneable; what answers are made of.
#[derive(Clone)]
pub(super) struct Desk {
    /// Where the index of recordings is.
    pub(super) database: PathBuf,
    pub(super) scout: Scout,
    pub(super) rehearsals: Rehearsals,
    pub(super) documents: Documents,
}

impl Desk {
    /// The answer to one question.
    ///
    /// # Errors
    /// Why there is none; the message goes to the centre.
    pub(super) async fn answer(self, about: Inquiry) -> Result<Reply> {
        match about {
            Inquiry::Recordings { camera, from_ms, to_ms } => {
                let read = move || recordings(&self.database, &camera, from_ms, to_ms);
                let answer = tokio::task::spawn_blocking(read).await;
                let failed = |e| Error::new(ErrorKind::Internal, "reading the index failed").source(e);
                answer.map_err(failed)?.map(Reply::Recordings)
            }
            Inquiry::Rehearse { camera, from_ms, to_ms } => {
                self.rehearsals.answer(camera, (from_ms, to_ms), |id| self.scout.camera(id)).await
            }
            Inquiry::Probe(source) => self.scout.probe(source).await,
            Inquiry::Discover => self.scout.discover().await,
            Inquiry::Still { camera, at_ms, width } => self.scout.still(camera, at_ms, width).await,
            Inquiry::Document => self.documents.answer(Wish::Tell).await,
            Inquiry::Change(change) => self.documents.answer(Wish::Change(change)).await,
            _ => Err(Error::new(ErrorKind::Invalid, "this node's version does not know this question")
                .hint("update the node")),
        }
    }
}

/// What the node has of `camera`, read beside the store's thread.
fn recordings(database: &Path, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Recordings> {
    let reader = Reader::open(database)?;
    let (segments, gaps) = (reader.segments(camera, from_ms, to_ms)?, reader.gaps(camera, from_ms, to_ms)?);
    let cut = segments.len() > MAX_SPANS || gaps.len() > MAX_SPANS;
    // What is still going on reaches to the end of what was asked.
    let end = |end_ms: Option<i64>| end_ms.unwrap_or(to_ms).min(to_ms);
    let span = |start_ms: i64, end_ms| Span { from_ms: start_ms.max(from_ms), to_ms: end(end_ms) };
    let segments = segments.iter().take(MAX_SPANS).map(|s| span(s.start_ms, s.end_ms)).collect();
    let gap = |g: &Gap| {
        let Span { from_ms, to_ms } = span(g.start_ms, g.end_ms);
        GapSpan { from_ms, to_ms, reason: g.reason.as_str().to_owned() }
    };
    Ok(Recordings { segments, gaps: gaps.iter().take(MAX_SPANS).map(gap).collect(), cut })
}
