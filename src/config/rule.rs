//! Rules and schedules as the cameras document has them. What a rule kind needs beyond the common keys stays a table:
//! `rules/<kind>.rs` reads it, so that a new rule is one new file.

use std::ops::Range;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Document;
use crate::base::types::{NamedLine, Severity, Zone, is_name};
use crate::base::{Error, ErrorKind, Result};

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// Monday to Sunday.
    pub const ALL: [Weekday; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}

/// A span of local time. With `to` ≤ `from` it runs past midnight and belongs to the day it began on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub days: Vec<Weekday>,
    /// Minutes after local midnight, inclusive.
    pub from_minute: u16,
    /// Minutes after local midnight, exclusive; equal to `from_minute` means 24 hours.
    pub to_minute: u16,
}

/// A named schedule: active when any of its windows is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleConfig {
    pub name: String,
    pub windows: Vec<Window>,
}

/// What a clip of an event has before its beginning and after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    pub pre: Duration,
    pub post: Duration,
}

impl Default for Roll {
    fn default() -> Self {
        Self { pre: Duration::from_secs(5), post: Duration::from_secs(10) }
    }
}

/// One rule of one camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleConfig {
    pub name: String,
    pub kind: String,
    pub severity: Severity,
    /// `None`: always.
    pub schedule: Option<ScheduleConfig>,
    /// Object classes it looks at.
    pub labels: Vec<String>,
    /// Smallest best score of a track, 0..=1.
    pub min_score: f32,
    /// Smallest box height as a fraction of the picture's height.
    pub min_height: f32,
    /// Frames in a row that must agree before it fires.
    pub inertia: u32,
    /// After an event of this rule ended, how long the same place of the rule stays quiet for new tracks.
    pub cooldown: Duration,
    /// Recorded around an event, and shown in its clip.
    pub roll: Roll,
    /// The keys of the rule's own kind.
    pub params: toml::Table,
}

