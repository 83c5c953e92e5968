//! What every store of the centre keeps of triage, written against the traits; and what the running centre makes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::{Phase, Severity};
use wardwatch::base::{Clock, ErrorKind, Stamp};
use wardwatch::centre::Notice;
use wardwatch::centre::desk::Desk;
use wardwatch::centre::store::query::{Counts, EventQuery, EventSummary, MAX_EXPORT, MAX_REPORT_MS, ReportQuery};
use wardwatch::centre::store::{
    CentreStore, EventKey, EventStore, Item, LinkStore, SqliteEvents, SqliteStore, TriageStore,
};
use wardwatch::centre::triage::{Act, Deed, Officer, Refusal, Snooze, TriageState, Verdict};

use crate::support::made::{Dice, Made, NOW, reading};

const LIMIT: Duration = Duration::from_secs(60);
const MINUTE: i64 = 60_000;

/// A store under test.
struct Subject<W, R> {
    writer: W,
    reader: R,
    directory: tempfile::TempDir,
}

/// Stands still; what is asked is as of [`NOW`].
struct Still;

impl Clock for Still {
    fn now(&self) -> Stamp {
        Stamp { mono: Duration::ZERO, wall_ms: NOW }
    }
}

fn sqlite() -> Subject<SqliteStore, SqliteEvents> {
    let directory = tempfile::tempdir().expect("a directory");
    let (writer, thread, _) = SqliteStore::open(directory.path(), NOW).expect("opens");
    std::thread::spawn(move || thread.run());
    let reader = reading(&writer, 2, LIMIT, Arc::new(Still));
    Subject { writer, reader, directory }
}

fn officer(name: &str) -> Officer {
    Officer { id: name.into(), commander: name == "chief" }
}

fn resolve(verdict: Verdict, note: &str) -> Act {
    Act::Resolve { verdict, note: (!note.is_empty()).then(|| note.into()) }
}

fn key(made: &Made) -> EventKey {
    (made.node.clone(), made.id.clone())
}

fn snooze(id: &str, made: &Made, rule: Option<&str>, created_ms: i64, until_ms: i64) -> Snooze {
    Snooze {
        id: id.into(),
        node: made.node.clone(),
        camera: made.camera.clone(),
        rule: rule.map(Into::into),
        until_ms,
        reason: "đám cưới".into(),
        by: "an".into(),
        created_ms,
    }
}

impl<W: CentreStore + LinkStore + TriageStore, R: EventStore> Subject<W, R> {
    async fn commit_at(&self, events: &[&Made], now_ms: i64) {
        let items: Vec<Item> = events.iter().map(|made| made.item()).collect();
        self.writer.commit(Arc::new(items), now_ms).await.expect("commits");
    }

    async fn act(&self, made: &Made, act: Act, by: &str, now_ms: i64) -> Result<(), Refusal> {
        let version = self.summary(made).await.map_or(0, |s| s.triage.version);
        self.writer.act(key(made), act, officer(by), version, now_ms).await.expect("commits").map(drop)
    }

    async fn summary(&self, made: &Made) -> Option<EventSummary> {
        self.reader.summary(made.node.clone(), made.id.clone()).await.expect("answers")
    }

    async fn of_state(&self, state: TriageState) -> Vec<String> {
        let query = EventQuery { states: vec![state], ..EventQuery::default() };
        self.reader.events(query).await.expect("answers").items.into_iter().map(|e| e.id).collect()
    }

