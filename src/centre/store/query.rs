//! What the command centre's page asks of the stored events: the questions, their answers, and the trait that a store
//! answers by. Pure: it knows no database.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;

use unicode_normalization::UnicodeNormalization;

use super::{StoredCamera, StoredNode};
use crate::base::types::{Phase, Severity, is_name};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::triage::{HistoryRow, Triage, TriageState};
use crate::wire::event::Event;
use crate::wire::link::ClipNote;
use crate::wire::topic::is_event_id;

/// The most events on one page.
pub const MAX_PAGE: usize = 200;
/// The longest text that is searched for, in characters.
pub const MAX_TEXT: usize = 200;
/// The most values of one filter.
pub const MAX_VALUES: usize = 1000;
/// Counting ends here.
pub const MAX_COUNT: u64 = 10_000;
/// The newest revisions that an event's history names, and the newest lines of its triage.
pub const MAX_HISTORY: usize = 1000;
/// The most events that are exported at once.
pub const MAX_EXPORT: usize = 10_000;
/// The longest span of a report.
pub const MAX_REPORT_MS: i64 = 31 * 24 * 3_600_000;
/// The most notes in a report.
pub const MAX_NOTES: usize = 1000;

/// Which events are wanted. Filters join by "and", the values of one by "or"; an empty one wants everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Begun at or after this, UTC milliseconds.
    pub from_ms: Option<i64>,
    /// Begun before this, UTC milliseconds.
    pub to_ms: Option<i64>,
    /// Node and camera; an empty camera: the node itself. `None`: all. An empty list wants nothing, so that whoever may
    /// see no camera sees none.
    pub cameras: Option<Vec<(String, String)>>,
    pub rules: Vec<String>,
    pub kinds: Vec<String>,
    pub severities: Vec<Severity>,
    pub labels: Vec<String>,
    pub phases: Vec<Phase>,
    /// Of the triage.
    pub states: Vec<TriageState>,
    /// Each word of it must be in the node's, camera's or rule's name, the kind or the label, or in `names`; see [`fold`].
    pub text: String,
    /// What people call cameras and their alleys, by node and camera.
    pub names: HashMap<(String, String), String>,
    /// Leaves out events of nodes themselves.
    pub cameras_only: bool,
    /// Events on the page, 1 to [`MAX_PAGE`].
    pub limit: usize,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
}

impl Default for EventQuery {
    fn default() -> Self {
        Self {
            from_ms: None,
            to_ms: None,
            cameras: None,
            rules: Vec::new(),
            kinds: Vec::new(),
            severities: Vec::new(),
            labels: Vec::new(),
            phases: Vec::new(),
            states: Vec::new(),
            text: String::new(),
            names: HashMap::new(),
            cameras_only: false,
            limit: 50,
            after: None,
        }
    }
}

/// Some of what was asked for, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; opaque. `None`: this is the last.
    pub next: Option<String>,
}

/// An event in a list, by its newest revision.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSummary {
    pub node: String,
    pub id: String,
    /// `None`: the node itself.
    pub camera: Option<String>,
    pub revision: u32,
    pub phase: Phase,
    pub severity: Severity,
    pub kind: String,
    pub rule: String,
    pub label: Option<String>,
    /// UTC milliseconds, as all times here.
    pub started_ms: i64,
    pub updated_ms: i64,
    pub ended_ms: Option<i64>,
    /// SHA-256 of its picture.
    pub snapshot: Option<String>,
    /// The picture came.
    pub has_snapshot: bool,
    /// A clip of it was delivered.
    pub has_clip: bool,
    pub first_committed_ms: i64,
    pub committed_ms: i64,
    pub triage: Triage,
    /// Its camera, or its rule there, calls nobody now.
    pub snoozed: bool,
    /// Of the object in its picture: left, top, right, bottom as fractions.
    pub bbox: Option<[f32; 4]>,
}

/// Other events of an incident that are told of.
pub const MAX_MEMBERS: usize = 50;

