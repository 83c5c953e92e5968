//! Plane geometry in two units: *pixels* of a frame ([`PixelBox`]) and *relative* coordinates 0..1 ([`Point`],
//! [`Polygon`], [`Line`]), so that zones survive a change of resolution.

use serde::{Deserialize, Serialize};

/// A point in relative coordinates: `x` to the right, `y` down, both 0..1 inside the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

impl Point {
    /// A point at (`x`, `y`).
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }
}

/// A box in pixels of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelBox {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

impl PixelBox {
    /// Right edge.
    pub fn right(&self) -> f32 {
        self.left + self.width
    }

    /// Bottom edge.
    pub fn bottom(&self) -> f32 {
        self.top + self.height
    }

    /// Area in square pixels; zero for an empty box.
    pub fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Centre of the box.
    pub fn centre(&self) -> (f32, f32) {
        (self.left + self.width / 2.0, self.top + self.height / 2.0)
    }

    /// Intersection over union, 0..=1.
    pub fn iou(&self, other: &PixelBox) -> f32 {
        let w = self.right().min(other.right()) - self.left.max(other.left);
        let h = self.bottom().min(other.bottom()) - self.top.max(other.top);
        if w <= 0.0 || h <= 0.0 {
            return 0.0;
        }
        let both = w * h;
        both / (self.area() + other.area() - both)
    }

    /// The part of the box inside a `width` × `height` frame.
    pub fn clamp(&self, width: u32, height: u32) -> PixelBox {
        let left = self.left.clamp(0.0, width as f32);
        let top = self.top.clamp(0.0, height as f32);
        PixelBox {
            left,
            top,
            width: self.right().clamp(left, width as f32) - left,
            height: self.bottom().clamp(top, height as f32) - top,
        }
    }

    /// The same box in relative coordinates of a `width` × `height` frame.
    pub fn relative(&self, width: u32, height: u32) -> RelativeBox {
        let (w, h) = (width.max(1) as f32, height.max(1) as f32);
        RelativeBox { left: self.left / w, top: self.top / h, right: self.right() / w, bottom: self.bottom() / h }
    }
}

/// A box in relative coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelativeBox {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl RelativeBox {
    /// Where the object stands: the middle of the bottom edge, the point that zones and lines are tested with.
    pub fn foot(&self) -> Point {
        Point::new((self.left + self.right) / 2.0, self.bottom)
    }

    /// Height of the box as a fraction of the frame's height.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// The same box in pixels of a `width` × `height` frame.
    pub fn pixels(&self, width: u32, height: u32) -> PixelBox {
        let (w, h) = (width as f32, height as f32);
        PixelBox {
            left: self.left * w,
            top: self.top * h,
            width: (self.right - self.left) * w,
            height: (self.bottom - self.top) * h,
        }
    }
}

/// A simple polygon in relative coordinates; closed implicitly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Polygon(pub Vec<Point>);

impl Polygon {
    /// Even-odd test. A point on the left or top border counts as inside, on the right or bottom one as outside, so
    /// that polygons which share an edge never both claim it.
    pub fn contains(&self, p: Point) -> bool {
        let n = self.0.len();
        let mut inside = false;
        for i in 0..n {
            let (a, b) = (self.0[i], self.0[(i + 1) % n]);
            if (a.y > p.y) != (b.y > p.y) && p.x < (b.x - a.x) * (p.y - a.y) / (b.y - a.y) + a.x {
                inside = !inside;
            }
        }
        inside
    }

    /// Unsigned area (shoelace formula).
    pub fn area(&self) -> f32 {
        let n = self.0.len();
        let twice: f32 = (0..n)
            .map(|i| {
                let (a, b) = (self.0[i], self.0[(i + 1) % n]);
                a.x * b.y - b.x * a.y
            })
            .sum();
        twice.abs() / 2.0
    }
}

/// A directed segment from `a` to `b`. Its *left* side is on the left hand of someone walking from `a` to `b` on the
/// picture as it is seen (y down).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub a: Point,
    pub b: Point,
}

/// Which side of a line a point lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
    On,
}