    async fn an_event_goes_its_way_and_is_found_by_its_state(&self) {
        let made = Made::new();
        self.commit_at(&[&made], NOW).await;
        assert_eq!(self.summary(&made).await.expect("there").triage, Default::default());
        let ways = [
            (Act::Own, TriageState::Owned),
            (Act::Note { text: "đã gọi chủ nhà".into() }, TriageState::Owned),
            (Act::Dispatch, TriageState::Dispatched),
            (resolve(Verdict::TrueAlarm, "bắt quả tang"), TriageState::Resolved),
            (Act::Reopen, TriageState::Owned),
        ];
        for (n, (act, state)) in ways.into_iter().enumerate() {
            self.act(&made, act, "an", NOW + n as i64).await.expect("allowed");
            for each in TriageState::ALL {
                assert_eq!(self.of_state(each).await.len(), usize::from(each == state), "{state:?}: {each:?}");
            }
        }
        let detail = self.reader.event(made.node.clone(), made.id.clone()).await.expect("answers").expect("there");
        let told: Vec<_> = detail.triage_history.iter().map(|r| (r.at_ms - NOW, r.deed, r.text.as_deref())).collect();
        let expected = [
            (0, Deed::Own, None),
            (1, Deed::Note, Some("đã gọi chủ nhà")),
            (2, Deed::Dispatch, None),
            (3, Deed::Resolve, Some("bắt quả tang")),
            (4, Deed::Reopen, None),
        ];
        assert_eq!(told, expected);
        assert_eq!(detail.triage_history[3].verdict, Some(Verdict::TrueAlarm));
        assert!(detail.triage_history.iter().all(|r| r.by.as_deref() == Some("an")));
        let triage = detail.summary.triage;
        assert_eq!((triage.version, triage.verdict, triage.updated_ms), (4, None, Some(NOW + 4)));
        // A later revision changes nothing of it.
        self.commit_at(&[&Made { revision: 2, phase: Phase::Updated, ..made.clone() }], NOW).await;
        assert_eq!(self.of_state(TriageState::Owned).await, std::slice::from_ref(&made.id));
        let counts = self.reader.counts(EventQuery::default()).await.expect("answers");
        assert_eq!(counts, Counts { alerts: 1, owned: 1, ..Counts::default() });
    }

