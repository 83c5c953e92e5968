//! What a change shows more than before: a camera that is shared further, a mask that covers less, sound.
//!
//! The test of masks is exact where one new mask holds an old one, and errs towards asking otherwise: an old mask that only
//! two new ones together cover counts as made smaller.

use crate::base::geometry::{Point, Polygon};
use crate::base::types::CameraId;
use crate::config::{Camera, CamerasDocument};

/// What more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widened {
    /// It is shared further.
    Sharing,
    /// Something that a mask covered is covered no more.
    Mask,
    /// Sound is recorded, too.
    Audio,
}

/// A camera of which more would be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widening {
    pub camera: CameraId,
    pub what: Widened,
}

/// What `new` shows more than `old`. A camera is also compared with others that had one of its streams: under another id it
/// is the same neighbour's.
pub fn widened(old: &CamerasDocument, new: &CamerasDocument) -> Vec<Widening> {
    let mut out = Vec::new();
    for camera in &new.cameras {
        let before = || old.cameras.iter().filter(|o| o.id == camera.id || is_same_place(o, camera));
        let mut tell = |is: bool, what| {
            if is {
                out.push(Widening { camera: camera.id.clone(), what });
            }
        };
        tell(before().any(|o| camera.sharing > o.sharing), Widened::Sharing);
        tell(before().any(|o| o.masks.iter().any(|m| !is_covered(m, &camera.masks))), Widened::Mask);
        tell(before().any(|o| camera.recording.audio && !o.recording.audio), Widened::Audio);
    }
    out
}

fn is_same_place(a: &Camera, b: &Camera) -> bool {
    let urls = |c: &Camera| [Some(c.detect.url.clone()), c.record.as_ref().map(|r| r.url.clone())];
    urls(a).into_iter().flatten().any(|url| urls(b).into_iter().flatten().any(|other| other == url))
}

/// Whether one of `masks` holds all of `mask`.
fn is_covered(mask: &Polygon, masks: &[Polygon]) -> bool {
    masks.iter().any(|m| m == mask || is_simple(m) && holds(m, mask))
}

type P = (f64, f64);

/// Far below a pixel, and below what two coordinates can differ by.
const NEAR: f64 = 1e-9;

fn edges(polygon: &Polygon) -> Vec<(P, P)> {
    let point = |p: &Point| (f64::from(p.x), f64::from(p.y));
    let points: Vec<P> = polygon.0.iter().map(point).collect();
    (0..points.len()).map(|i| (points[i], points[(i + 1) % points.len()])).collect()
}

/// Whether the border of `inner` lies within `outer`, which crosses itself nowhere: then all of it does.
fn holds(outer: &Polygon, inner: &Polygon) -> bool {
    let outer = edges(outer);
    edges(inner).into_iter().all(|(a, b)| {
        let mut cuts = vec![0.0, 1.0];
        for edge in &outer {
            cuts.extend(meetings((a, b), *edge));
        }
        cuts.retain(|t| (0.0..=1.0).contains(t));
        cuts.sort_by(f64::total_cmp);
        let at = |t: f64| (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
        // Between two meetings it is inside or outside as a whole.
        cuts.windows(2).all(|pair| is_inside(at((pair[0] + pair[1]) / 2.0), &outer))
    })
}

/// Where on the first segment (0 to 1) it meets the second.
fn meetings((a, b): (P, P), (c, d): (P, P)) -> Vec<f64> {
    let (r, s) = ((b.0 - a.0, b.1 - a.1), (d.0 - c.0, d.1 - c.1));
    let cross = |u: P, v: P| u.0 * v.1 - u.1 * v.0;
    let across = cross(r, s);
    let to = (c.0 - a.0, c.1 - a.1);
    if across != 0.0 {
        let (t, u) = (cross(to, s) / across, cross(to, r) / across);
        return if (-NEAR..=1.0 + NEAR).contains(&u) { vec![t] } else { Vec::new() };
    }
    let length = r.0 * r.0 + r.1 * r.1;
    if length == 0.0 {
        return Vec::new();
    }
    // Side by side: where the other begins and ends.
    [c, d].iter().map(|p| ((p.0 - a.0) * r.0 + (p.1 - a.1) * r.1) / length).collect()
}

/// Whether `p` lies on the segment.
fn is_on(p: P, (a, b): (P, P)) -> bool {
    let r = (b.0 - a.0, b.1 - a.1);
    let length = r.0 * r.0 + r.1 * r.1;
    let t = if length == 0.0 { 0.0 } else { (((p.0 - a.0) * r.0 + (p.1 - a.1) * r.1) / length).clamp(0.0, 1.0) };
    (a.0 + t * r.0 - p.0).hypot(a.1 + t * r.1 - p.1) <= NEAR
}

fn is_inside(p: P, outer: &[(P, P)]) -> bool {
    let on_border = outer.iter().any(|edge| is_on(p, *edge));
    let crossed = |(a, b): &&(P, P)| (a.1 > p.1) != (b.1 > p.1) && p.0 < (b.0 - a.0) * (p.1 - a.1) / (b.1 - a.1) + a.0;
    on_border || outer.iter().filter(crossed).count() % 2 == 1
}

/// Whether no two edges meet but neighbours at their corner.
fn is_simple(polygon: &Polygon) -> bool {
    let edges = edges(polygon);
    let n = edges.len();
    let apart = |i: usize, j: usize| {
        let inner = |t: f64| (0.0..=1.0).contains(&t);
        let neighbours = j == i + 1 || i == 0 && j == n - 1;
        let meets =
            meetings(edges[i], edges[j]).into_iter().any(inner) && meetings(edges[j], edges[i]).into_iter().any(inner);
        let parallel = {
            let (r, s) = (difference(edges[i]), difference(edges[j]));
            r.0 * s.1 - r.1 * s.0 == 0.0
        };
        match (neighbours, parallel) {
            // They meet at their corner, and nowhere else unless one lies upon the other.
            (true, false) => true,
            (true, true) => {
                difference(edges[i]).0 * difference(edges[j]).0 + difference(edges[i]).1 * difference(edges[j]).1 >= 0.0
            }
            // Side by side they touch where one's end lies on the other.
            (false, true) => {
                let ends = |of: usize, on: usize| is_on(edges[of].0, edges[on]) || is_on(edges[of].1, edges[on]);
                !ends(i, j) && !ends(j, i)
            }
            (false, false) => !meets,
        }
    };
    (0..n).all(|i| (i + 1..n).all(|j| apart(i, j)))
}

fn difference((a, b): (P, P)) -> P {
    (b.0 - a.0, b.1 - a.1)
}
