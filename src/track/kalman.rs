//! Where an object is and where it will be: one small Kalman filter an axis. Pure.
//!
//! Constant velocity with white acceleration for the centre, a random walk for width and height, all noise in
//! proportion to the object's size as in SORT (Bewley et al., 2016, arXiv:1602.00763) and ByteTrack (Zhang et al., 2022,
//! arXiv:2110.06864), but in *seconds*: the step is an argument, so that 5 and 15 frames a second, and frames that were
//! dropped in between, give the same motion. The axes are independent there as well (all covariances between them are
//! zero), so four small filters are exactly the large one.

use crate::base::geometry::PixelBox;

/// Standard deviations, relative to the object's height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Of a detected edge or size, heights.
    pub measured: f64,
    /// Of the acceleration of the centre, heights/s².
    pub acceleration: f64,
    /// Of the speed of something just seen, heights/s.
    pub first_speed: f64,
    /// Of the change of width and height, heights/√s.
    pub growth: f64,
    /// A speed that is no longer observed fades with this time constant, seconds.
    pub fading: f64,
}

/// Position and speed on one axis with their covariance.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moving {
    x: f64,
    v: f64,
    xx: f64,
    xv: f64,
    vv: f64,
}

impl Moving {
    fn new(x: f64, position_std: f64, speed_std: f64) -> Self {
        Self { x, v: 0.0, xx: position_std.powi(2), xv: 0.0, vv: speed_std.powi(2) }
    }

    fn predict(&mut self, dt: f64, acceleration: f64) {
        let q = acceleration.powi(2);
        self.x += self.v * dt;
        self.xx += 2.0 * dt * self.xv + dt * dt * self.vv + q * dt.powi(4) / 4.0;
        self.xv += dt * self.vv + q * dt.powi(3) / 2.0;
        self.vv += q * dt * dt;
    }

    fn update(&mut self, z: f64, variance: f64) {
        let s = self.xx + variance;
        let (kx, kv) = (self.xx / s, self.xv / s);
        let innovation = z - self.x;
        self.x += kx * innovation;
        self.v += kv * innovation;
        self.vv -= kv * self.xv;
        self.xv *= 1.0 - kx;
        self.xx *= 1.0 - kx;
    }
}

/// A size: a random walk.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Drifting {
    x: f64,
    xx: f64,
}

impl Drifting {
    fn update(&mut self, z: f64, variance: f64) {
        let k = self.xx / (self.xx + variance);
        self.x += k * (z - self.x);
        self.xx *= 1.0 - k;
    }
}

/// The motion of one box, in pixels and seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    cx: Moving,
    cy: Moving,
    width: Drifting,
    height: Drifting,
}

impl Motion {
    /// Something just seen at `bbox`, its speed unknown.
    pub fn new(bbox: &PixelBox, noise: &Noise) -> Self {
        let (x, y) = centre(bbox);
        let h = f64::from(bbox.height);
        let (position, speed) = (noise.measured * h, noise.first_speed * h);
        let size = |x: f32| Drifting { x: f64::from(x), xx: position.powi(2) };
        Self {
            cx: Moving::new(x, position, speed),
            cy: Moving::new(y, position, speed),
            width: size(bbox.width),
            height: size(bbox.height),
        }
    }

    /// Moves on by `dt` seconds. `unseen`: the object was not seen in the last step; its speed fades, because someone
    /// who is hidden is likelier to have stopped or turned than to march on.
    pub fn predict(&mut self, dt: f64, unseen: bool, noise: &Noise) {
        let h = self.height.x;
        let fade = if unseen { (-dt / noise.fading).exp() } else { 1.0 };
        for axis in [&mut self.cx, &mut self.cy] {
            axis.v *= fade;
            axis.predict(dt, noise.acceleration * h);
        }
        for size in [&mut self.width, &mut self.height] {
            size.xx += (noise.growth * h).powi(2) * dt;
        }
    }

    /// Takes a detection in. `doubt` scales the standard deviation of its noise: 1 for a strong one, more for a weak one.
    pub fn update(&mut self, bbox: &PixelBox, doubt: f64, noise: &Noise) {
        let (x, y) = centre(bbox);
        let variance = (noise.measured * f64::from(bbox.height) * doubt).powi(2);
        self.cx.update(x, variance);
        self.cy.update(y, variance);
        self.width.update(f64::from(bbox.width), variance);
        self.height.update(f64::from(bbox.height), variance);
    }

    /// The box as estimated now.
    pub fn bbox(&self) -> PixelBox {
        let (w, h) = (self.width.x.max(1.0), self.height.x.max(1.0));
        PixelBox {
            left: (self.cx.x - w / 2.0) as f32,
            top: (self.cy.x - h / 2.0) as f32,
            width: w as f32,
            height: h as f32,
        }
    }

    /// Standard deviation of the centre, pixels.
    pub fn spread(&self) -> f64 {
        self.cx.xx.max(self.cy.xx).sqrt()
    }
}

fn centre(b: &PixelBox) -> (f64, f64) {
    (f64::from(b.left) + f64::from(b.width) / 2.0, f64::from(b.top) + f64::from(b.height) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::tuning::Tuning;

    fn noise() -> Noise {
        Tuning::default().noise
    }

    fn walker(x: f64) -> PixelBox {
        PixelBox { left: x as f32, top: 100.0, width: 30.0, height: 80.0 }
    }

    /// Follows somebody who walks at 60 pixels a second, seen at `fps`, for two seconds; where is he believed to be?
    fn followed(fps: f64) -> Motion {
        let mut motion = Motion::new(&walker(0.0), &noise());
        for i in 1..=(2.0 * fps) as u32 {
            motion.predict(1.0 / fps, false, &noise());
            motion.update(&walker(60.0 * f64::from(i) / fps), 1.0, &noise());
        }
        motion
    }

    #[test]
    fn the_speed_is_found_at_any_frame_rate_and_predicts_across_a_gap() {
        for fps in [5.0, 10.0, 15.0] {
            let mut motion = followed(fps);
            motion.predict(0.5, false, &noise());
            let error = motion.bbox().left - 150.0;
            assert!(error.abs() < 4.0, "{fps} fps: {error}");
        }
    }

    #[test]
    fn a_hidden_walker_slows_down_and_his_place_grows_uncertain() {
        let (mut seen, mut hidden) = (followed(10.0), followed(10.0));
        let spread = hidden.spread();
        for _ in 0..20 {
            seen.predict(0.1, false, &noise());
            hidden.predict(0.1, true, &noise());
        }
        assert!(hidden.bbox().left < seen.bbox().left - 10.0);
        assert!(hidden.spread() > 3.0 * spread);
    }

    #[test]
    fn one_long_step_is_the_same_as_many_short_ones() {
        let (mut one, mut many) = (followed(10.0), followed(10.0));
        one.predict(1.0, false, &noise());
        (0..100).for_each(|_| many.predict(0.01, false, &noise()));
        assert!((one.bbox().left - many.bbox().left).abs() < 0.01);
    }
}