    async fn two_officers_at_once(&self) {
        let events: Vec<Made> = (0..20).map(|_| Made::new()).collect();
        self.commit_at(&events.iter().collect::<Vec<_>>(), NOW).await;
        for made in &events {
            let own = |who| self.writer.act(key(made), Act::Own, officer(who), 0, NOW);
            let (one, other) = tokio::join!(own("an"), own("binh"));
            let done = [one.expect("commits"), other.expect("commits")];
            let owner = self.summary(made).await.expect("there").triage.owner;
            assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 1, "{done:?}");
            assert!(done.contains(&Err(Refusal::Conflict { owner, version: 1 })), "{done:?}");
        }
        let refused = self.act(&events[0], Act::Reopen, "an", NOW).await.expect_err("refused");
        assert!(matches!(refused, Refusal::NotAllowed(_)), "{refused:?}");
        let detail = self.reader.event(events[0].node.clone(), events[0].id.clone()).await.expect("answers");
        assert_eq!(detail.expect("there").triage_history.len(), 1, "a refusal leaves no trace");
    }

    async fn triage_before_the_event(&self) {
        let made = Made::new();
        self.act(&made, Act::Own, "an", NOW).await.expect("allowed");
        assert_eq!(self.summary(&made).await, None);
        self.commit_at(&[&made], NOW).await;
        assert_eq!(self.of_state(TriageState::Owned).await, std::slice::from_ref(&made.id));
        assert_eq!(self.writer.escalate(NOW + MINUTE, MINUTE).await.expect("commits"), [], "somebody has it");
    }

    async fn joined(&self) {
        let events: Vec<Made> = (0..4).map(|_| Made::new()).collect();
        self.commit_at(&events.iter().collect::<Vec<_>>(), NOW).await;
        let join = async |a: usize, b: usize| {
            let (a, b) = (key(&events[a]), key(&events[b]));
            self.writer.join(a, b, officer("an"), NOW).await.expect("commits").expect("allowed")
        };
        let incident = async |n: usize| self.summary(&events[n]).await.expect("there").triage.incident;
        let first = join(0, 1).await.incident.expect("of one incident");
        assert_eq!(incident(1).await.as_ref(), Some(&first), "both are");
        join(2, 0).await;
        assert_eq!(incident(2).await.as_ref(), Some(&first));
        assert_eq!(incident(3).await, None);
        let (node, id) = key(&events[1]);
        let detail = self.reader.event(node, id).await.expect("answers").expect("there");
        let members: BTreeSet<_> = detail.members.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(members, [events[0].id.as_str(), &events[2].id].into(), "the others");
        let other = join(3, 3).await.incident.expect("one of its own");
        assert_ne!(other, first);
        assert_eq!(join(0, 3).await.incident, Some(other), "it leaves the first");
        assert_eq!(incident(1).await, Some(first));
        assert!(self.of_state(TriageState::New).await.len() == 4, "nobody took any");
    }

    async fn what_nobody_takes_is_called_up_once(&self) {
        let (made, notice) = (Made::new(), Made { severity: Severity::Notice, ..Made::new() });
        self.commit_at(&[&made, &notice], NOW).await;
        let at = async |ms: i64| self.writer.escalate(NOW + ms, MINUTE).await.expect("commits");
        assert_eq!(at(MINUTE - 1).await, []);
        assert_eq!(at(MINUTE).await, [key(&made)]);
        assert_eq!(at(MINUTE).await, [], "once");
        let shown = self.summary(&made).await.expect("there").triage;
        assert_eq!((shown.escalated, shown.version, shown.state), (true, 0, TriageState::New));
        // A revision, even one that makes it an alert anew, does not start the clock for what was called up.
        self.commit_at(&[&Made { revision: 2, severity: Severity::Notice, ..made.clone() }], NOW).await;
        self.commit_at(&[&Made { revision: 3, ..made.clone() }], NOW).await;
        assert_eq!(at(10 * MINUTE).await, []);
        self.act(&made, Act::Own, "an", NOW + 20 * MINUTE).await.expect("allowed");
        assert!(!self.summary(&made).await.expect("there").triage.escalated);
        self.act(&made, Act::Release, "an", NOW + 21 * MINUTE).await.expect("allowed");
        assert_eq!(at(22 * MINUTE - 1).await, [], "the time begins anew");
        assert_eq!(at(22 * MINUTE).await, [key(&made)]);
        // What becomes an alert later waits since then; what was one and is none waits no more.
        self.commit_at(&[&Made { revision: 2, severity: Severity::Alert, ..notice.clone() }], NOW + 30 * MINUTE).await;
        assert_eq!(at(31 * MINUTE - 1).await, []);
        self.commit_at(&[&Made { revision: 3, severity: Severity::Notice, ..notice }], NOW + 30 * MINUTE).await;
        assert_eq!(at(40 * MINUTE).await, []);
        let old = Made::new();
        self.commit_at(&[&old], NOW).await;
        assert_eq!(at(25 * 60 * MINUTE).await, [], "nobody is buried in what is a day old");
        let more: Vec<Made> = (0..600).map(|_| Made::new()).collect();
        self.commit_at(&more.iter().collect::<Vec<_>>(), NOW).await;
        let mut called = 0;
        loop {
            match at(2 * MINUTE).await.len() {
                0 => break,
                n => called += n,
            }
        }
        assert_eq!(called, 601);
    }

    async fn a_snooze_calls_nobody(&self) {
        let (before, other) = (Made::new(), Made { rule: "other".into(), ..Made::new() });
        self.commit_at(&[&before, &other], NOW).await;
        let one_rule = snooze("s1", &before, Some("night-intrusion"), NOW, NOW + 10 * MINUTE);
        self.writer.snooze(one_rule.clone()).await.expect("commits");
        let during = Made::new();
        self.commit_at(&[&during], NOW + MINUTE).await;
        let summary = async |made: &Made| self.summary(made).await.expect("there");
        assert!(summary(&before).await.snoozed && summary(&during).await.snoozed && !summary(&other).await.snoozed);
        let counts = self.reader.counts(EventQuery::default()).await.expect("answers");
        assert_eq!(counts, Counts { alerts: 3, new_alerts: 1, ..Counts::default() }, "only the other rule's waits");
        let due = self.writer.escalate(NOW + 60 * MINUTE, MINUTE).await.expect("commits");
        assert_eq!(due, [key(&other)], "nor afterwards");
        let after = Made::new();
        self.commit_at(&[&after], NOW + 10 * MINUTE).await;
        let due = self.writer.escalate(NOW + 60 * MINUTE, MINUTE).await.expect("commits");
        assert_eq!(due, [key(&after)], "the snooze was over");
        let all = snooze("s2", &before, None, NOW, NOW + MINUTE);
        self.writer.snooze(all.clone()).await.expect("commits");
        assert!(summary(&other).await.snoozed);
        assert_eq!(self.writer.snoozes(NOW).await.expect("answers"), [one_rule.clone(), all]);
        assert_eq!(self.writer.snoozes(NOW + MINUTE).await.expect("answers"), [one_rule], "its end is exclusive");
        assert!(self.writer.unsnooze("s1".into(), NOW).await.expect("commits"));
        assert!(!self.writer.unsnooze("s1".into(), NOW).await.expect("commits"), "it has ended");
        assert!(!self.writer.unsnooze("s3".into(), NOW).await.expect("commits"));
        assert!(self.writer.unsnooze("s2".into(), NOW).await.expect("commits"));
        assert!(!summary(&other).await.snoozed && !summary(&during).await.snoozed);
        let e = self.writer.snooze(snooze("s4", &before, None, NOW, NOW)).await.expect_err("refused");
        assert_eq!(e.kind(), ErrorKind::Invalid);
    }

    async fn a_shift_is_reported(&self) {
        let at = |ms: i64, camera: &str| Made { started_ms: NOW + ms, camera: camera.into(), ..Made::new() };
        let (earlier, quick, slow, left) = (at(-1, "a"), at(0, "a"), at(1, "a"), at(2, "b"));
        let notice = Made { severity: Severity::Notice, ..at(MINUTE - 1, "b") };
        let later = at(MINUTE, "a");
        self.commit_at(&[&earlier, &quick, &slow, &left, &notice, &later], NOW).await;
        let act = async |made: &Made, act, by, ms: i64| self.act(made, act, by, NOW + ms).await.expect("allowed");
        act(&earlier, Act::Own, "an", 50).await;
        act(&quick, Act::Own, "an", 10).await;
        act(&quick, Act::Own, "chief", 20).await;
        act(&quick, resolve(Verdict::TrueAlarm, "bắt"), "chief", 30).await;
        act(&slow, Act::Dispatch, "an", 30).await;
        act(&slow, resolve(Verdict::FalseAlarm, ""), "an", 40).await;
        act(&notice, Act::Note { text: "mèo".into() }, "binh", 50).await;
        act(&left, Act::Note { text: "sáng mai".into() }, "an", MINUTE).await;
        let query = ReportQuery { from_ms: NOW, to_ms: NOW + MINUTE, cameras: None };
        let report = self.reader.report(query.clone()).await.expect("answers");
        let t = &report.total;
        assert_eq!((t.alerts, t.notices, t.true_alarms, t.false_alarms, t.unresolved), (3, 1, 1, 1, 1));
        let cameras: Vec<_> =
            report.by_camera.iter().map(|c| (c.camera.as_str(), c.alerts, c.notices, c.unresolved)).collect();
        assert_eq!(cameras, [("a", 2, 0, 0), ("b", 1, 1, 1)]);
        let officers: Vec<_> = report
            .by_officer
            .iter()
            .map(|o| (o.user.as_str(), o.owned, o.dispatched, o.resolved, o.median_own_ms))
            .collect();
        // Of 10, 30 and 50 the middle; what the commander took over had been taken.
        assert_eq!(officers, [("an", 2, 1, 1, Some(30)), ("chief", 1, 0, 1, None)]);
        let open: Vec<_> = report.open.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(open, [left.id.as_str(), earlier.id.as_str()], "also what somebody has from before");
        let notes: Vec<_> = report.notes.iter().map(|n| (n.by.as_deref(), n.event.as_str(), n.text.as_str())).collect();
        assert_eq!(notes, [(Some("chief"), &*quick.id, "bắt"), (Some("binh"), &*notice.id, "mèo")]);
        let only = Some(vec![("node-1".to_owned(), "b".to_owned())]);
        let report = self.reader.report(ReportQuery { cameras: only, ..query.clone() }).await.expect("answers");
        assert_eq!((report.total.alerts, report.by_camera.len(), report.by_officer.len()), (1, 1, 0));
        assert_eq!((report.open.len(), report.notes.len()), (1, 1));
        let none = ReportQuery { cameras: Some(Vec::new()), ..query.clone() };
        assert_eq!(self.reader.report(none).await.expect("answers"), Default::default());
        for (from_ms, to_ms) in [(1, 0), (0, MAX_REPORT_MS + 1), (i64::MIN, i64::MAX)] {
            let e = self.reader.report(ReportQuery { from_ms, to_ms, cameras: None }).await.expect_err("refused");
            assert_eq!(e.kind(), ErrorKind::Invalid);
        }
    }

    async fn an_export_is_what_the_pages_are(&self) {
        let mut dice = Dice(9);
        let events: Vec<Made> =
            (0..700).map(|_| Made { started_ms: NOW - dice.roll(900) as i64, ..Made::new() }).collect();
        self.commit_at(&events.iter().collect::<Vec<_>>(), NOW).await;
        for query in [EventQuery::default(), EventQuery { severities: vec![Severity::Alert], ..EventQuery::default() }]
        {
            let whole = EventQuery { limit: MAX_EXPORT, ..query.clone() };
            let exported = self.reader.export(whole.clone()).await.expect("answers");
            let (mut paged, mut next) = (Vec::new(), EventQuery { limit: 200, ..query });
            loop {
                let page = self.reader.events(next.clone()).await.expect("answers");
                paged.extend(page.items);
                match page.next {
                    Some(after) => next.after = Some(after),
                    None => break,
                }
            }
            assert_eq!(exported.len(), 700);
            assert_eq!(exported, paged);
            let some = self.reader.export(EventQuery { limit: 300, ..whole.clone() }).await.expect("answers");
            assert_eq!(some, paged[..300]);
            let e = self.reader.export(EventQuery { limit: MAX_EXPORT + 1, ..whole }).await.expect_err("refused");
            assert_eq!(e.kind(), ErrorKind::Invalid);
        }
    }
}

