//! The output of the DETR family to boxes. Pure.
//!
//! Carion et al., "End-to-End Object Detection with Transformers" (arXiv:2005.12872) and its successors: logits
//! `1 × Q × classes` and boxes `1 × Q × 4`, centre and size as fractions of the input. With exactly as many logits as
//! labels each is a sigmoid of its own (Deformable DETR, RT-DETR); with one more, the last is "nothing" and a softmax
//! runs over all (DETR).

use super::candidate::{Candidate, RawOutput, Target};
use crate::base::types::Detection;
use crate::base::{Error, ErrorKind, Result};

/// Decodes the queries that score at least the threshold. Values that are not finite are skipped.
pub fn decode(logits: &RawOutput<'_>, boxes: &RawOutput<'_>, target: &Target<'_>) -> Result<Vec<Detection>> {
    let c = target.labels.len();
    let columns = match (logits.shape, boxes.shape) {
        ([1, q, columns], [1, r, 4]) if q == r && (*columns == c as i64 || *columns == c as i64 + 1) => {
            *columns as usize
        }
        (l, b) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the model's outputs have shapes {l:?} and {b:?}, a DETR gives [1, Q, {c} or {}] and [1, Q, 4]",
                    c + 1
                ),
            ));
        }
    };
    let (width, height) = target.letterbox.input();
    let (w, h) = (width as f32, height as f32);
    let mut found = Vec::new();
    let mut scores = vec![0.0; columns];
    for (row, b) in logits.data.chunks_exact(columns).zip(boxes.data.chunks_exact(4)) {
        if columns == c {
            sigmoid(row, &mut scores)
        } else {
            softmax(row, &mut scores)
        }
        let (centre, size) = ((b[0] * w, b[1] * h), (b[2] * w, b[3] * h));
        found.extend(target.accept(&Candidate { centre, size, objectness: 1.0, classes: &scores[..c] }));
    }
    Ok(found)
}

fn sigmoid(logits: &[f32], out: &mut [f32]) {
    for (o, l) in out.iter_mut().zip(logits) {
        *o = 1.0 / (1.0 + (-l).exp());
    }
}

fn softmax(logits: &[f32], out: &mut [f32]) {
    // Taking the largest off first keeps exp() in range.
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (o, l) in out.iter_mut().zip(logits) {
        *o = (l - largest).exp();
        sum += *o;
    }
    out.iter_mut().for_each(|o| *o /= sum);
}
