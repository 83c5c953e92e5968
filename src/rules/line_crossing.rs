//! Line crossing: an object walks through a line, one way, the other, or either.
//!
//! An object has a *settled* side, which changes only when it was seen on the other side, farther from the line than a
//! margin, several frames in a row: whoever stands on the line does not fire. It counts as a crossing only if the way in
//! between led through the segment itself and not past its ends.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Built, Look, Places, Rule, RuleKind, Signal, Subject};
use crate::base::geometry::{Line, Point};
use crate::base::types::{Direction, NamedLine};
use crate::config::{KeyError, RuleConfig, read_keys};

pub(super) const KIND: RuleKind =
    RuleKind { name: "line_crossing", vietnamese: "Vượt ranh", english: "Line crossing", build };

/// A crossing is a moment; its event stays open this long so that a better picture can be found.
const OPEN: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Name of a line of the same camera.
    line: String,
    #[serde(default)]
    direction: Wanted,
    /// How far beyond the line an object must stand to be on the other side, as a fraction of its own height: feet
    /// jitter with the size of the box.
    #[serde(default = "default_margin")]
    margin: f32,
}

fn default_margin() -> f32 {
    0.1
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    LeftToRight,
    RightToLeft,
    #[default]
    Both,
}

impl Wanted {
    fn has(self, direction: Direction) -> bool {
        match self {
            Self::Both => true,
            Self::LeftToRight => direction == Direction::LeftToRight,
            Self::RightToLeft => direction == Direction::RightToLeft,
        }
    }
}

fn build(rule: &RuleConfig, places: &Places<'_>) -> Result<Built, KeyError> {
    let params: Params = read_keys(&rule.params)?;
    let line = places.line(&params.line)?;
    if !(0.0..=1.0).contains(&params.margin) {
        return Err(
            KeyError::new("margin", "margin must be between 0 and 1").hint("0.1 is a tenth of the object's height")
        );
    }
    let logic = LineCrossing {
        line: line.clone(),
        wanted: params.direction,
        margin: params.margin,
        inertia: rule.inertia,
        walkers: BTreeMap::new(),
    };
    Ok(Built { logic: Box::new(logic), zones: Vec::new(), line: Some(line), grace: OPEN })
}

struct LineCrossing {
    line: NamedLine,
    wanted: Wanted,
    margin: f32,
    inertia: u32,
    walkers: BTreeMap<u64, Walker>,
}

struct Walker {
    /// Which side it belongs to: `true` for left.
    settled: bool,
    /// Frames in a row in which it was seen well beyond the line on the other side.
    run: u32,
    /// Passages through the segment since it settled, rightward counted up, leftward down.
    net: i32,
    last: Point,
}

impl LineCrossing {
    fn walk(&mut self, s: &Subject, aspect: f32) -> Option<Direction> {
        // In units of the picture's height, so that a margin is as wide across a steep line as across a level one.
        let scale = |p: Point| Point::new(p.x * aspect, p.y);
        let line = Line { a: scale(self.line.points[0]), b: scale(self.line.points[1]) };
        let foot = scale(s.foot);
        let distance = line.distance(foot);
        // The side of the first sighting, wherever it is: whoever steps out of a gate that the line is drawn across is
        // first seen in the gate.
        let w = self.walkers.entry(s.object).or_insert(Walker { settled: distance > 0.0, run: 0, net: 0, last: foot });
        if line.crossed_by(w.last, foot) {
            w.net += if distance > 0.0 { -1 } else { 1 };
        }
        w.last = foot;
        if distance.abs() <= self.margin * s.height {
            w.run = 0;
            return None;
        }
        if (distance > 0.0) == w.settled {
            (w.run, w.net) = (0, 0);
            return None;
        }
        w.run += 1;
        if w.run < self.inertia {
            return None;
        }
        let direction = if w.settled { Direction::LeftToRight } else { Direction::RightToLeft };
        let through = if w.settled { w.net > 0 } else { w.net < 0 };
        (w.settled, w.run, w.net) = (!w.settled, 0, 0);
        (through && self.wanted.has(direction)).then_some(direction)
    }
}

impl Rule for LineCrossing {
    fn look(&mut self, look: &Look<'_>) -> Vec<Signal> {
        let seen = look.subjects.iter().filter(|s| s.seen_now);
        seen.filter_map(|s| self.walk(s, look.aspect).map(|direction| Signal::Crossed { object: s.object, direction }))
            .collect()
    }

    fn forget(&mut self, object: u64) {
        self.walkers.remove(&object);
    }

    fn reset(&mut self) {
        self.walkers.clear();
    }
}