#[tokio::test]
async fn an_event_is_taken_sent_for_and_resolved() {
    sqlite().an_event_goes_its_way_and_is_found_by_its_state().await;
}

#[tokio::test]
async fn of_two_officers_one_gets_it() {
    sqlite().two_officers_at_once().await;
}

#[tokio::test]
async fn triage_may_come_before_its_event() {
    sqlite().triage_before_the_event().await;
}

#[tokio::test]
async fn events_are_joined_to_an_incident() {
    sqlite().joined().await;
}

#[tokio::test]
async fn an_alert_that_nobody_takes_is_called_up() {
    sqlite().what_nobody_takes_is_called_up_once().await;
}

#[tokio::test]
async fn snoozed_cameras_and_rules_call_nobody() {
    sqlite().a_snooze_calls_nobody().await;
}

#[tokio::test]
async fn a_report_tells_of_a_shift() {
    sqlite().a_shift_is_reported().await;
}

#[tokio::test]
async fn an_export_has_every_event_of_one_moment() {
    sqlite().an_export_is_what_the_pages_are().await;
}

#[tokio::test]
async fn no_facet_is_left_without_an_event() {
    let subject = sqlite();
    let made = Made::new();
    let revisions = [Phase::Started, Phase::Updated, Phase::Ended];
    for (n, phase) in revisions.into_iter().enumerate() {
        subject.commit_at(&[&Made { revision: n as u32 + 1, phase, ..made.clone() }], NOW).await;
    }
    subject.act(&made, Act::Own, "an", NOW).await.expect("allowed");
    let other = rusqlite::Connection::open(subject.directory.path().join("centre.db")).expect("opens");
    let facets = || {
        let mut all = other.prepare("SELECT phase || ' ' || state || ' ' || (newest_ms - ?1) FROM facet").expect("SQL");
        all.query_map([NOW], |r| r.get::<_, String>(0)).expect("reads").collect::<Result<Vec<_>, _>>().expect("reads")
    };
    assert_eq!(facets(), ["ended owned 0"]);
    // The newest of two leaves: the other is the newest then.
    let older = Made { started_ms: NOW - 5, ..Made::new() };
    subject.commit_at(&[&older], NOW).await;
    subject.act(&older, Act::Own, "an", NOW).await.expect("allowed");
    subject.act(&made, resolve(Verdict::FalseAlarm, ""), "an", NOW).await.expect("allowed");
    assert_eq!(facets(), ["ended owned -5", "ended resolved 0"]);
}

