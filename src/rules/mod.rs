//! L2: rules, as pure step functions over tracks: who is where, for how long, which way. Time, tracks and frame facts
//! are arguments; nothing here reads a clock, a picture or a file.
//!
//! A kind of rule is one file here and one line in [`KINDS`]. It decides *what is true now* of each object
//! ([`Signal`]); everything kinds have in common lies outside them: which objects they see (`subjects`), when they
//! look (`schedule`), and what becomes an event (`events`, driven by [`RuleSet`]).

mod engine;
mod events;
mod ids;
mod intrusion;
mod line_crossing;
mod loitering;
mod places;
pub mod rehearsal;
pub mod schedule;
mod subjects;

use std::time::Duration;

use crate::base::Stamp;
use crate::base::geometry::Point;
use crate::base::types::{Direction, NamedLine, Zone};
use crate::config::{KeyError, RuleConfig};

pub use engine::{RuleSet, Settings};
pub use events::Outcome;
pub use ids::IdSource;
pub use schedule::Schedule;
pub use subjects::Scene;

/// Every kind of rule there is.
pub const KINDS: &[RuleKind] = &[intrusion::KIND, line_crossing::KIND, loitering::KIND];

/// A kind of rule: its names, and how one is made from its configuration.
pub struct RuleKind {
    /// The value of `kind` in the cameras document and in events.
    pub name: &'static str,
    /// Plain words for a duty officer.
    pub vietnamese: &'static str,
    pub english: &'static str,
    build: fn(&RuleConfig, &Places<'_>) -> Result<Built, KeyError>,
}

/// The kind called `name`.
pub fn kind(name: &str) -> Option<&'static RuleKind> {
    KINDS.iter().find(|k| k.name == name)
}

/// Whether `rule` makes sense on a camera with these zones and lines.
///
/// # Errors
/// Names the key that is wrong and how to mend it.
pub fn check(rule: &RuleConfig, zones: &[Zone], lines: &[NamedLine]) -> Result<(), KeyError> {
    build(rule, &Places { zones, lines }).map(drop)
}

fn build(rule: &RuleConfig, places: &Places<'_>) -> Result<Built, KeyError> {
    let kind = kind(&rule.kind).ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
        KeyError::new("kind", format!("there is no kind of rule called `{}`", rule.kind))
            .hint(format!("known kinds: {}", known.join(", ")))
    })?;
    (kind.build)(rule, places)
}

/// What a camera offers a rule to watch.
struct Places<'a> {
    zones: &'a [Zone],
    lines: &'a [NamedLine],
}

/// A rule ready to look, with what the event book needs to know of it.
struct Built {
    logic: Box<dyn Rule>,
    /// Watched zones; [`Signal::Present`] counts in them.
    zones: Vec<Zone>,
    line: Option<NamedLine>,
    /// An event ends when nobody has taken part in it for this long.
    grace: Duration,
}

/// One object as a rule sees it; it has passed the rule's own filters.
#[derive(Clone, Copy, Debug)]
struct Subject {
    /// The same number while it is the same object, whatever its tracker calls it.
    object: u64,
    /// Where it stands, relative to the picture.
    foot: Point,
    /// Height of its box as a fraction of the picture's height.
    height: f32,
    /// Detected in this very frame; otherwise its place is a guess and proves nothing.
    seen_now: bool,
    /// Has not moved for long.
    stationary: bool,
    /// How far it has been from where it was first seen, in heights of its box.
    moved: f32,
}

/// One frame as a rule sees it.
struct Look<'a> {
    now: Stamp,
    /// Width over height of the picture.
    aspect: f32,
    /// In a stable order.
    subjects: &'a [Subject],
}

/// What a rule says of one object in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Signal {
    /// It is where the rule watches, in `zone` (index into [`Built::zones`]); said again in every frame it is seen there.
    Present { object: u64, zone: usize },
    /// It has crossed the line; said once.
    Crossed { object: u64, direction: Direction },
}

/// The heart of a rule kind.
trait Rule: Send {
    /// Looks at one frame. Frames come in the order of time.
    fn look(&mut self, look: &Look<'_>) -> Vec<Signal>;

    /// The object is over for good.
    fn forget(&mut self, object: u64);

    /// The schedule's window has closed: nothing seen so far counts in the next one.
    fn reset(&mut self);
}
