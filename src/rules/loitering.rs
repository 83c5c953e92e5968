//! Loitering: one object stays in a zone longer than it needs to pass through.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::places::{default_grace, seconds};
use super::{Built, Look, Places, Rule, RuleKind, Signal};
use crate::base::Stamp;
use crate::base::types::Zone;
use crate::config::{KeyError, RuleConfig, read_keys};

pub(super) const KIND: RuleKind =
    RuleKind { name: "loitering", vietnamese: "Lảng vảng", english: "Loitering", build };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Names of zones of the same camera; the stay is counted for each by itself.
    zones: Vec<String>,
    /// How long one object may stay.
    dwell_seconds: f64,
    /// An absence (left, hidden, not detected) shorter than this neither resets the stay nor ends the event.
    #[serde(default = "default_grace")]
    grace_seconds: f64,
}

fn build(rule: &RuleConfig, places: &Places<'_>) -> Result<Built, KeyError> {
    let params: Params = read_keys(&rule.params)?;
    let zones = places.zones(&params.zones)?;
    let dwell = seconds("dwell_seconds", params.dwell_seconds, 1.0, 86_400.0)?;
    let grace = seconds("grace_seconds", params.grace_seconds, 0.5, 600.0)?;
    let logic = Loitering { zones: zones.clone(), inertia: rule.inertia, dwell, gap: grace, stays: BTreeMap::new() };
    Ok(Built { logic: Box::new(logic), zones, line: None, grace })
}

struct Loitering {
    zones: Vec<Zone>,
    inertia: u32,
    dwell: Duration,
    gap: Duration,
    stays: BTreeMap<(u64, usize), Stay>,
}

struct Stay {
    since: Stamp,
    last_inside: Stamp,
    /// Frames in a row in which it was seen inside.
    run: u32,
}

impl Rule for Loitering {
    fn look(&mut self, look: &Look<'_>) -> Vec<Signal> {
        let mut signals = Vec::new();
        for s in look.subjects.iter().filter(|s| s.seen_now) {
            for (zone, z) in self.zones.iter().enumerate() {
                let key = (s.object, zone);
                if self.stays.get(&key).is_some_and(|stay| look.now.since(stay.last_inside) > self.gap) {
                    self.stays.remove(&key);
                }
                if !z.polygon.contains(s.foot) {
                    if let Some(stay) = self.stays.get_mut(&key) {
                        stay.run = 0;
                    }
                    continue;
                }
                let stay = self.stays.entry(key).or_insert(Stay { since: look.now, last_inside: look.now, run: 0 });
                stay.last_inside = look.now;
                stay.run = stay.run.saturating_add(1);
                if look.now.since(stay.since) >= self.dwell && stay.run >= self.inertia {
                    signals.push(Signal::Present { object: s.object, zone });
                }
            }
        }
        signals
    }

    fn forget(&mut self, object: u64) {
        self.stays.retain(|(o, _), _| *o != object);
    }

    fn reset(&mut self) {
        self.stays.clear();
    }
}
