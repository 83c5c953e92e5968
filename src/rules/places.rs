//! What kinds of rules share in reading their keys: zones and lines by name, seconds within bounds.

use std::time::Duration;

use super::Places;
use crate::base::types::{NamedLine, Zone};
use crate::config::KeyError;

/// Zones of one rule. An event carries the zones it concerns and must stay below 16 KiB.
const MAX_ZONES: usize = 8;

/// Grace when a rule does not say: longer than a tracker bridges a person behind a lamp post, shorter than an officer
/// would call a second visit.
pub(super) fn default_grace() -> f64 {
    5.0
}

impl Places<'_> {
    /// The zones called `names` by key `zones`.
    pub(super) fn zones(&self, names: &[String]) -> Result<Vec<Zone>, KeyError> {
        if names.is_empty() {
            return Err(KeyError::new("zones", "the rule watches no zone").hint(self.known_zones()));
        }
        if names.len() > MAX_ZONES {
            return Err(KeyError::new("zones", format!("a rule watches at most {MAX_ZONES} zones"))
                .hint("divide the zones between two rules"));
        }
        let mut zones: Vec<Zone> = Vec::with_capacity(names.len());
        for name in names {
            if zones.iter().any(|z| z.name == *name) {
                return Err(KeyError::new("zones", format!("zone `{name}` is named twice")).hint("name it once"));
            }
            let zone = self.zones.iter().find(|z| z.name == *name).ok_or_else(|| {
                KeyError::new("zones", format!("there is no zone `{name}` on this camera")).hint(self.known_zones())
            })?;
            zones.push(zone.clone());
        }
        Ok(zones)
    }

    /// The line called `name` by key `line`.
    pub(super) fn line(&self, name: &str) -> Result<NamedLine, KeyError> {
        self.lines.iter().find(|l| l.name == name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.lines.iter().map(|l| l.name.as_str()).collect();
            let hint = match known.is_empty() {
                true => "add a [[camera.line]] of that name".to_owned(),
                false => format!("its lines: {}", known.join(", ")),
            };
            KeyError::new("line", format!("there is no line `{name}` on this camera")).hint(hint)
        })
    }

    fn known_zones(&self) -> String {
        let known: Vec<&str> = self.zones.iter().map(|z| z.name.as_str()).collect();
        match known.is_empty() {
            true => "add a [[camera.zone]] of that name".to_owned(),
            false => format!("its zones: {}", known.join(", ")),
        }
    }
}

/// `value` of `key` as a duration between `least` and `most` seconds.
pub(super) fn seconds(key: &str, value: f64, least: f64, most: f64) -> Result<Duration, KeyError> {
    if (least..=most).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(KeyError::new(key, format!("{key} must be between {least} and {most}")).hint("it is in seconds"))
}
