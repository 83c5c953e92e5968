//! What all decoders share: the model's raw output as slices, and the step from a candidate in input pixels to a
//! detection in frame pixels. Pure.

use super::fill::Letterbox;
use crate::base::geometry::PixelBox;
use crate::base::types::{Detection, Label};

/// One output tensor as the model gave it.
#[derive(Clone, Copy, Debug)]
pub struct RawOutput<'a> {
    pub shape: &'a [i64],
    /// Row-major; as many values as the shape says.
    pub data: &'a [f32],
}

/// What turns a candidate into a detection.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where the frame lies in the input.
    pub letterbox: &'a Letterbox,
    /// Class names in the model's order.
    pub labels: &'a [Label],
    /// Weaker candidates are dropped.
    pub threshold: f32,
}

/// One thing a model proposes.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Pixels of the input.
    pub centre: (f32, f32),
    /// Pixels of the input.
    pub size: (f32, f32),
    /// 1 for models that have none.
    pub objectness: f32,
    /// One probability a label.
    pub classes: &'a [f32],
}

impl Target<'_> {
    /// The detection in frame pixels; `None` when it is too weak, not finite, empty, or wholly outside the frame.
    pub fn accept(&self, candidate: &Candidate<'_>) -> Option<Detection> {
        let (class, best) = best(candidate.classes)?;
        let score = candidate.objectness * best;
        // A NaN is in no range.
        if !(self.threshold..=1.0).contains(&score) {
            return None;
        }
        let bbox = self.letterbox.to_frame(candidate.centre, candidate.size);
        let (width, height) = self.letterbox.frame();
        if !sound(&bbox) || bbox.clamp(width, height).area() <= 0.0 {
            return None;
        }
        Some(Detection { bbox, label: self.labels.get(class)?.clone(), score })
    }
}

/// The first of the highest finite values.
fn best(classes: &[f32]) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (class, score) in classes.iter().copied().enumerate() {
        if score.is_finite() && best.is_none_or(|(_, b)| score > b) {
            best = Some((class, score));
        }
    }
    best
}

fn sound(b: &PixelBox) -> bool {
    [b.left, b.top, b.width, b.height].iter().all(|v| v.is_finite()) && b.width > 0.0 && b.height > 0.0
}
