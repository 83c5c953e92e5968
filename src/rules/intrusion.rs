//! Intrusion: an object stands in a zone where nobody should be (now, by the rule's schedule).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::places::{default_grace, seconds};
use super::{Built, Look, Places, Rule, RuleKind, Signal};
use crate::base::types::Zone;
use crate::config::{KeyError, RuleConfig, read_keys};

pub(super) const KIND: RuleKind =
    RuleKind { name: "intrusion", vietnamese: "Xâm nhập", english: "Intrusion", build };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Names of zones of the same camera.
    zones: Vec<String>,
    /// The event ends when nobody was seen in the zones for this long.
    #[serde(default = "default_grace")]
    grace_seconds: f64,
    /// How far an object must have moved since it was first seen, in heights of its own.
    #[serde(default = "default_move")]
    min_move: f32,
}

/// Well above the jitter of a still thing's box, and half a step of a person.
fn default_move() -> f32 {
    0.2
}

fn build(rule: &RuleConfig, places: &Places<'_>) -> Result<Built, KeyError> {
    let params: Params = read_keys(&rule.params)?;
    let zones = places.zones(&params.zones)?;
    let logic = Intrusion {
        zones: zones.clone(),
        inertia: rule.inertia,
        min_move: params.min_move,
        runs: BTreeMap::new(),
        admitted: BTreeSet::new(),
    };
    if !(0.0..=10.0).contains(&params.min_move) {
        return Err(KeyError::new("min_move", "min_move must be between 0 and 10").hint("1 is the object's own height"));
    }
    let grace = seconds("grace_seconds", params.grace_seconds, 0.5, 600.0)?;
    Ok(Built { logic: Box::new(logic), zones, line: None, grace })
}

struct Intrusion {
    zones: Vec<Zone>,
    inertia: u32,
    min_move: f32,
    /// Frames in a row in which an object was *seen* in a zone. A frame without a detection neither counts nor breaks it.
    runs: BTreeMap<(u64, usize), u32>,
    /// Objects that came in, in this window. What stood still when the window opened (a parked motorbike) or has never
    /// moved at all (a signpost, a shadow that only looks like a person) has not come in until it moves.
    admitted: BTreeSet<u64>,
}

impl Rule for Intrusion {
    fn look(&mut self, look: &Look<'_>) -> Vec<Signal> {
        let mut signals = Vec::new();
        for s in look.subjects.iter().filter(|s| s.seen_now) {
            for (zone, z) in self.zones.iter().enumerate() {
                if !z.polygon.contains(s.foot) {
                    self.runs.remove(&(s.object, zone));
                    continue;
                }
                let run = self.runs.entry((s.object, zone)).or_default();
                *run = run.saturating_add(1);
                if *run < self.inertia {
                    continue;
                }
                if !s.stationary && s.moved >= self.min_move {
                    self.admitted.insert(s.object);
                }
                if self.admitted.contains(&s.object) {
                    signals.push(Signal::Present { object: s.object, zone });
                }
            }
        }
        signals
    }

    fn forget(&mut self, object: u64) {
        self.runs.retain(|(o, _), _| *o != object);
        self.admitted.remove(&object);
    }

    fn reset(&mut self) {
        self.runs.clear();
        self.admitted.clear();
    }
}
