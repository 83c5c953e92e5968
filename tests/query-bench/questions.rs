//! What the page asks, with parameters drawn anew each time.

use wardwatch::base::types::{Phase, Severity};
use wardwatch::centre::store::query::{EventQuery, MAX_EXPORT, MAX_PAGE, ReportQuery};
use wardwatch::centre::store::{EventStore, SqliteEvents};
use wardwatch::centre::triage::TriageState;

use crate::fill;
use crate::support::made::Dice;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// What a question is promised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A person waits for it: 50 ms.
    Page,
    /// Asked at the end of a shift.
    Shift,
    /// Asked now and then, here a tenth as often.
    Rare,
}

pub struct Question {
    pub name: &'static str,
    pub class: Class,
    make: fn(&mut Dice) -> Draft,
}

/// A question before what depends on the store is filled in.
enum Draft {
    Page(EventQuery),
    /// The page that follows one from some time.
    Deep(EventQuery),
    Counts(EventQuery),
    One,
    Nearby,
    Report(ReportQuery),
    Export(EventQuery),
}

/// A question with all its parameters.
pub enum Asked {
    Page(EventQuery),
    Counts(EventQuery),
    One(String, String),
    Report(ReportQuery),
    Export(EventQuery),
}

fn some_time(dice: &mut Dice, span: i64) -> (Option<i64>, Option<i64>) {
    let from = fill::END - fill::SPAN + dice.roll((fill::SPAN - span) as u64) as i64;
    (Some(from), Some(from + span))
}

fn area(dice: &mut Dice, cameras: u64) -> Option<Vec<(String, String)>> {
    let first = dice.roll(fill::CAMERAS);
    Some((0..cameras).map(|n| fill::camera((first + n) % fill::CAMERAS)).collect())
}

fn text(dice: &mut Dice, of: &[&str]) -> EventQuery {
    EventQuery { text: dice.one(of).into(), ..EventQuery::default() }
}

const fn page(name: &'static str, make: fn(&mut Dice) -> Draft) -> Question {
    Question { name, class: Class::Page, make }
}

const fn shift(name: &'static str, make: fn(&mut Dice) -> Draft) -> Question {
    Question { name, class: Class::Shift, make }
}

const fn rare(name: &'static str, make: fn(&mut Dice) -> Draft) -> Question {
    Question { name, class: Class::Rare, make }
}

pub const ALL: &[Question] = &[
    page("first page", |_| Draft::Page(EventQuery::default())),
    page("first page, alerts", |_| {
        Draft::Page(EventQuery { severities: vec![Severity::Alert], ..EventQuery::default() })
    }),
    page("a page deep in time, by its cursor", |_| Draft::Deep(EventQuery::default())),
    page("a deep page of alerts, by its cursor", |_| {
        Draft::Deep(EventQuery { severities: vec![Severity::Alert], ..EventQuery::default() })
    }),
    page("one camera", |dice| Draft::Page(EventQuery { cameras: area(dice, 1), ..EventQuery::default() })),
    page("rare rule and label (leo rào, truck), 200", |_| {
        Draft::Page(EventQuery {
            rules: vec![fill::rule(5).into()],
            labels: vec![fill::label(4).into()],
            limit: MAX_PAGE,
            ..EventQuery::default()
        })
    }),
    page("rare state: owned or dispatched, 200", |_| {
        let states = vec![TriageState::Owned, TriageState::Dispatched];
        Draft::Page(EventQuery { states, limit: MAX_PAGE, ..EventQuery::default() })
    }),
    page("alerts that nobody has, 200", |_| {
        let (states, severities) = (vec![TriageState::New], vec![Severity::Alert]);
        Draft::Page(EventQuery { states, severities, limit: MAX_PAGE, ..EventQuery::default() })
    }),
    page("resolved alerts of some day", |dice| {
        let (from_ms, to_ms) = some_time(dice, DAY);
        let (states, severities) = (vec![TriageState::Resolved], vec![Severity::Alert]);
        Draft::Page(EventQuery { from_ms, to_ms, states, severities, ..EventQuery::default() })
    }),
    page("events that go on", |_| {
        Draft::Page(EventQuery { phases: vec![Phase::Started, Phase::Updated], ..EventQuery::default() })
    }),
    page("text with hits", |dice| {
        Draft::Page(text(dice, &["lảng vảng", "NGO 12", "xam nhap dem", "cong truck", "leo rao dog", "ngõ 20 sân"]))
    }),
    page("text without hits", |dice| Draft::Page(text(dice, &["cháy", "ngo 999", "xam nhap voi", "đường"]))),
    page("map area of 12 cameras, some week", |dice| {
        let (from_ms, to_ms) = some_time(dice, 7 * DAY);
        Draft::Page(EventQuery { cameras: area(dice, 12), from_ms, to_ms, limit: MAX_PAGE, ..EventQuery::default() })
    }),
    page("counters of everything", |_| Draft::Counts(EventQuery::default())),
    page("counters of some shift", |dice| {
        let (from_ms, to_ms) = some_time(dice, 12 * HOUR);
        Draft::Counts(EventQuery { from_ms, to_ms, ..EventQuery::default() })
    }),
    page("counters of a rare text", |_| Draft::Counts(EventQuery { text: "leo rao".into(), ..EventQuery::default() })),
    page("one event with its history", |_| Draft::One),
    page("what was near an event: 59 cameras, 4 minutes", |_| Draft::Nearby),
    shift("report of a shift of 8 hours", |dice| {
        let (from_ms, to_ms) = some_time(dice, 8 * HOUR);
        Draft::Report(ReportQuery { from_ms: from_ms.unwrap_or(0), to_ms: to_ms.unwrap_or(0), cameras: None })
    }),
    rare("report of 31 days", |dice| {
        let (from_ms, to_ms) = some_time(dice, 31 * DAY);
        Draft::Report(ReportQuery { from_ms: from_ms.unwrap_or(0), to_ms: to_ms.unwrap_or(0), cameras: None })
    }),
    rare("export of 10,000 events", |_| Draft::Export(EventQuery { limit: MAX_EXPORT, ..EventQuery::default() })),
    rare("export of 10,000 alerts", |_| {
        let severities = vec![Severity::Alert];
        Draft::Export(EventQuery { severities, limit: MAX_EXPORT, ..EventQuery::default() })
    }),
];

