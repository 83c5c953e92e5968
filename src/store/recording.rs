//! The index of recordings: which files there are, and when nothing was recorded. The files' sidecars are the truth; a
//! row that is missing here can be made again from them.

use rusqlite::{Connection, Transaction, params};

use super::hold::HELD;
use super::sqlite::{durable, fault};
use super::{Node, Store};
use crate::base::types::{CameraId, Codec, Gap, GapReason, Segment, SegmentState, StreamRole};
use crate::base::{Error, ErrorKind, Result};

/// Of camera ?1 between ?2 and ?3.
pub(super) const WITHIN: &str =
    "camera = ?1 AND start_ms < ?3 AND (end_ms IS NULL OR end_ms > ?2) ORDER BY start_ms, id";
/// Of camera ?1, or of all when it is NULL; ?2 of them.
pub(super) const UNHELD: &str =
    "held = 0 AND state <> 'open' AND (?1 IS NULL OR camera = ?1) ORDER BY start_ms, id LIMIT ?2";

impl Store {
    /// A file was begun; gives its number. Whatever gap its camera had open ends at the file's start.
    pub async fn segment_opened(&self, segment: Segment) -> Result<i64> {
        self.handle.call(move |node| node.segment_opened(&segment)).await
    }

    /// A file was ended, or found again: its row takes over everything; what was held stays so, and a hold may reach it
    /// now. One that was never announced gets a
    /// row now.
    pub async fn segment_closed(&self, segment: Segment) -> Result<i64> {
        let doing = "cannot index the end of a recording";
        self.handle.call(move |node| durable(&mut node.connection, doing, |tx| upsert(tx, &segment, doing))).await
    }

    /// Nothing is recorded from `gap.start_ms` on, or was until `gap.end_ms`. A gap without an end adds nothing while
    /// another of its camera is open.
    pub async fn gap_began(&self, gap: Gap) -> Result<()> {
        self.handle.call(move |node| node.gap_began(&gap)).await
    }

    /// The open gap of `camera`, if any, is over.
    pub async fn gap_ended(&self, camera: CameraId, end_ms: i64) -> Result<()> {
        let doing = "cannot end a gap";
        self.handle
            .call(move |node| durable(&mut node.connection, doing, |tx| end_gaps(tx, &camera, end_ms, doing)))
            .await
    }

