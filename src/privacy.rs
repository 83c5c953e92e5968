//! L2: privacy masks, burned into the decoded picture before anything looks at it. What lies under a mask does not reach
//! the detector, a snapshot or anyone's eyes; it is painted over, not blurred.
//!
//! Covering is conservative: a pixel that a mask touches at all is covered, and so is a chroma sample.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::geometry::{Point, Polygon};
use crate::base::types::{Frame, Plane};

/// Neutral grey in all three planes, in either range.
const GREY: u8 = 128;

/// Sizes of frames remembered: detect and record stream, and one of each while a camera changes its own.
const SIZES: usize = 4;

/// The masks of one camera with their pixels worked out for the frame sizes in use.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    polygons: Vec<Polygon>,
    sizes: VecDeque<(u32, u32, Arc<Cover>)>,
}

/// The covered samples of the luma plane and of the chroma planes.
#[derive(Debug)]
struct Cover {
    luma: Vec<Span>,
    chroma: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq)]
struct Span {
    row: usize,
    columns: Range<usize>,
}

impl Masks {
    /// Masks that cover `polygons`.
    pub fn new(polygons: Vec<Polygon>) -> Self {
        Self { polygons, sizes: VecDeque::new() }
    }

    /// `frame` with the masks painted over it. Without masks it is the frame itself and nothing is copied.
    pub fn burn(&mut self, frame: &Frame) -> Frame {
        if self.polygons.is_empty() {
            return frame.clone();
        }
        let cover = self.cover(frame.width, frame.height);
        let (cw, ch) = (frame.chroma_width(), frame.chroma_height());
        Frame {
            y: paint(&frame.y, frame.width as usize, frame.height as usize, &cover.luma),
            u: paint(&frame.u, cw, ch, &cover.chroma),
            v: paint(&frame.v, cw, ch, &cover.chroma),
            ..frame.clone()
        }
    }

    /// Whether nothing is to be covered.
    pub fn is_empty(&self) -> bool {
        self.polygons.is_empty()
    }

    /// Paints the masks over one plane of a `width` × `height` picture, where it lies: the luma plane, or a chroma plane.
    /// `None` when the plane is smaller than that; nothing can be said of it then.
    pub fn paint(&mut self, plane: &mut [u8], stride: usize, chroma: bool, width: u32, height: u32) -> Option<()> {
        let cover = self.cover(width, height);
        for span in if chroma { &cover.chroma } else { &cover.luma } {
            let row = plane.get_mut(span.row.checked_mul(stride)?..)?;
            row.get_mut(span.columns.clone())?.fill(GREY);
        }
        Some(())
    }

    fn cover(&mut self, width: u32, height: u32) -> Arc<Cover> {
        if let Some((_, _, cover)) = self.sizes.iter().find(|(w, h, _)| (*w, *h) == (width, height)) {
            return cover.clone();
        }
        let (w, h) = (f64::from(width), f64::from(height));
        let (cw, ch) = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
        let cover = Arc::new(Cover {
            luma: spans(&self.polygons, (w, h), width as usize, height as usize),
            // A chroma sample of the last column of an odd width reaches half out of the picture.
            chroma: spans(&self.polygons, (w / 2.0, h / 2.0), cw, ch),
        });
        if self.sizes.len() == SIZES {
            self.sizes.pop_front();
        }
        self.sizes.push_back((width, height, cover.clone()));
        cover
    }
}

/// `frame` with `polygons` painted over. For a single frame; a stream keeps [`Masks`].
pub fn burn(frame: &Frame, polygons: &[Polygon]) -> Frame {
    Masks::new(polygons.to_vec()).burn(frame)
}

fn paint(plane: &Plane, width: usize, height: usize, spans: &[Span]) -> Plane {
    let mut out = vec![GREY; width * height];
    for (row, target) in out.chunks_exact_mut(width).enumerate() {
        // A plane shorter than its size claims stays grey where it has nothing.
        if let Some(source) = plane.data.get(row * plane.stride..row * plane.stride + width) {
            target.copy_from_slice(source);
        }
    }
    for span in spans {
        out[span.row * width..][span.columns.clone()].fill(GREY);
    }
    Plane { data: Bytes::from(out), stride: width }
}

