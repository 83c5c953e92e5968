//! The tracker's parameters that are not configuration. Lengths are relative to the object's height and times in seconds,
//! so that one set serves every camera, every size and 5 to 15 frames a second.
//!
//! Found by varying each over re-encodings, other sizes, other frame rates and the mirror image of one street scene;
//! every value lies on a plateau: the next one on either side changes the result by little.

use super::kalman::Noise;

/// See the fields; [`Tuning::default`] is what runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// A detection from this score up is *strong*: it may begin a track. Weaker ones only keep known objects alive
    /// (the two stages of ByteTrack).
    pub strong: f32,
    /// Least similarity of a strong detection and a confirmed track.
    pub match_strong: f64,
    /// Least similarity of a weak detection and a confirmed track.
    pub match_weak: f64,
    /// Least similarity of a detection and a tentative track.
    pub match_tentative: f64,
    /// Both boxes are widened by this much of their mean side before they are compared (buffered IoU: Yang et al., 2023,
    /// arXiv:2211.14317), because people are narrow and move fast against their width.
    pub buffer: f64,
    /// And by this many standard deviations of the predicted place, which grow while the object is hidden.
    pub spread: f64,
    /// But not by more than this, of the mean side.
    pub max_buffer: f64,
    /// A weak detection may continue only what was seen in the last so many seconds.
    pub weak_memory: f32,
    /// A tentative track ends when it was not seen for this long (and in the last frame).
    pub tentative_memory: f32,
    /// Sightings before a track is confirmed.
    pub hits: u32,
    /// And seconds since its birth.
    pub confirm_seconds: f32,
    /// A detection that lies on one already taken by this much (IoU) begins no track.
    pub double: f32,
    /// Has moved: its foot is this far from where it was born, heights. Above the detector's jitter, below one step.
    pub moved: f32,
    /// Has moved as well: its height changed by this factor (somebody comes straight towards the camera).
    pub grown: f32,
    /// A mean score that is believed without movement. The detector is less sure of a signpost than of a person.
    pub sure: f32,
    /// Something believed for its score alone becomes a phantom after so many times `phantom_seconds`.
    pub sure_patience: f32,
    /// Keeps still while its foot stays within so many heights of its anchor.
    pub still: f32,
    /// Share of its likeness with which a phantom, or what may prove one, competes against tracks for a detection: who
    /// was seen to walk up to it goes first.
    pub phantom_weight: f64,
    /// A track that has looked like a phantom for so many times `phantom_seconds` has left unseen, and is the phantom.
    pub haunting: f32,
    /// Share of the detection in the box that is shown; the rest is the estimate.
    pub raw: f32,
    /// Standard deviation of a weak detection against that of a strong one.
    pub weak_noise: f64,
    pub noise: Noise,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            strong: 0.5,
            match_strong: 0.15,
            match_weak: 0.3,
            match_tentative: 0.1,
            buffer: 0.1,
            spread: 0.5,
            max_buffer: 0.3,
            weak_memory: 1.0,
            tentative_memory: 0.25,
            hits: 3,
            confirm_seconds: 0.2,
            double: 0.6,
            moved: 0.3,
            grown: 1.3,
            sure: 0.65,
            sure_patience: 30.0,
            still: 0.25,
            phantom_weight: 0.5,
            haunting: 3.0,
            raw: 0.4,
            weak_noise: 2.0,
            noise: Noise { measured: 0.05, acceleration: 1.0, first_speed: 1.0, growth: 0.05, fading: 4.0 },
        }
    }
}
