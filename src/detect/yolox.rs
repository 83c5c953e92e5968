//! YOLOX's raw output to boxes. Pure.
//!
//! Ge et al., "YOLOX: Exceeding YOLO Series in 2021" (arXiv:2107.08430), exported without `decode_in_inference`: one
//! row a grid cell, the grids of strides 8, 16 and 32 one after the other, each row by row. In a row: centre offset
//! from the cell and logarithm of the size, both in strides; objectness; one probability a class.

use super::candidate::{Candidate, RawOutput, Target};
use crate::base::types::Detection;
use crate::base::{Error, ErrorKind, Result};

const STRIDES: [u32; 3] = [8, 16, 32];

/// Rows the model must give for an input of `width` × `height` pixels.
pub fn rows(width: u32, height: u32) -> usize {
    STRIDES.iter().map(|s| (width / s) as usize * (height / s) as usize).sum()
}

/// Decodes `1 × rows × (5 + labels)`, keeping what scores (objectness × class) at least the threshold. Values that are
/// not finite are skipped.
pub fn decode(output: &RawOutput<'_>, target: &Target<'_>) -> Result<Vec<Detection>> {
    let (width, height) = target.letterbox.input();
    let columns = 5 + target.labels.len();
    let expected = [1, rows(width, height) as i64, columns as i64];
    if output.shape != expected {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the model's output has shape {:?}, a YOLOX of this input gives {expected:?}", output.shape),
        ));
    }
    let mut found = Vec::new();
    let mut cells = output.data.chunks_exact(columns);
    for stride in STRIDES {
        for y in 0..height / stride {
            for (x, row) in (0..width / stride).zip(&mut cells) {
                // Nearly every cell is empty. A NaN passes here and is refused with the rest.
                if row[4] < target.threshold {
                    continue;
                }
                let s = stride as f32;
                let centre = ((row[0] + x as f32) * s, (row[1] + y as f32) * s);
                let size = (row[2].exp() * s, row[3].exp() * s);
                found.extend(target.accept(&Candidate { centre, size, objectness: row[4], classes: &row[5..] }));
            }
        }
    }
    Ok(found)
}