impl Line {
    /// Signed distance of `p` from the infinite line: positive on the left side, in relative units.
    pub fn distance(&self, p: Point) -> f32 {
        let (dx, dy) = (self.b.x - self.a.x, self.b.y - self.a.y);
        let length = dx.hypot(dy);
        if length == 0.0 {
            return 0.0;
        }
        -(dx * (p.y - self.a.y) - dy * (p.x - self.a.x)) / length
    }

    /// The side `p` lies on.
    pub fn side(&self, p: Point) -> Side {
        let d = self.distance(p);
        if d > 0.0 {
            Side::Left
        } else if d < 0.0 {
            Side::Right
        } else {
            Side::On
        }
    }

    /// Whether the way from `p` to `q` crosses this segment (touching an end counts).
    pub fn crossed_by(&self, p: Point, q: Point) -> bool {
        let way = Line { a: p, b: q };
        let (p_side, q_side) = (self.distance(p), self.distance(q));
        let (a_side, b_side) = (way.distance(self.a), way.distance(self.b));
        (p_side > 0.0) != (q_side > 0.0) && a_side * b_side <= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn square() -> Polygon {
        Polygon(vec![Point::new(0.2, 0.2), Point::new(0.8, 0.2), Point::new(0.8, 0.8), Point::new(0.2, 0.8)])
    }

    #[test]
    fn left_of_a_line_is_the_walkers_left_on_the_picture() {
        // Walking to the right: the left hand points up, to smaller y.
        let line = Line { a: Point::new(0.0, 0.5), b: Point::new(1.0, 0.5) };
        assert_eq!(line.side(Point::new(0.5, 0.1)), Side::Left);
        assert_eq!(line.side(Point::new(0.5, 0.9)), Side::Right);
    }

    #[test]
    fn a_way_past_the_end_of_a_line_does_not_cross_it() {
        let line = Line { a: Point::new(0.4, 0.5), b: Point::new(0.6, 0.5) };
        assert!(line.crossed_by(Point::new(0.5, 0.4), Point::new(0.5, 0.6)));
        assert!(!line.crossed_by(Point::new(0.9, 0.4), Point::new(0.9, 0.6)));
    }

    proptest! {
        #[test]
        fn iou_is_symmetric_and_bounded(l in 0f32..500.0, t in 0f32..500.0, w in 1f32..300.0, h in 1f32..300.0,
                                        dl in -200f32..200.0, dt in -200f32..200.0) {
            let a = PixelBox { left: l, top: t, width: w, height: h };
            let b = PixelBox { left: l + dl, top: t + dt, width: h, height: w };
            prop_assert!((a.iou(&b) - b.iou(&a)).abs() < 1e-5);
            prop_assert!((0.0..=1.0001).contains(&a.iou(&b)));
            prop_assert!((a.iou(&a) - 1.0).abs() < 1e-4);
        }

        #[test]
        fn relative_and_back_is_the_same_box(l in 0f32..700.0, t in 0f32..500.0, w in 1f32..60.0, h in 1f32..60.0) {
            let a = PixelBox { left: l, top: t, width: w, height: h };
            let b = a.relative(768, 576).pixels(768, 576);
            prop_assert!((a.left - b.left).abs() < 0.01 && (a.width - b.width).abs() < 0.01);
            prop_assert!((a.top - b.top).abs() < 0.01 && (a.height - b.height).abs() < 0.01);
        }

        #[test]
        fn a_point_is_in_a_square_iff_its_coordinates_are(x in 0f32..1.0, y in 0f32..1.0) {
            let expected = (0.2..0.8).contains(&x) && (0.2..0.8).contains(&y);
            prop_assert_eq!(square().contains(Point::new(x, y)), expected);
        }

        #[test]
        fn sides_swap_when_a_line_is_turned_round(ax in 0f32..1.0, ay in 0f32..1.0, bx in 0f32..1.0, by in 0f32..1.0,
                                                  px in 0f32..1.0, py in 0f32..1.0) {
            let (a, b, p) = (Point::new(ax, ay), Point::new(bx, by), Point::new(px, py));
            let there = Line { a, b }.distance(p);
            let back = Line { a: b, b: a }.distance(p);
            prop_assert!((there + back).abs() < 1e-3);
        }
    }
}
