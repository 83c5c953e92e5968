//! L0: the way of one object through a camera's picture, as it is kept for a day: where its box was and when, and
//! nothing of what it looked like. Packed, a point takes some eight bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::geometry::RelativeBox;
use super::types::Label;
use super::{Error, ErrorKind, Result};

/// Between two points of a track that lives no more time passes than this.
pub const LONGEST_STEP: Duration = Duration::from_secs(5);
/// While it moves, no more than this.
pub const MOVING_STEP: Duration = Duration::from_secs(1);
/// Parts of the picture's width and height in which edges are kept.
const STEPS: f32 = 4096.0;
/// A box may reach over the border, but not further than this many pictures.
const FARTHEST: f32 = 4.0;
/// Layout of the packed bytes.
const LAYOUT: u8 = 1;

/// A stretch of a track. A long one is kept in several pieces.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// The tracker's number.
    pub track: u64,
    /// When the track began, UTC milliseconds: with `track` and the camera it tells tracks apart, also when trackers
    /// began to count anew.
    pub since_ms: i64,
    pub label: Label,
    /// UTC milliseconds of the first point.
    pub start_ms: i64,
    /// The frames' size in pixels.
    pub width: u32,
    pub height: u32,
    /// By rising time. While the track lived two of them are at most [`LONGEST_STEP`] apart; what lies between was
    /// near the first.
    pub points: Vec<TrackPoint>,
}

/// Where a detected object was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackPoint {
    /// Since the piece's first point, on the monotonic clock.
    pub after: Duration,
    pub bbox: RelativeBox,
    pub score: f32,
    /// It had not moved for long.
    pub stationary: bool,
}

#[derive(Serialize, Deserialize)]
struct Packed {
    layout: u8,
    width: u32,
    height: u32,
    /// Each against its predecessor.
    points: Vec<Delta>,
}

#[derive(Serialize, Deserialize)]
struct Delta {
    after_ms: u32,
    /// Left, top, right, bottom.
    edges: [i32; 4],
    /// In 127ths; the highest bit says that it is stationary.
    score: u8,
}

impl Trajectory {
    /// UTC milliseconds of the last point.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + self.points.last().map_or(0, |p| p.after.as_millis() as i64)
    }

    /// Size and points as bytes.
    ///
    /// # Errors
    /// `Internal`, when they cannot be written.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let (mut time, mut edges) = (0, [0; 4]);
        let points = self.points.iter().map(|p| {
            let now = p.after.as_millis().min(u128::from(u32::MAX)) as u32;
            let b = &p.bbox;
            let at = [b.left, b.top, b.right, b.bottom].map(|e| (e.clamp(-FARTHEST, FARTHEST) * STEPS).round() as i32);
            let score = (p.score.clamp(0.0, 1.0) * 127.0).round() as u8 | if p.stationary { 0x80 } else { 0 };
            let moved = std::array::from_fn(|i| at[i] - edges[i]);
            let delta = Delta { after_ms: now.saturating_sub(time), edges: moved, score };
            (time, edges) = (now, at);
            delta
        });
        let packed = Packed { layout: LAYOUT, width: self.width, height: self.height, points: points.collect() };
        postcard::to_allocvec(&packed)
            .map_err(|e| Error::new(ErrorKind::Internal, "a trajectory cannot be packed").source(e))
    }

    /// A trajectory whose size and points were packed.
    ///
    /// # Errors
    /// `Corrupt`, when the bytes are none of [`Self::pack`].
    pub fn unpack(track: u64, since_ms: i64, label: Label, start_ms: i64, bytes: &[u8]) -> Result<Self> {
        let broken = |why: &str| Error::new(ErrorKind::Corrupt, format!("a trajectory cannot be read: {why}"));
        let packed: Packed = postcard::from_bytes(bytes).map_err(|e| broken("malformed").source(e))?;
        if packed.layout != LAYOUT {
            return Err(broken("of another version"));
        }
        let (mut time, mut edges) = (0u32, [0i32; 4]);
        let points = packed.points.into_iter().map(|d| {
            time = time.saturating_add(d.after_ms);
            edges = std::array::from_fn(|i| edges[i].saturating_add(d.edges[i]));
            let [left, top, right, bottom] = edges.map(|e| e as f32 / STEPS);
            TrackPoint {
                after: Duration::from_millis(time.into()),
                bbox: RelativeBox { left, top, right, bottom },
                score: f32::from(d.score & 0x7f) / 127.0,
                stationary: d.score & 0x80 != 0,
            }
        });
        Ok(Self {
            track,
            since_ms,
            label,
            start_ms,
            width: packed.width,
            height: packed.height,
            points: points.collect(),
        })
    }
}

