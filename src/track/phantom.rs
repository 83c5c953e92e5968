//! Learned phantoms: places where the detector sees an object that is none (a signpost taken for a person). Pure.
//!
//! A phantom takes part in the association like a track that never moves: it takes the signpost's detections, so that
//! they begin no track and pull no track aside, while somebody who walks past has a box and a motion of their own and
//! keeps both. It gives no row. It is kept in relative coordinates and handed on across restarts; one that was not seen
//! for [`MEMORY_MS`] is forgotten: the signpost is gone, or the camera looks elsewhere.

use crate::base::clock::Stamp;
use crate::base::geometry::PixelBox;
use crate::base::types::{Detection, Label, Phantom};

/// Three days: longer than a weekend of fog, short enough that a turned camera starts afresh soon.
const MEMORY_MS: i64 = 3 * 24 * 3600 * 1000;

/// Detection and phantom are the same place and size from this IoU up.
const SAME: f32 = 0.4;

/// The most a camera keeps; the one unseen for longest goes first. A scene with more has the wrong model.
const MOST: usize = 64;

/// The place follows its sightings with this time constant, seconds: mounts sag, poles lean.
const FOLLOW: f32 = 60.0;

/// The phantoms of one camera, each with whether it was seen in this frame.
#[derive(Clone, Debug, Default)]
pub struct Phantoms {
    known: Vec<(Phantom, bool)>,
}

impl Phantoms {
    /// Those known from before.
    pub fn new(known: Vec<Phantom>) -> Self {
        Self { known: known.into_iter().map(|p| (p, false)).collect() }
    }

    /// A copy to keep.
    pub fn list(&self) -> Vec<Phantom> {
        self.known.iter().map(|(p, _)| p.clone()).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Begins a frame: forgets what was not seen for long.
    pub fn begin(&mut self, now: Stamp) {
        self.known.retain(|(p, _)| now.wall_ms - p.last_seen_ms <= MEMORY_MS);
        self.known.iter_mut().for_each(|(_, seen)| *seen = false);
    }

    /// IoU of phantom `index` with a detection of a frame of this size, if it is its place and size.
    pub fn likeness(&self, index: usize, d: &Detection, size: (u32, u32)) -> Option<f64> {
        let (p, seen) = &self.known[index];
        if *seen || p.label != d.label {
            return None;
        }
        let iou = p.bbox.pixels(size.0, size.1).iou(&d.bbox);
        (iou >= SAME).then_some(f64::from(iou))
    }

    /// Whether the detection lies on any phantom.
    pub fn covers(&self, d: &Detection, size: (u32, u32)) -> bool {
        self.known.iter().any(|(p, _)| p.label == d.label && p.bbox.pixels(size.0, size.1).iou(&d.bbox) >= SAME)
    }

    /// Phantom `index` was seen again, `dt` seconds after the last frame.
    pub fn see(&mut self, index: usize, d: &Detection, size: (u32, u32), dt: f32, now: Stamp) {
        let (p, seen) = &mut self.known[index];
        *seen = true;
        let (to, by) = (d.bbox.relative(size.0, size.1), 1.0 - (-dt / FOLLOW).exp());
        for (edge, target) in [
            (&mut p.bbox.left, to.left),
            (&mut p.bbox.top, to.top),
            (&mut p.bbox.right, to.right),
            (&mut p.bbox.bottom, to.bottom),
        ] {
            *edge += (target - *edge) * by;
        }
        p.seen_seconds += dt.min(1.0);
        p.last_seen_ms = now.wall_ms;
    }

    /// A still object turned out to be a phantom.
    pub fn learn(&mut self, label: &Label, bbox: &PixelBox, seen_seconds: f32, size: (u32, u32), now: Stamp) {
        if self.known.len() >= MOST
            && let Some(oldest) = (0..self.known.len()).min_by_key(|i| self.known[*i].0.last_seen_ms)
        {
            self.known.remove(oldest);
        }
        let bbox = bbox.relative(size.0, size.1);
        let phantom = Phantom { label: label.clone(), bbox, seen_seconds, last_seen_ms: now.wall_ms };
        self.known.push((phantom, true));
    }
}
