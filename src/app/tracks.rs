//! `wardwatch tracks` as a person calls it: where objects went in the last day, as JSON lines, beside a running node or
//! without one.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::recordings::Place;
use crate::base::trajectory::Trajectory;
use crate::base::{Error, Result};
use crate::store::reader::Reader;

/// A piece of a track as a line of output.
#[derive(Serialize)]
struct Line<'a> {
    camera: &'a str,
    track: u64,
    /// When the track began; with `track` it tells tracks apart.
    since: String,
    label: &'a str,
    start: String,
    end: String,
    /// Seconds from `start`; left, top, right, bottom as fractions of the picture; score; stationary.
    points: Vec<(f64, f64, f64, f64, f64, f64, bool)>,
}

/// Writes each piece of a track of `camera` between `from` and `to` (RFC 3339) as a line of JSON; how many.
///
/// # Errors
/// `Config` for a wrong configuration or argument, `NotFound` when no node has run here yet.
pub fn write_tracks(config: &Path, camera: &str, from: &str, to: &str, out: &mut dyn Write) -> Result<usize> {
    let place = Place::load(config)?;
    let request = super::clip::range(camera, from, to)?;
    let pieces = Reader::open(&place.database())?.tracks(&request.camera, request.from_ms, request.to_ms)?;
    for piece in &pieces {
        let failed = |e| Error::io("cannot write the tracks", "standard output", e);
        serde_json::to_writer(&mut *out, &line(camera, piece, &place)).map_err(|e| failed(e.into()))?;
        out.write_all(b"\n").map_err(failed)?;
    }
    Ok(pieces.len())
}

fn line<'a>(camera: &'a str, piece: &'a Trajectory, place: &Place) -> Line<'a> {
    // They are known to a part of a pixel: further digits would say nothing.
    let round = |value: f64| (value * 1e4).round() / 1e4;
    let points = piece.points.iter().map(|p| {
        let [left, top, right, bottom] =
            [p.bbox.left, p.bbox.top, p.bbox.right, p.bbox.bottom].map(|e| round(f64::from(e)));
        (p.after.as_secs_f64(), left, top, right, bottom, round(f64::from(p.score)), p.stationary)
    });
    Line {
        camera,
        track: piece.track,
        since: place.time(piece.since_ms),
        label: &piece.label,
        start: place.time(piece.start_ms),
        end: place.time(piece.end_ms()),
        points: points.collect(),
    }
}