/// Several as bytes.
///
/// # Errors
/// `Internal`, when they cannot be written.
pub fn pack_all(all: &[Trajectory]) -> Result<Vec<u8>> {
    let parcel = |t: &Trajectory| -> Result<_> {
        let Trajectory { track, since_ms, start_ms, .. } = *t;
        Ok((track, since_ms, t.label.to_string(), start_ms, t.pack()?))
    };
    let parcels = all.iter().map(parcel).collect::<Result<Vec<_>>>()?;
    postcard::to_allocvec(&parcels)
        .map_err(|e| Error::new(ErrorKind::Internal, "trajectories cannot be packed").source(e))
}

/// What [`pack_all`] packed.
///
/// # Errors
/// `Corrupt`, when it is not.
pub fn unpack_all(bytes: &[u8]) -> Result<Vec<Trajectory>> {
    let parcels: Vec<(u64, i64, String, i64, Vec<u8>)> = postcard::from_bytes(bytes)
        .map_err(|e| Error::new(ErrorKind::Corrupt, "trajectories cannot be read").source(e))?;
    let unpack = |(track, since_ms, label, start_ms, packed): (_, _, String, _, Vec<u8>)| {
        Trajectory::unpack(track, since_ms, label.as_str().into(), start_ms, &packed)
    };
    parcels.into_iter().map(unpack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk() -> Trajectory {
        let point = |i: u32| TrackPoint {
            after: Duration::from_millis(u64::from(i) * 400),
            bbox: RelativeBox {
                left: 0.1 + 0.01 * i as f32,
                top: -0.02,
                right: 0.15 + 0.01 * i as f32,
                bottom: 0.4 + 0.002 * i as f32,
            },
            score: 0.8,
            stationary: i > 50,
        };
        let points = (0..100).map(point).collect();
        Trajectory { track: 7, since_ms: 990, label: "person".into(), start_ms: 1000, width: 640, height: 360, points }
    }

    #[test]
    fn a_way_survives_packing_to_within_a_fraction_of_a_pixel_and_is_small() {
        let before = walk();
        let bytes = before.pack().expect("packs");
        assert!(bytes.len() <= before.points.len() * 9, "{} bytes", bytes.len());
        let after = Trajectory::unpack(7, 990, "person".into(), 1000, &bytes).expect("unpacks");
        assert_eq!((after.end_ms(), after.width, after.height), (before.end_ms(), 640, 360));
        assert_eq!(after.points.len(), before.points.len());
        for (a, b) in after.points.iter().zip(&before.points) {
            let off = [a.bbox.left - b.bbox.left, a.bbox.top - b.bbox.top, a.bbox.right - b.bbox.right];
            assert!(off.iter().all(|o| o.abs() <= 0.5 / STEPS + 1e-6), "{off:?}");
            assert_eq!((a.after, a.stationary), (b.after, b.stationary));
            assert!((a.score - b.score).abs() < 0.005);
        }
    }

    #[test]
    fn what_is_no_trajectory_is_refused_wherever_it_is_cut() {
        let bytes = walk().pack().expect("packs");
        for cut in 0..bytes.len() {
            assert!(Trajectory::unpack(1, 0, "person".into(), 0, &bytes[..cut]).is_err(), "{cut} bytes");
        }
        let mut other = bytes;
        other[0] = 9;
        assert!(Trajectory::unpack(1, 0, "person".into(), 0, &other).is_err());
    }
}