/// The cells of a `columns` × `rows` grid that any polygon touches. `scale` is the size of the picture in cells.
fn spans(polygons: &[Polygon], scale: (f64, f64), columns: usize, rows: usize) -> Vec<Span> {
    let mut out = Vec::new();
    for row in 0..rows {
        let mut touched: Vec<(usize, usize)> = Vec::new();
        for polygon in polygons {
            let corners: Vec<(f64, f64)> =
                polygon.0.iter().map(|p: &Point| (f64::from(p.x) * scale.0, f64::from(p.y) * scale.1)).collect();
            edges_in_row(&corners, row as f64, |from, to| touched.push(cells(from, to, columns)));
            inside_row(&corners, row as f64 + 0.5, |from, to| touched.push(cells(from, to, columns)));
        }
        touched.sort_unstable();
        let mut merged: Option<(usize, usize)> = None;
        for (from, to) in touched {
            merged = match merged {
                Some((start, end)) if from <= end => Some((start, end.max(to))),
                Some((start, end)) => {
                    out.push(Span { row, columns: start..end });
                    Some((from, to))
                }
                None => Some((from, to)),
            };
        }
        out.extend(merged.map(|(start, end)| Span { row, columns: start..end }));
    }
    out
}

/// The cells that the closed interval `from..=to` touches, and a hair beyond, for rounding.
fn cells(from: f64, to: f64, columns: usize) -> (usize, usize) {
    const HAIR: f64 = 1e-4;
    let start = (from - HAIR).floor().clamp(0.0, columns as f64) as usize;
    let end = ((to + HAIR).floor() + 1.0).clamp(0.0, columns as f64) as usize;
    (start.min(end), end)
}

/// The horizontal extent of every edge within the strip `top..=top + 1`.
fn edges_in_row(corners: &[(f64, f64)], top: f64, mut found: impl FnMut(f64, f64)) {
    let bottom = top + 1.0;
    for (i, &a) in corners.iter().enumerate() {
        let b = corners[(i + 1) % corners.len()];
        let (upper, lower) = if a.1 <= b.1 { (a, b) } else { (b, a) };
        if lower.1 < top || upper.1 > bottom {
            continue;
        }
        let height = lower.1 - upper.1;
        let x_at = |y: f64| upper.0 + (lower.0 - upper.0) * (y - upper.1) / height;
        let (from, to) = match height > 0.0 {
            true => (x_at(top.max(upper.1)), x_at(bottom.min(lower.1))),
            false => (a.0, b.0),
        };
        found(from.min(to), from.max(to));
    }
}