/// Who asks.
pub struct Asker {
    reader: SqliteEvents,
    dice: Dice,
    /// Pages from all over the time, and some of their events: node, id and start.
    cursors: Vec<String>,
    known: Vec<(String, String, i64)>,
}

impl Asker {
    pub async fn new(reader: SqliteEvents, events: u64, seed: u64) -> Self {
        let mut asker = Self { reader, dice: Dice(seed ^ 0xa5), cursors: Vec::new(), known: Vec::new() };
        for _ in 0..200 {
            let to_ms = Some(fill::started_ms(events / 100 + asker.dice.roll(events - events / 100), events));
            let page = asker.reader.events(EventQuery { to_ms, limit: 20, ..EventQuery::default() }).await;
            let page = page.expect("answers");
            asker.known.extend(page.items.into_iter().take(3).map(|e| (e.node, e.id, e.started_ms)));
            asker.cursors.extend(page.next);
        }
        assert!(!asker.cursors.is_empty() && !asker.known.is_empty(), "the store has events");
        asker
    }

    pub fn draw(&mut self, question: &Question) -> Asked {
        let dice = &mut self.dice;
        match (question.make)(dice) {
            Draft::Page(query) => Asked::Page(query),
            Draft::Deep(query) => Asked::Page(EventQuery { after: Some(dice.one(&self.cursors)), ..query }),
            Draft::Counts(query) => Asked::Counts(query),
            Draft::Report(query) => Asked::Report(query),
            Draft::Export(query) => Asked::Export(query),
            Draft::One => {
                let (node, id, _) = dice.one(&self.known);
                Asked::One(node, id)
            }
            Draft::Nearby => {
                let (_, _, at) = dice.one(&self.known);
                let (from_ms, to_ms) = (Some(at - 120_000), Some(at + 120_000));
                let cameras = area(dice, fill::CAMERAS - 1);
                Asked::Page(EventQuery { from_ms, to_ms, cameras, limit: 8, ..EventQuery::default() })
            }
        }
    }

    /// How many rows there were.
    pub async fn answer(&self, asked: Asked) -> u64 {
        match asked {
            Asked::Page(query) => self.reader.events(query).await.expect("answers").items.len() as u64,
            Asked::Counts(query) => {
                let counts = self.reader.counts(query).await.expect("answers");
                counts.alerts + counts.notices
            }
            Asked::One(node, id) => {
                let detail = self.reader.event(node, id).await.expect("answers").expect("is there");
                (detail.history.len() + detail.triage_history.len()) as u64
            }
            Asked::Report(query) => {
                let report = self.reader.report(query).await.expect("answers");
                report.total.alerts + report.total.notices
            }
            Asked::Export(query) => self.reader.export(query).await.expect("answers").len() as u64,
        }
    }
}