/// What is wrong with a rule, by key: whoever holds the file can point at the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// `None`: a key is missing, or the rule as a whole is wrong.
    pub key: Option<String>,
    /// One sentence.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl KeyError {
    /// `key` is wrong because of `message`.
    pub fn new(key: &str, message: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), message: message.into(), hint: None }
    }

    /// Says how to mend it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<KeyError> for Error {
    fn from(e: KeyError) -> Self {
        let error = Error::new(ErrorKind::Config, e.message);
        match e.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Says whether a rule makes sense on a camera with these zones and lines: the rules' own half of the validation,
/// handed in because this layer does not know them.
pub type RuleCheck<'a> = &'a dyn Fn(&RuleConfig, &[Zone], &[NamedLine]) -> Result<(), KeyError>;

/// Reads `table` strictly into `T` and names the key that is wrong.
pub fn read_keys<T: DeserializeOwned>(table: &toml::Table) -> Result<T, KeyError> {
    table.clone().try_into().map_err(|e: toml::de::Error| {
        // A table without its text has no spans. The key stands in the error's context ("in `key`"), or, when it is
        // the key itself that is unknown, in the message.
        let full = e.to_string();
        let named = |text: &str| text.split('`').skip(1).step_by(2).find(|w| table.contains_key(*w)).map(str::to_owned);
        let key = full.rsplit_once("in `").and_then(|(_, rest)| named(&format!("`{rest}"))).or_else(|| named(&full));
        let message = match &key {
            Some(key) if !e.message().contains(&format!("`{key}`")) => format!("{key}: {}", e.message().trim_end()),
            _ => e.message().trim_end().to_owned(),
        };
        KeyError { key, message, hint: None }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommon {
    name: String,
    kind: String,
    #[serde(default = "alert")]
    severity: Severity,
    schedule: Option<String>,
    #[serde(default = "person")]
    labels: Vec<String>,
    #[serde(default = "default_min_score")]
    min_score: f32,
    #[serde(default)]
    min_height: f32,
    #[serde(default = "default_inertia")]
    inertia: u32,
    #[serde(default)]
    cooldown_seconds: f64,
    pre_roll_seconds: Option<f64>,
    post_roll_seconds: Option<f64>,
}

const COMMON_KEYS: [&str; 11] = [
    "name",
    "kind",
    "severity",
    "schedule",
    "labels",
    "min_score",
    "min_height",
    "inertia",
    "cooldown_seconds",
    "pre_roll_seconds",
    "post_roll_seconds",
];

const MAX_PRE_ROLL: f64 = 60.0;
const MAX_POST_ROLL: f64 = 120.0;

fn alert() -> Severity {
    Severity::Alert
}

fn person() -> Vec<String> {
    vec!["person".into()]
}

fn default_min_score() -> f32 {
    0.5
}

fn default_inertia() -> u32 {
    3
}

pub(super) fn rule(doc: &Document, raw: Spanned<toml::Table>, schedules: &[ScheduleConfig]) -> Result<RuleConfig> {
    let span = raw.span();
    let (common, params): (toml::Table, toml::Table) =
        raw.into_inner().into_iter().partition(|(key, _)| COMMON_KEYS.contains(&key.as_str()));
    let common: RawCommon = read_keys(&common).map_err(|e| at_key(doc, &span, "[[camera.rule]]", e))?;
    let fail = |key: &str, message: String| doc.error(Some(doc.key_span(&span, key)), message);
    if !is_name(&common.name) {
        return Err(fail("name", format!("`{}` is not a rule name", common.name)).hint("use a-z, 0-9 and -"));
    }
    let schedule = match &common.schedule {
        None => None,
        Some(name) => Some(schedules.iter().find(|s| s.name == *name).cloned().ok_or_else(|| {
            fail("schedule", format!("rule `{}` names schedule `{name}`, which does not exist", common.name))
                .hint("add a [[schedule]] of that name at the top of the document")
        })?),
    };
    for (key, value) in [("min_score", common.min_score), ("min_height", common.min_height)] {
        if !(0.0..=1.0).contains(&value) {
            return Err(fail(key, format!("rule `{}`: {key} must be between 0 and 1", common.name)));
        }
    }
    if common.labels.is_empty() {
        return Err(
            fail("labels", format!("rule `{}` looks at no label", common.name)).hint("for example [\"person\"]")
        );
    }
    if !(0.0..=86_400.0).contains(&common.cooldown_seconds) {
        return Err(fail("cooldown_seconds", format!("rule `{}`: must be between 0 and 86400", common.name)));
    }
    let roll = |key: &str, value: Option<f64>, default: Duration, max: f64| match value {
        None => Ok(default),
        Some(seconds) if (0.0..=max).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err(fail(key, format!("rule `{}`: {key} must be between 0 and {max}", common.name))),
    };
    let usual = Roll::default();
    let roll = Roll {
        pre: roll("pre_roll_seconds", common.pre_roll_seconds, usual.pre, MAX_PRE_ROLL)?,
        post: roll("post_roll_seconds", common.post_roll_seconds, usual.post, MAX_POST_ROLL)?,
    };
    Ok(RuleConfig {
        name: common.name,
        kind: common.kind,
        severity: common.severity,
        schedule,
        labels: common.labels,
        min_score: common.min_score,
        min_height: common.min_height,
        inertia: common.inertia.max(1),
        cooldown: Duration::from_secs_f64(common.cooldown_seconds),
        roll,
        params,
    })
}

/// `error` with the place of its key inside the rule's table at `span`.
pub(super) fn at_key(doc: &Document, span: &Range<usize>, what: &str, error: KeyError) -> Error {
    let place = error.key.as_deref().map_or_else(|| span.clone(), |key| doc.key_span(span, key));
    let out = doc.error(Some(place), format!("{what}: {}", error.message));
    match error.hint {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchedule {
    pub(super) name: Spanned<String>,
    windows: Vec<RawWindow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    #[serde(default = "all_days")]
    days: Vec<Weekday>,
    from: Spanned<String>,
    to: Spanned<String>,
}

fn all_days() -> Vec<Weekday> {
    Weekday::ALL.to_vec()
}

pub(super) fn schedule(doc: &Document, raw: RawSchedule) -> Result<ScheduleConfig> {
    let minute = |text: &Spanned<String>| -> Result<u16> {
        minutes(text.get_ref()).ok_or_else(|| time_error(doc, text.span(), text.get_ref()))
    };
    let mut windows = Vec::with_capacity(raw.windows.len());
    for w in &raw.windows {
        windows.push(Window { days: w.days.clone(), from_minute: minute(&w.from)?, to_minute: minute(&w.to)? % 1440 });
    }
    if windows.is_empty() || windows.iter().any(|w| w.days.is_empty()) {
        return Err(doc.error(Some(raw.name.span()), "a schedule needs a window, and a window at least one day"));
    }
    Ok(ScheduleConfig { name: raw.name.into_inner(), windows })
}

fn time_error(doc: &Document, span: Range<usize>, text: &str) -> crate::base::Error {
    doc.error(Some(span), format!("`{text}` is not a time of day")).hint("write HH:MM, for example \"22:00\"")
}

fn minutes(text: &str) -> Option<u16> {
    let (h, m) = text.split_once(':')?;
    if h.len() != 2 || m.len() != 2 {
        return None;
    }
    let (h, m): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
    (h < 24 && m < 60 || h == 24 && m == 0).then_some(h * 60 + m)
}