/// One event with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDetail {
    pub summary: EventSummary,
    /// The newest revision.
    pub event: Event,
    /// Pictures that came with it, in the order they came.
    pub snapshots: Vec<EventSnapshot>,
    /// Clips that were delivered, in the order they came.
    pub clips: Vec<ClipNote>,
    /// The newest [`MAX_HISTORY`] revisions, by number.
    pub history: Vec<Revision>,
    /// The newest [`MAX_HISTORY`] lines of its triage, in the order they came.
    pub triage_history: Vec<HistoryRow>,
    /// The others of its incident, as they began; [`MAX_MEMBERS`] at most.
    pub members: Vec<EventSummary>,
}

/// A picture of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSnapshot {
    pub sha256: String,
    pub bytes: u64,
    pub committed_ms: i64,
    /// `None`: its file is gone, as after a restore.
    pub path: Option<PathBuf>,
}

/// One revision that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub revision: u32,
    pub seq: u64,
    pub boot_id: String,
    pub committed_ms: i64,
}

/// How many events there are. A number that reached [`MAX_COUNT`] means "that many or more".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub alerts: u64,
    pub notices: u64,
    /// Alerts that nobody has and that are not snoozed now.
    pub new_alerts: u64,
    /// Of alerts and notices.
    pub owned: u64,
    /// Of alerts and notices.
    pub dispatched: u64,
}

/// A span of time that is reported on, as a shift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportQuery {
    /// UTC milliseconds.
    pub from_ms: i64,
    /// Exclusive.
    pub to_ms: i64,
    /// As in [`EventQuery`].
    pub cameras: Option<Vec<(String, String)>>,
}

impl ReportQuery {
    /// Whether it may be asked.
    ///
    /// # Errors
    /// `Invalid` when the span is none or too long.
    pub fn check(&self) -> Result<()> {
        match self.to_ms.checked_sub(self.from_ms) {
            Some(0..=MAX_REPORT_MS) => Ok(()),
            _ => Err(Error::new(ErrorKind::Invalid, "a report spans 31 days at most, and ends after it begins")),
        }
    }
}

/// What happened in a shift, and what was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Of all cameras together.
    pub total: CameraTally,
    /// Cameras with events that began in the span, by node and name.
    pub by_camera: Vec<CameraTally>,
    /// Whoever did something in the span, by id.
    pub by_officer: Vec<OfficerTally>,
    /// What is still to be done, newest first, [`MAX_PAGE`] at most: alerts of the span that nobody has, and all that
    /// somebody has or a patrol goes to, also from before.
    pub open: Vec<EventSummary>,
    /// What was written in the span, with resolutions too, in order; [`MAX_NOTES`] at most.
    pub notes: Vec<ReportNote>,
}

/// Events that began in the span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraTally {
    pub node: String,
    /// Empty: the node itself.
    pub camera: String,
    pub alerts: u64,
    pub notices: u64,
    /// Of both, as it stands now.
    pub true_alarms: u64,
    /// Of both, as it stands now.
    pub false_alarms: u64,
    /// Alerts without a verdict.
    pub unresolved: u64,
}

/// What somebody did in the span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfficerTally {
    /// User id.
    pub user: String,
    pub owned: u64,
    pub dispatched: u64,
    pub resolved: u64,
    /// From the commit of an alert until he took it as the first; the median of those.
    pub median_own_ms: Option<i64>,
}

/// A note, as the report has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportNote {
    pub at_ms: i64,
    /// User id.
    pub by: Option<String>,
    pub node: String,
    pub event: String,
    pub text: String,
}