/// The stretches of the horizontal line at `y` that lie inside, by the even-odd rule.
fn inside_row(corners: &[(f64, f64)], y: f64, mut found: impl FnMut(f64, f64)) {
    let mut crossings: Vec<f64> = Vec::new();
    for (i, &a) in corners.iter().enumerate() {
        let b = corners[(i + 1) % corners.len()];
        if (a.1 > y) != (b.1 > y) {
            crossings.push(a.0 + (b.0 - a.0) * (y - a.1) / (b.1 - a.1));
        }
    }
    crossings.sort_unstable_by(f64::total_cmp);
    for pair in crossings.chunks_exact(2) {
        found(pair[0], pair[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stamp;
    use crate::base::types::{ColorMatrix, ColorRange};
    use crate::config::SnapshotConfig;
    use proptest::prelude::*;
    use std::time::Duration;

    const CANARY: u8 = 201;

    fn frame(width: u32, height: u32) -> Frame {
        let plane = |w: u32, h: u32| Plane {
            data: Bytes::from(vec![CANARY; (w as usize + 3) * h as usize]),
            stride: w as usize + 3,
        };
        Frame {
            seq: 1,
            pts: Duration::ZERO,
            arrived: Stamp::default(),
            camera_time_ms: None,
            width,
            height,
            range: ColorRange::Limited,
            matrix: ColorMatrix::Bt601,
            y: plane(width, height),
            u: plane(width.div_ceil(2), height.div_ceil(2)),
            v: plane(width.div_ceil(2), height.div_ceil(2)),
        }
    }

    fn sample(plane: &Plane, x: usize, y: usize) -> u8 {
        plane.data[y * plane.stride + x]
    }

    fn polygon(points: &[(f32, f32)]) -> Polygon {
        Polygon(points.iter().map(|(x, y)| Point::new(*x, *y)).collect())
    }

    #[test]
    fn without_masks_nothing_is_copied() {
        let original = frame(64, 48);
        let burned = Masks::new(vec![]).burn(&original);
        assert_eq!(burned.y.data.as_ptr(), original.y.data.as_ptr());
    }

    #[test]
    fn a_mask_covers_its_pixels_and_leaves_the_others() {
        let burned = burn(&frame(100, 100), &[polygon(&[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)])]);
        assert_eq!(sample(&burned.y, 50, 50), GREY);
        assert_eq!(sample(&burned.u, 25, 25), GREY);
        assert_eq!(sample(&burned.v, 25, 25), GREY);
        for (x, y) in [(10, 50), (90, 50), (50, 10), (50, 90), (0, 0), (99, 99)] {
            assert_eq!(sample(&burned.y, x, y), CANARY, "{x} {y}");
        }
    }

    #[test]
    fn a_mask_as_thin_as_a_hair_still_covers_what_it_touches() {
        let burned = burn(&frame(64, 64), &[polygon(&[(0.1, 0.101), (0.9, 0.102), (0.9, 0.103)])]);
        assert!((8..56).all(|x| sample(&burned.y, x, 6) == GREY));
    }

    #[test]
    fn painting_in_place_covers_the_same_and_sees_a_plane_that_is_too_small() {
        let mut masks = Masks::new(vec![polygon(&[(0.2, 0.1), (0.9, 0.3), (0.5, 0.95)])]);
        let original = frame(63, 47);
        let burned = masks.burn(&original);
        for (before, after, chroma) in
            [(&original.y, &burned.y, false), (&original.u, &burned.u, true), (&original.v, &burned.v, true)]
        {
            let mut data = before.data.to_vec();
            masks.paint(&mut data, before.stride, chroma, 63, 47).expect("large enough");
            for (row, expected) in after.data.chunks_exact(after.stride).enumerate() {
                assert_eq!(&data[row * before.stride..][..after.stride], expected);
            }
            assert_eq!(masks.paint(&mut data[..before.stride * 5], before.stride, chroma, 63, 47), None);
        }
    }

    #[test]
    fn a_resolution_change_moves_the_mask_with_the_picture() {
        let mut masks = Masks::new(vec![polygon(&[(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)])]);
        for (w, h) in [(64, 48), (1920, 1080), (63, 47), (320, 240), (640, 360), (64, 48)] {
            let burned = masks.burn(&frame(w, h));
            assert_eq!(sample(&burned.y, w as usize / 4, h as usize / 2), GREY);
            assert_eq!(sample(&burned.y, w as usize - 2, h as usize / 2), CANARY);
        }
        assert!(masks.sizes.len() <= SIZES);
    }

    #[test]
    fn a_snapshot_shows_nothing_of_what_is_masked() {
        // Red outside, the canary colour inside: after JPEG no pixel well inside the mask is anything but grey.
        let mask = polygon(&[(0.2, 0.3), (0.7, 0.2), (0.8, 0.9), (0.3, 0.8)]);
        let burned = burn(&frame(321, 241), std::slice::from_ref(&mask));
        let shot = crate::snapshot::take(&burned, None, &SnapshotConfig::default()).expect("valid");
        let picture =
            image::load_from_memory_with_format(&shot.jpeg, image::ImageFormat::Jpeg).expect("a JPEG").to_rgb8();
        let canary = {
            let shot = crate::snapshot::take(&frame(32, 32), None, &SnapshotConfig::default()).expect("valid");
            let all = image::load_from_memory_with_format(&shot.jpeg, image::ImageFormat::Jpeg).expect("a JPEG");
            *all.to_rgb8().get_pixel(16, 16)
        };
        for (x, y, p) in picture.enumerate_pixels() {
            let at = |dx: i32, dy: i32| Point::new((x as i32 + dx) as f32 / 321.0, (y as i32 + dy) as f32 / 241.0);
            // Blocks of 16 pixels that the border runs through mix both sides; look beyond them.
            let deep = [(-16, -16), (16, -16), (-16, 16), (16, 16)].iter().all(|(dx, dy)| mask.contains(at(*dx, *dy)));
            if deep {
                let off = p.0.iter().zip(canary.0).map(|(a, b)| a.abs_diff(b)).max().unwrap_or(0);
                assert!(off > 60 && p.0.iter().all(|v| v.abs_diff(130) < 12), "{x} {y} {p:?} canary {canary:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_pixel_that_a_mask_touches_survives(
            points in prop::collection::vec((0f32..=1.0, 0f32..=1.0), 3..9),
            width in 1u32..80, height in 1u32..80,
        ) {
            let mask = polygon(&points);
            let burned = burn(&frame(width, height), std::slice::from_ref(&mask));
            // Any point inside the mask, however close to a border, lies in a covered pixel and chroma sample.
            for sub_y in 0..height * 4 {
                for sub_x in 0..width * 4 {
                    let (px, py) = ((sub_x as f32 + 0.5) / 4.0, (sub_y as f32 + 0.5) / 4.0);
                    if mask.contains(Point::new(px / width as f32, py / height as f32)) {
                        let (x, y) = (px as usize, py as usize);
                        prop_assert_eq!(sample(&burned.y, x, y), GREY);
                        prop_assert_eq!(sample(&burned.u, x / 2, y / 2), GREY);
                        prop_assert_eq!(sample(&burned.v, x / 2, y / 2), GREY);
                    }
                }
            }
        }
    }
}