    /// Files of `camera` with something between `from_ms` and `to_ms` (UTC), those still growing too, oldest first.
    pub async fn segments(&self, camera: CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Segment>> {
        self.handle.call(move |node| node.select(WITHIN, params![camera.as_str(), from_ms, to_ms])).await
    }

    /// Gaps of `camera` that touch the time between `from_ms` and `to_ms`, those still open too, oldest first.
    pub async fn gaps(&self, camera: CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>> {
        self.handle.call(move |node| node.gaps(&camera, from_ms, to_ms)).await
    }

    /// Files that were not ended, of `camera` or of all.
    pub async fn open_segments(&self, camera: Option<CameraId>) -> Result<Vec<Segment>> {
        let wanted = "state = 'open' AND (?1 IS NULL OR camera = ?1) ORDER BY start_ms, id";
        let named = move |node: &mut Node| node.select(wanted, params![camera.as_ref().map(CameraId::as_str)]);
        self.handle.call(named).await
    }

    /// The oldest `limit` ended files that nobody holds, of `camera` or of all.
    pub async fn oldest_unheld_segments(&self, camera: Option<CameraId>, limit: u32) -> Result<Vec<Segment>> {
        let named = move |node: &mut Node| node.select(UNHELD, params![camera.as_ref().map(CameraId::as_str), limit]);
        self.handle.call(named).await
    }

    /// The end of the newest file of `camera` that has one, UTC milliseconds.
    pub async fn last_recorded(&self, camera: CameraId) -> Result<Option<i64>> {
        let doing = "cannot read the index of recordings";
        let read = move |node: &mut Node| {
            node.connection
                .query_row("SELECT MAX(end_ms) FROM segment WHERE camera = ?1", [camera.as_str()], |r| r.get(0))
                .map_err(|e| fault(doing, e))
        };
        self.handle.call(read).await
    }

    /// Forgets an ended file that nobody holds, for whoever then deletes it; false when it has come to be held since.
    pub async fn retire_segment(&self, id: i64) -> Result<bool> {
        let doing = "cannot retire a recording";
        let retire = move |node: &mut Node| {
            durable(&mut node.connection, doing, |tx| {
                tx.execute("DELETE FROM segment WHERE id = ?1 AND held = 0 AND state <> 'open'", [id])
                    .map(|rows| rows > 0)
                    .map_err(|e| fault(doing, e))
            })
        };
        self.handle.call(retire).await
    }

    /// Forgets a file; the caller has removed it or knows that it is not there.
    pub async fn remove_segment(&self, id: i64) -> Result<()> {
        let doing = "cannot forget a recording";
        let remove = move |node: &mut Node| {
            durable(&mut node.connection, doing, |tx| {
                tx.execute("DELETE FROM segment WHERE id = ?1", [id]).map(drop).map_err(|e| fault(doing, e))
            })
        };
        self.handle.call(remove).await
    }
}

impl Node {
    fn segment_opened(&mut self, segment: &Segment) -> Result<i64> {
        let doing = "cannot index a recording";
        durable(&mut self.connection, doing, |tx| {
            end_gaps(tx, &segment.camera, segment.start_ms, doing)?;
            upsert(tx, segment, doing)
        })
    }

    fn gap_began(&mut self, gap: &Gap) -> Result<()> {
        let doing = "cannot note a gap";
        durable(&mut self.connection, doing, |tx| {
            tx.execute(
                "INSERT INTO gap (camera, start_ms, end_ms, reason) SELECT ?1, ?2, ?3, ?4
                 WHERE ?3 IS NOT NULL OR NOT EXISTS (SELECT 1 FROM gap WHERE camera = ?1 AND end_ms IS NULL)",
                params![gap.camera.as_str(), gap.start_ms, gap.end_ms, gap.reason.as_str()],
            )
            .map(drop)
            .map_err(|e| fault(doing, e))
        })
    }

    fn select(&mut self, wanted: &str, values: impl rusqlite::Params) -> Result<Vec<Segment>> {
        select(&self.connection, wanted, values)
    }

    fn gaps(&mut self, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>> {
        gaps(&self.connection, camera, from_ms, to_ms)
    }
}

/// Segments for which `wanted` holds.
pub(super) fn select(connection: &Connection, wanted: &str, values: impl rusqlite::Params) -> Result<Vec<Segment>> {
    let doing = "cannot read the index of recordings";
    let sql = format!(
        "SELECT id, camera, path, stream, codec, width, height, start_ms, end_ms, start_mono_ns, boot_id, bytes,
           sha256, fragments, state, held FROM segment WHERE {wanted}"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(|e| fault(doing, e))?;
    let rows = statement.query_map(values, |r| Ok(segment(r))).map_err(|e| fault(doing, e))?;
    rows.map(|row| row.map_err(|e| fault(doing, e))?).collect()
}

/// See [`Store::gaps`].
pub(super) fn gaps(connection: &Connection, camera: &CameraId, from_ms: i64, to_ms: i64) -> Result<Vec<Gap>> {
    let doing = "cannot read the gaps";
    let mut statement = connection
        .prepare_cached(
            "SELECT id, start_ms, end_ms, reason FROM gap
             WHERE camera = ?1 AND start_ms < ?3 AND (end_ms IS NULL OR end_ms > ?2) ORDER BY start_ms, id",
        )
        .map_err(|e| fault(doing, e))?;
    let rows = statement
        .query_map(params![camera.as_str(), from_ms, to_ms], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get::<_, String>(3)?))
        })
        .map_err(|e| fault(doing, e))?;
    rows.map(|row| {
        let (id, start_ms, end_ms, reason) = row.map_err(|e| fault(doing, e))?;
        let reason = GapReason::ALL.into_iter().find(|r| r.as_str() == reason).ok_or_else(|| unreadable(id))?;
        Ok(Gap { id, camera: camera.clone(), start_ms, end_ms, reason })
    })
    .collect()
}

/// A gap that would end where it began, or before (the wall clock went back), was none.
fn end_gaps(tx: &Transaction<'_>, camera: &CameraId, end_ms: i64, doing: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM gap WHERE camera = ?1 AND end_ms IS NULL AND start_ms >= ?2",
        params![camera.as_str(), end_ms],
    )
    .and_then(|_| {
        tx.execute("UPDATE gap SET end_ms = ?2 WHERE camera = ?1 AND end_ms IS NULL", params![camera.as_str(), end_ms])
    })
    .map(drop)
    .map_err(|e| fault(doing, e))
}