/// Reading for the page and the API. It neither waits for what is being committed nor holds it up, and no question takes
/// longer than a limit that the store was given.
pub trait EventStore: Clone + Send + Sync + 'static {
    /// One page of events by when they began, newest first. Events that are committed meanwhile make no event come twice
    /// or be skipped on the pages that follow.
    ///
    /// Errors: `Invalid` when the query is not sound, `Timeout` when it takes too long, `Unavailable` when too many wait.
    fn events(&self, query: EventQuery) -> impl Future<Output = Result<Page<EventSummary>>> + Send;

    /// How many events there are by severity and state; `limit` and `after` count for nothing. Errors as above.
    fn counts(&self, query: EventQuery) -> impl Future<Output = Result<Counts>> + Send;

    /// One event.
    fn event(&self, node: String, id: String) -> impl Future<Output = Result<Option<EventDetail>>> + Send;

    /// One event as lists have it.
    fn summary(&self, node: String, id: String) -> impl Future<Output = Result<Option<EventSummary>>> + Send;

    /// The newest events, [`MAX_EXPORT`] at most, all of one moment. `limit` may be as large; `after` counts as on a page.
    /// They are gathered first, so that a slow download keeps nobody from asking. Errors as above.
    fn export(&self, query: EventQuery) -> impl Future<Output = Result<Vec<EventSummary>>> + Send;

    /// What happened in a span of time. Errors as above.
    fn report(&self, query: ReportQuery) -> impl Future<Output = Result<Report>> + Send;

    /// All nodes.
    fn nodes(&self) -> impl Future<Output = Result<Vec<StoredNode>>> + Send;

    /// All cameras.
    fn cameras(&self) -> impl Future<Output = Result<Vec<StoredCamera>>> + Send;
}

/// `text` as it is compared: without case and diacritics, đ as d. Vietnamese may be written composed or not.
pub fn fold(text: &str) -> String {
    let bare = text.nfd().filter(|c| !unicode_normalization::char::is_combining_mark(*c));
    bare.flat_map(char::to_lowercase).map(|c| if c == 'đ' { 'd' } else { c }).collect()
}

/// Where a page ends: start, node and id of its last event. Ordered as the events are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor {
    pub(super) started_ms: i64,
    pub(super) node: String,
    pub(super) id: String,
}

impl Cursor {
    /// The opaque form.
    pub(super) fn encode(&self) -> String {
        hex::encode(format!("1 {} {} {}", self.started_ms, self.node, self.id))
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = (text.len() <= 512).then(|| hex::decode(text).ok()).flatten()?;
        let plain = String::from_utf8(bytes).ok()?;
        let parts: Vec<&str> = plain.split(' ').collect();
        let &["1", started, node, id] = parts.as_slice() else { return None };
        let sound = is_name(node) && is_event_id(id);
        let cursor = Self { started_ms: started.parse().ok()?, node: node.into(), id: id.into() };
        // One text for one cursor.
        (sound && cursor.encode() == text).then_some(cursor)
    }
}

/// A combination that events have, as it stands in its row of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facet<'a> {
    pub(super) id: i64,
    pub(super) node: &'a str,
    pub(super) camera: &'a str,
    pub(super) rule: &'a str,
    pub(super) kind: &'a str,
    pub(super) severity: Severity,
    pub(super) label: &'a str,
    pub(super) phase: Phase,
    pub(super) state: TriageState,
    /// When the last event of it began.
    pub(super) newest_ms: i64,
}

/// A checked [`EventQuery`], ready to be asked.
pub(super) struct Wanted {
    pub(super) from_ms: i64,
    /// Exclusive.
    pub(super) to_ms: i64,
    /// Events before this one in order only.
    pub(super) before: Cursor,
    pub(super) limit: usize,
    cameras: Option<HashSet<(String, String)>>,
    rules: Vec<String>,
    kinds: Vec<String>,
    severities: Vec<Severity>,
    labels: Vec<String>,
    phases: Vec<Phase>,
    states: Vec<TriageState>,
    words: Vec<String>,
    names: HashMap<(String, String), String>,
    cameras_only: bool,
}

impl Wanted {
    /// Checks `query`.
    ///
    /// # Errors
    /// `Invalid` says what is wrong with it.
    pub(super) fn new(query: EventQuery) -> Result<Self> {
        Self::with_limit(query, MAX_PAGE)
    }