#[tokio::test]
async fn every_change_is_told_and_a_refusal_is_not() {
    let subject = sqlite();
    let (sender, mut heard) = broadcast::channel(16);
    let desk = Desk::new(subject.writer.clone(), sender, Arc::new(SystemClock));
    let (one, two) = (Made::new(), Made::new());
    subject.commit_at(&[&one, &two], 0).await;
    desk.act(key(&one), Act::Own, officer("an"), 0).await.expect("commits").expect("allowed");
    let told = |made: &Made| Notice::Triage { node: made.node.clone(), event: made.id.clone() };
    assert_eq!(*heard.try_recv().expect("told"), told(&one));
    desk.act(key(&one), Act::Own, officer("binh"), 0).await.expect("commits").expect_err("refused");
    assert!(heard.try_recv().is_err());
    desk.join(key(&one), key(&two), officer("an")).await.expect("commits").expect("allowed");
    let both = [heard.try_recv().expect("told"), heard.try_recv().expect("told")];
    assert!(both.iter().any(|n| **n == told(&one)) && both.iter().any(|n| **n == told(&two)));
    let now_ms = SystemClock.now().wall_ms;
    desk.snooze(snooze("s1", &one, None, now_ms, now_ms + MINUTE)).await.expect("commits");
    assert_eq!(*heard.try_recv().expect("told"), Notice::Snoozes);
    assert!(desk.unsnooze("s1".into()).await.expect("commits"));
    assert_eq!(*heard.try_recv().expect("told"), Notice::Snoozes);
    assert!(!desk.unsnooze("s1".into()).await.expect("commits"));
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn questions_are_answered_while_the_database_is_opened_anew() {
    let subject = sqlite();
    let made = Made::new();
    subject.commit_at(&[&made], NOW).await;
    let asking = tokio::spawn({
        let reader = subject.reader.clone();
        let (node, id) = key(&made);
        async move {
            let mut asked = 0;
            while reader.summary(node.clone(), id.clone()).await.expect("answers").is_some_and(|s| s.revision < 2) {
                asked += 1;
            }
            asked
        }
    });
    // No picture can be kept: an error of the disk, after which nothing in memory is trusted.
    let pictures = subject.directory.path().join("snapshots");
    std::fs::remove_dir_all(&pictures).expect("removed");
    std::fs::write(&pictures, b"").expect("in its place");
    let jpeg = crate::support::post::picture(900);
    let item = Item::Snapshot {
        node: made.node.clone(),
        camera: made.camera.parse().expect("valid"),
        event: made.id.clone(),
        sha256: jpeg.info.sha256.clone(),
        jpeg: jpeg.jpeg.clone(),
    };
    let failed = subject.writer.commit(Arc::new(vec![item]), NOW).await.expect_err("cannot be kept");
    assert_eq!(failed.kind(), ErrorKind::Io, "{failed}");
    subject.commit_at(&[&Made { revision: 2, ..made.clone() }], NOW).await;
    let asked = asking.await.expect("every question was answered, the last with what came afterwards");
    assert!(asked > 0);
}
