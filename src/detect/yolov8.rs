//! The output of the YOLOv8 family (v8, v9, 11, …) to boxes. Pure.
//!
//! `1 × (4 + classes) × N`, one *column* a candidate: centre and size in pixels of the input, then one probability a
//! class; there is no objectness.

use super::candidate::{Candidate, RawOutput, Target};
use crate::base::types::Detection;
use crate::base::{Error, ErrorKind, Result};

/// Decodes the candidates that score at least the threshold. Values that are not finite are skipped.
pub fn decode(output: &RawOutput<'_>, target: &Target<'_>) -> Result<Vec<Detection>> {
    let rows = 4 + target.labels.len();
    let n = match output.shape {
        [1, r, n] if *r == rows as i64 && *n >= 0 && output.data.len() == rows * *n as usize => *n as usize,
        shape => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("the model's output has shape {shape:?}, a YOLOv8 with these labels gives [1, {rows}, N]"),
            ));
        }
    };
    let at = |row: usize, column: usize| output.data[row * n + column];
    let mut found = Vec::new();
    let mut scores = vec![0.0; target.labels.len()];
    for i in 0..n {
        for (class, score) in scores.iter_mut().enumerate() {
            *score = at(4 + class, i);
        }
        let (centre, size) = ((at(0, i), at(1, i)), (at(2, i), at(3, i)));
        found.extend(target.accept(&Candidate { centre, size, objectness: 1.0, classes: &scores }));
    }
    Ok(found)
}
