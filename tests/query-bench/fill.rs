//! A centre's store as after 400 days of a ward: few cameras with most of the events, few rare rules and labels, nearly
//! all old alerts resolved, nobody minding notices.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use wardwatch::base::types::{Phase, Severity};
use wardwatch::centre::store::{CentreStore, SqliteStore};
use wardwatch::centre::triage::TriageState;

use crate::support::made::{Dice, Made, NOW};

/// When the last of the filled events began.
pub const END: i64 = NOW;
pub const SPAN: i64 = 400 * 24 * 3_600_000;
const BATCH: u64 = 2000;

/// Rule, kind, severity.
const RULES: [(&str, &str, Severity); 6] = [
    ("Xâm nhập ban đêm", "intrusion", Severity::Alert),
    ("Qua ngõ", "line_crossing", Severity::Notice),
    ("Lảng vảng trước cổng", "loitering", Severity::Alert),
    ("Vào sân", "intrusion", Severity::Notice),
    ("Xe vào ngõ", "line_crossing", Severity::Notice),
    ("Leo rào", "line_crossing", Severity::Alert),
];
/// Of a thousand events.
const RULE_WEIGHTS: [u64; 6] = [60, 520, 40, 250, 125, 5];
const LABELS: [&str; 5] = ["person", "motorcycle", "car", "dog", "truck"];
const LABEL_WEIGHTS: [u64; 5] = [720, 200, 65, 13, 2];

/// Node and camera, by number.
pub fn camera(n: u64) -> (String, String) {
    (format!("node-{}", n % 4 + 1), format!("ngo-{}-{}", n / 4 + 10, ["dau", "cuoi", "giua", "cong"][n as usize % 4]))
}

pub const CAMERAS: u64 = 60;

pub fn rule(n: usize) -> &'static str {
    RULES[n].0
}

pub fn label(n: usize) -> &'static str {
    LABELS[n]
}

pub fn officer(dice: &mut Dice) -> String {
    format!("officer-{}", dice.roll(12))
}

fn weighted(dice: &mut Dice, weights: &[u64]) -> usize {
    let mut rest = dice.roll(weights.iter().sum());
    weights
        .iter()
        .position(|w| {
            rest < *w || {
                rest -= w;
                false
            }
        })
        .unwrap_or(0)
}

/// Where event `n` of `of` is in time: they are spread evenly, so that a question can name one.
pub fn started_ms(n: u64, of: u64) -> i64 {
    END - SPAN + (n as i128 * i128::from(SPAN) / i128::from(of)) as i64
}

/// The id of the `n`th event, which began then.
pub fn id(n: u64, started_ms: i64) -> String {
    format!("{:08x}-{:04x}-7000-8000-{n:012x}", started_ms >> 16, started_ms & 0xffff)
}

/// Event `n`, which has ended.
pub fn event(dice: &mut Dice, started_ms: i64, n: u64) -> Made {
    // The square of a roll: the first cameras see most.
    let roll = dice.roll(1000);
    let (node, name) = camera(roll * roll * CAMERAS / 1_000_000);
    let (rule, kind, severity) = RULES[weighted(dice, &RULE_WEIGHTS)];
    Made {
        node,
        id: id(n, started_ms),
        camera: name,
        rule: rule.into(),
        kind: kind.into(),
        severity,
        label: LABELS[weighted(dice, &LABEL_WEIGHTS)].into(),
        phase: Phase::Ended,
        started_ms,
        revision: 2,
        state: TriageState::New,
    }
}

/// An event that goes on.
pub fn begun(dice: &mut Dice, started_ms: i64, n: u64) -> Made {
    Made { phase: Phase::Started, revision: 1, ..event(dice, started_ms, n + (1 << 40)) }
}

/// Its end.
pub fn ended(made: Made) -> Made {
    Made { phase: Phase::Ended, revision: 2, ..made }
}

/// Fills an empty store: triage first, by rows of its own, then the events through the store itself.
pub async fn fill(directory: &Path, store: &SqliteStore, events: u64, seed: u64) {
    let mut dice = Dice(seed);
    let mut triage = Connection::open(directory.join("centre.db")).expect("opens");
    triage.pragma_update(None, "synchronous", "OFF").expect("set");
    let mut n = 0;
    while n < events {
        let last = (n + BATCH).min(events);
        let batch: Vec<Made> = (n..last).map(|n| event(&mut dice, started_ms(n, events), n)).collect();
        let tx = triage.transaction().expect("begins");
        batch.iter().for_each(|made| judge(&tx, &mut dice, made));
        tx.commit().expect("commits");
        let now_ms = batch.last().map_or(END, |made| made.started_ms) + 500;
        let items = batch.iter().map(Made::item).collect();
        store.commit(Arc::new(items), now_ms).await.expect("commits");
        n = last;
    }
}

fn judge(tx: &Connection, dice: &mut Dice, made: &Made) {
    let alert = made.severity == Severity::Alert;
    let recent = END - made.started_ms < 24 * 3_600_000;
    let roll = dice.roll(1000);
    let state = match (alert, recent) {
        (true, false) if roll < 985 => TriageState::Resolved,
        // Some were never closed.
        (true, false) if roll < 987 => TriageState::Owned,
        (true, true) if roll < 700 => TriageState::Resolved,
        (true, true) if roll < 800 => TriageState::Owned,
        (true, true) if roll < 850 => TriageState::Dispatched,
        (false, _) if roll < 20 => TriageState::Resolved,
        _ => return,
    };
    let by = officer(dice);
    let verdict = (state == TriageState::Resolved).then(|| dice.one(&["true_alarm", "false_alarm", "false_alarm"]));
    let taken = made.started_ms + 5_000 + dice.roll(115_000) as i64;
    tx.prepare_cached(
        "INSERT INTO triage (node, event, state, verdict, owner, version, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, 2, ?6)",
    )
    .and_then(|mut s| s.execute(params![made.node, made.id, state.as_str(), verdict, by, taken + 60_000]))
    .expect("inserts");
    let told = |deed: &str, at_ms: i64, text: Option<&str>, verdict: Option<&str>| {
        tx.prepare_cached(
            "INSERT INTO triage_history (node, event, at_ms, deed, by_user, text, verdict)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut s| s.execute(params![made.node, made.id, at_ms, deed, by, text, verdict]))
        .expect("inserts");
    };
    told("own", taken, None, None);
    if roll.is_multiple_of(20) {
        told("note", taken + 30_000, Some("Đã gọi chủ nhà, không có gì lạ"), None);
    }
    match state {
        TriageState::Resolved => told("resolve", taken + 60_000, None, verdict),
        TriageState::Dispatched => told("dispatch", taken + 60_000, None, None),
        TriageState::New | TriageState::Owned => {}
    }
}