fn upsert(tx: &Transaction<'_>, s: &Segment, doing: &str) -> Result<i64> {
    let held = HELD.replace("{from}", "?7").replace("{to}", "?8");
    let sql = format!(
        "INSERT INTO segment (camera, path, stream, codec, width, height, start_ms, end_ms, start_mono_ns, boot_id,
           bytes, sha256, fragments, state, held)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, MAX(?15, {held}))
         ON CONFLICT (path) DO UPDATE SET width = ?5, height = ?6, end_ms = ?8, bytes = ?11, sha256 = ?12,
           fragments = ?13, state = ?14, held = MAX(held, excluded.held)
         RETURNING id"
    );
    tx.query_row(
        &sql,
        params![
            s.camera.as_str(),
            s.path,
            stream_name(s.stream),
            s.codec.as_str(),
            s.width,
            s.height,
            s.start_ms,
            s.end_ms,
            s.start_mono_ns,
            s.boot_id,
            s.bytes,
            s.sha256,
            s.fragments,
            s.state.as_str(),
            s.held,
        ],
        |r| r.get(0),
    )
    .map_err(|e| fault(doing, e))
}

fn stream_name(stream: StreamRole) -> &'static str {
    match stream {
        StreamRole::Detect => "detect",
        StreamRole::Record => "record",
    }
}

fn unreadable(id: i64) -> Error {
    Error::new(ErrorKind::Corrupt, format!("row {id} of the index of recordings cannot be understood"))
}

fn segment(r: &rusqlite::Row<'_>) -> Result<Segment> {
    let doing = "cannot read the index of recordings";
    let texts =
        || -> rusqlite::Result<(i64, [String; 4])> { Ok((r.get(0)?, [r.get(1)?, r.get(3)?, r.get(4)?, r.get(14)?])) };
    let (id, [camera, stream, codec, state]) = texts().map_err(|e| fault(doing, e))?;
    let streams = [StreamRole::Detect, StreamRole::Record];
    let codecs = [Codec::H264, Codec::H265, Codec::Mjpeg];
    let states = [SegmentState::Open, SegmentState::Closed, SegmentState::Recovered];
    let rest = |camera, stream, codec, state| -> rusqlite::Result<Segment> {
        Ok(Segment {
            id,
            camera,
            path: r.get(2)?,
            stream,
            codec,
            width: r.get(5)?,
            height: r.get(6)?,
            start_ms: r.get(7)?,
            end_ms: r.get(8)?,
            start_mono_ns: r.get(9)?,
            boot_id: r.get(10)?,
            bytes: r.get(11)?,
            sha256: r.get(12)?,
            fragments: r.get(13)?,
            state,
            held: r.get(15)?,
        })
    };
    rest(
        camera.parse().map_err(|_| unreadable(id))?,
        streams.into_iter().find(|s| stream_name(*s) == stream).ok_or_else(|| unreadable(id))?,
        codecs.into_iter().find(|c| c.as_str() == codec).ok_or_else(|| unreadable(id))?,
        states.into_iter().find(|s| s.as_str() == state).ok_or_else(|| unreadable(id))?,
    )
    .map_err(|e| fault(doing, e))
}