    /// The same, for `most` events at most.
    pub(super) fn with_limit(query: EventQuery, most: usize) -> Result<Self> {
        let invalid = |text: String| Error::new(ErrorKind::Invalid, text);
        if !(1..=most).contains(&query.limit) {
            return Err(invalid(format!("1 to {most} events can be asked for")));
        }
        let lists = [query.rules.len(), query.kinds.len(), query.labels.len()];
        let most = lists.into_iter().chain(query.cameras.as_ref().map(Vec::len)).max();
        if most.is_some_and(|n| n > MAX_VALUES) {
            return Err(invalid(format!("a filter has at most {MAX_VALUES} values")));
        }
        if query.text.chars().nth(MAX_TEXT).is_some() {
            return Err(invalid(format!("a text to search for has at most {MAX_TEXT} characters")));
        }
        let (from_ms, to_ms) = (query.from_ms.unwrap_or(i64::MIN), query.to_ms.unwrap_or(i64::MAX));
        if from_ms > to_ms {
            return Err(invalid("the span of time ends before it begins".into()));
        }
        let after = query.after.as_deref().map(|text| {
            let hint = "pass on what the page before gave, or leave it out to begin at the newest";
            Cursor::decode(text).ok_or_else(|| invalid("the cursor is none of ours".into()).hint(hint))
        });
        // No event's node is empty, so this is just before everything that begins at `to_ms`.
        let end = Cursor { started_ms: to_ms, node: String::new(), id: String::new() };
        Ok(Self {
            from_ms,
            to_ms,
            before: after.transpose()?.map_or_else(|| end.clone(), |after| after.min(end.clone())),
            limit: query.limit,
            cameras: query.cameras.map(|c| c.into_iter().collect()),
            rules: query.rules,
            kinds: query.kinds,
            severities: query.severities,
            labels: query.labels,
            phases: query.phases,
            states: query.states,
            words: fold(&query.text).split_whitespace().map(str::to_owned).collect(),
            names: query.names.into_iter().map(|(camera, name)| (camera, fold(&name))).collect(),
            cameras_only: query.cameras_only,
        })
    }

    /// The cameras that count; see [`EventQuery::cameras`].
    pub(super) fn reaches(cameras: Option<&HashSet<(String, String)>>, node: &str, camera: &str) -> bool {
        cameras.is_none_or(|c| c.contains(&(node.to_owned(), camera.to_owned())))
    }

    /// Whether it asks for nothing but a time.
    pub(super) fn is_plain(&self) -> bool {
        self.cameras.is_none()
            && !self.cameras_only
            && self.rules.is_empty()
            && self.kinds.is_empty()
            && self.severities.is_empty()
            && self.labels.is_empty()
            && self.phases.is_empty()
            && self.states.is_empty()
            && self.words.is_empty()
    }

    /// Whether events of `facet` are asked for.
    pub(super) fn takes(&self, facet: &Facet<'_>) -> bool {
        fn one<T: PartialEq<V>, V: ?Sized>(values: &[T], value: &V) -> bool {
            values.is_empty() || values.iter().any(|v| v == value)
        }
        one(&self.severities, &facet.severity)
            && one(&self.phases, &facet.phase)
            && one(&self.states, &facet.state)
            && one(&self.rules, facet.rule)
            && one(&self.kinds, facet.kind)
            && one(&self.labels, facet.label)
            && Self::reaches(self.cameras.as_ref(), facet.node, facet.camera)
            && !(self.cameras_only && facet.camera.is_empty())
            && self.has_words(facet)
    }

    fn has_words(&self, facet: &Facet<'_>) -> bool {
        if self.words.is_empty() {
            return true;
        }
        // A line break is white space and so in no word: none reaches from one name into the next.
        let &Facet { node, camera, rule, kind, label, .. } = facet;
        let names = fold(&[node, camera, rule, kind, label].join("\n"));
        let called = self.names.get(&(node.to_owned(), camera.to_owned())).map_or("", String::as_str);
        self.words.iter().all(|word| names.contains(word.as_str()) || called.contains(word.as_str()))
    }
}
