//! What every store of the centre answers to the page's questions, written against the traits: the suite takes a store
//! that can be written and its reading side. What only SQLite promises stands below.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::{Phase, Severity};
use wardwatch::base::{Clock, ErrorKind, Stamp};
use wardwatch::centre::store::query::{Counts, EventQuery, EventSummary, MAX_PAGE, MAX_TEXT, MAX_VALUES, fold};
use wardwatch::centre::store::{CentreStore, EventStore, Item, LinkStore, SqliteEvents, SqliteStore, TriageStore};
use wardwatch::centre::triage::{Act, Officer, TriageState, Verdict};
use wardwatch::wire::link::ClipNote;
use wardwatch::wire::status::{PeerState, PeerStatus};

use crate::support::made::{Dice, Made, NOW, reading};
use crate::support::post::{camera_status, new_id, picture};

const LIMIT: Duration = Duration::from_secs(60);

/// A store under test.
struct Subject<W, R> {
    writer: W,
    reader: R,
    _directory: tempfile::TempDir,
}

fn sqlite() -> Subject<SqliteStore, SqliteEvents> {
    let directory = tempfile::tempdir().expect("a directory");
    let (writer, thread, _) = SqliteStore::open(directory.path(), NOW).expect("opens");
    std::thread::spawn(move || thread.run());
    let reader = reading(&writer, 2, LIMIT, Arc::new(SystemClock));
    Subject { writer, reader, _directory: directory }
}

fn key(e: &EventSummary) -> (i64, String, String) {
    (e.started_ms, e.node.clone(), e.id.clone())
}

impl Dice {
    fn event(&mut self) -> Made {
        let severity = self.one(&[Severity::Alert, Severity::Notice, Severity::Notice]);
        Made {
            node: self.one(&NODES).into(),
            id: format!("{:08x}-0000-7000-8000-{:012x}", self.roll(1 << 32), self.roll(1 << 48)),
            camera: self.one(&CAMERAS).into(),
            rule: self.one(&RULES).into(),
            kind: self.one(&KINDS).into(),
            severity,
            label: self.one(&LABELS).into(),
            phase: self.one(&PHASES),
            // Many begin in the same millisecond.
            started_ms: NOW - 1000 * self.roll(40) as i64,
            revision: 1,
            state: TriageState::New,
        }
    }

    fn query(&mut self) -> EventQuery {
        let from = NOW - 1000 * self.roll(45) as i64;
        let strings = |of: Vec<&str>| of.into_iter().map(str::to_owned).collect();
        let cameras = (self.roll(4) == 0).then(|| {
            let pairs = NODES.iter().flat_map(|n| CAMERAS.iter().map(|c| ((*n).to_owned(), (*c).to_owned())));
            pairs.filter(|_| self.roll(3) == 0).collect()
        });
        EventQuery {
            from_ms: (self.roll(3) == 0).then_some(from),
            to_ms: (self.roll(3) == 0).then(|| from + 1000 * self.roll(30) as i64),
            cameras,
            rules: strings(self.some(&RULES)),
            kinds: strings(self.some(&KINDS)),
            severities: self.some(&[Severity::Alert, Severity::Notice]),
            labels: strings(self.some(&LABELS)),
            phases: self.some(&PHASES),
            states: self.some(&TriageState::ALL),
            text: self.one(&["", "", "", "ngo", "DEM", "ngõ 12", "xam nhap", "Đêm cổng", "node-2", "e x", "%"]).into(),
            names: Default::default(),
            cameras_only: false,
            limit: 5 + self.roll(100) as usize,
            after: None,
        }
    }
}

const NODES: [&str; 3] = ["node-1", "node-2", "a"];
const CAMERAS: [&str; 4] = ["ngo-12", "ngo-120", "cong-truoc", ""];
const RULES: [&str; 4] = ["Xâm nhập đêm", "cổng", "night", "100%_sure"];
const KINDS: [&str; 3] = ["intrusion", "loitering", "system"];
const LABELS: [&str; 4] = ["person", "truck", "xe đạp", ""];
const PHASES: [Phase; 3] = [Phase::Started, Phase::Updated, Phase::Ended];

/// What a search means, in as few words as possible.
fn naive(query: &EventQuery, e: &Made) -> bool {
    fn one<T: PartialEq>(values: &[T], value: &T) -> bool {
        values.is_empty() || values.iter().any(|v| v == value)
    }
    let names = [&e.node, &e.camera, &e.rule, &e.kind, &e.label].map(|name| fold(name));
    query.from_ms.is_none_or(|from| e.started_ms >= from)
        && query.to_ms.is_none_or(|to| e.started_ms < to)
        && query.cameras.as_ref().is_none_or(|c| c.contains(&(e.node.clone(), e.camera.clone())))
        && one(&query.rules, &e.rule)
        && one(&query.kinds, &e.kind)
        && one(&query.severities, &e.severity)
        && one(&query.labels, &e.label)
        && one(&query.phases, &e.phase)
        && one(&query.states, &e.state)
        && query.text.split_whitespace().all(|word| names.iter().any(|name| name.contains(&fold(word))))
}

impl<W: CentreStore + LinkStore + TriageStore, R: EventStore> Subject<W, R> {
    async fn commit(&self, events: &[Made]) {
        let items = events.iter().map(Made::item).collect();
        self.writer.commit(Arc::new(items), NOW).await.expect("commits");
    }

    /// All pages of `query`, one after the other.
    async fn all(&self, query: &EventQuery) -> Vec<EventSummary> {
        let (mut query, mut found) = (query.clone(), Vec::new());
        loop {
            let page = self.reader.events(query.clone()).await.expect("answers");
            assert!(page.items.len() <= query.limit);
            assert!(page.next.is_none() || page.items.len() == query.limit, "a page that is not the last is full");
            found.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return found,
            }
        }
    }

    /// Something is done with each of `events`.
    async fn triage(&self, events: &mut [Made], dice: &mut Dice) {
        let by = Officer { id: "u1".into(), commander: false };
        for made in events {
            let resolve = Act::Resolve { verdict: Verdict::FalseAlarm, note: None };
            let (act, state) = dice.one(&[
                (Act::Own, TriageState::Owned),
                (Act::Dispatch, TriageState::Dispatched),
                (resolve, TriageState::Resolved),
            ]);
            let event = (made.node.clone(), made.id.clone());
            self.writer.act(event, act, by.clone(), 0, NOW).await.expect("commits").expect("allowed");
            made.state = state;
        }
    }

    async fn ids_of(&self, text: &str) -> BTreeSet<String> {
        let query = EventQuery { text: text.into(), ..EventQuery::default() };
        self.all(&query).await.into_iter().map(|e| e.id).collect()
    }

    async fn filters_are_those_of_a_naive_search(&self, seed: u64) {
        let mut dice = Dice(seed);
        let mut events: Vec<Made> = (0..1500).map(|_| dice.event()).collect();
        // Some are triaged before they come.
        let (early, late) = events.split_at_mut(750);
        self.triage(&mut early[..100], &mut dice).await;
        for half in [&*early, &*late] {
            self.commit(half).await;
        }
        self.triage(&mut late[..150], &mut dice).await;
        events.sort_by_key(|e| std::cmp::Reverse(e.key()));
        let mut answered = 0;
        for n in 0..200 {
            let query = dice.query();
            let wanted: Vec<&Made> = events.iter().filter(|e| naive(&query, e)).collect();
            let found = self.all(&query).await;
            let (keys, expected): (Vec<_>, Vec<_>) =
                (found.iter().map(key).collect(), wanted.iter().map(|e| e.key()).collect());
            assert_eq!(keys, expected, "seed {seed}, query {n}: {query:?}");
            for (e, made) in found.iter().zip(&wanted) {
                assert_eq!(
                    (e.phase, e.severity, &e.rule, &e.kind),
                    (made.phase, made.severity, &made.rule, &made.kind)
                );
                assert_eq!(e.camera.as_deref().unwrap_or_default(), made.camera);
                assert_eq!(e.triage.state, made.state);
                assert_eq!(e.label.as_deref().unwrap_or_default(), made.label);
            }
            let of = |wants: fn(&Made) -> bool| wanted.iter().filter(|e| wants(e)).count() as u64;
            let expected = Counts {
                alerts: of(|e| e.severity == Severity::Alert),
                notices: of(|e| e.severity == Severity::Notice),
                new_alerts: of(|e| e.severity == Severity::Alert && e.state == TriageState::New),
                owned: of(|e| e.state == TriageState::Owned),
                dispatched: of(|e| e.state == TriageState::Dispatched),
            };
            assert_eq!(self.reader.counts(query.clone()).await.expect("answers"), expected, "seed {seed}: {query:?}");
            answered += usize::from(!wanted.is_empty());
        }
        assert!((50..200).contains(&answered), "queries that find something, and some that do not: {answered}");
    }

    async fn pages_stay_whole_while_events_come(&self, seed: u64) {
        let mut dice = Dice(seed);
        let alerts = EventQuery { severities: vec![Severity::Alert], limit: 7, ..EventQuery::default() };
        for query in [EventQuery { limit: 7, ..EventQuery::default() }, alerts] {
            let first: Vec<Made> = (0..150).map(|_| dice.event()).collect();
            self.commit(&first).await;
            let at_first: BTreeSet<_> = self.all(&query).await.iter().map(key).collect();
            let (mut query, mut seen) = (query, Vec::new());
            loop {
                let page = self.reader.events(query.clone()).await.expect("answers");
                seen.extend(page.items.iter().map(key));
                // Before, within and behind what was seen; some in the same millisecond as the page's last.
                let mut more: Vec<Made> = (0..3).map(|_| dice.event()).collect();
                more[0].started_ms = page.items.last().map_or(NOW, |e| e.started_ms);
                self.commit(&more).await;
                let Some(next) = page.next else { break };
                query.after = Some(next);
                assert!(seen.len() < 2000, "it comes to an end");
            }
            let distinct: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(distinct.len(), seen.len(), "nothing twice (seed {seed})");
            assert!(seen.is_sorted_by(|a, b| a > b), "newest first (seed {seed})");
            assert!(at_first.is_subset(&distinct), "nothing skipped (seed {seed})");
        }
    }

    async fn the_newest_revision_counts_in_whatever_order_they_come(&self) {
        let third = Made { revision: 3, ..Made::new() };
        let first = Made { revision: 1, phase: Phase::Started, severity: Severity::Notice, ..third.clone() };
        let second = Made { revision: 2, phase: Phase::Updated, ..third.clone() };
        let of = |phase| EventQuery { phases: vec![phase], ..EventQuery::default() };
        for (revisions, shown) in [
            (vec![&second], Phase::Updated),
            (vec![&first], Phase::Updated),
            (vec![&third], Phase::Ended),
            (vec![&second, &first], Phase::Ended),
        ] {
            let revisions: Vec<Made> = revisions.into_iter().cloned().collect();
            self.commit(&revisions).await;
            for phase in PHASES {
                let found = self.all(&of(phase)).await;
                assert_eq!(found.len(), usize::from(phase == shown), "{phase:?}: {found:?}");
            }
        }
        let notices = EventQuery { severities: vec![Severity::Notice], ..EventQuery::default() };
        assert_eq!(self.all(&notices).await, []);
        let detail = self.reader.event("node-1".into(), third.id.clone()).await.expect("answers").expect("is there");
        assert_eq!((detail.event.revision, detail.summary.revision), (3, 3));
        let history: Vec<_> = detail.history.iter().map(|r| (r.revision, r.seq, r.boot_id.as_str())).collect();
        assert_eq!(history, [(1, 1, "boot"), (2, 2, "boot"), (3, 3, "boot")]);
    }

    async fn text_is_searched_without_case_and_diacritics(&self) {
        let gate = Made { rule: "Xâm nhập ban ĐÊM".into(), camera: "ngo-12".into(), ..Made::new() };
        let bike = Made {
            label: "xe đạp".into(),
            rule: "Đỗ xe sai chỗ".into(),
            camera: "san-sau".into(),
            node: "phuong-3".into(),
            ..Made::new()
        };
        // Written in parts: an o, its circumflex, its hook.
        let other = Made { rule: "co\u{302}\u{309}ng".into(), kind: "loitering".into(), ..Made::new() };
        self.commit(&[gate.clone(), bike.clone(), other.clone()]).await;
        for (text, wanted) in [
            ("xam nhap", vec![&gate]),
            ("XÂM", vec![&gate]),
            ("đêm", vec![&gate]),
            ("dem", vec![&gate]),
            ("ngo 12", vec![&gate, &other]),
            ("12 ngo dem", vec![&gate]),
            ("do xe", vec![&bike]),
            ("XE ĐẠP phuong", vec![&bike]),
            ("cổng", vec![&other]),
            ("co\u{302}\u{309}ng", vec![&other]),
            ("loiter", vec![&other]),
            ("  \t ", vec![&gate, &bike, &other]),
            ("demngo", vec![]),
            ("xam truck", vec![]),
        ] {
            let wanted: BTreeSet<String> = wanted.iter().map(|e| e.id.clone()).collect();
            assert_eq!(self.ids_of(text).await, wanted, "{text:?}");
        }
    }

    async fn cameras_are_found_by_what_people_call_them_and_nodes_left_out(&self) {
        let of = |camera: &str| Made { camera: camera.into(), ..Made::new() };
        let (lane, gate, node) = (of("c-07"), of("c-08"), of(""));
        self.commit(&[lane.clone(), gate.clone(), node.clone()]).await;
        let named = |camera: &Made, name: &str| ((camera.node.clone(), camera.camera.clone()), name.to_owned());
        let names = [named(&lane, "Đầu ngõ 12\nTổ 5"), named(&gate, "Cổng chợ\nTổ 7")];
        let ask = async |text: &str, cameras_only| {
            let names = names.clone().into_iter().collect();
            let query = EventQuery { text: text.into(), names, cameras_only, ..EventQuery::default() };
            self.all(&query).await.into_iter().map(|e| e.id).collect::<BTreeSet<_>>()
        };
        let ids = |made: &[&Made]| made.iter().map(|m| m.id.clone()).collect::<BTreeSet<_>>();
        assert_eq!(ask("dau ngo", false).await, ids(&[&lane]));
        assert_eq!(ask("tổ 7 c-08", false).await, ids(&[&gate]));
        assert_eq!(ask("to", false).await, ids(&[&lane, &gate]));
        assert_eq!(ask("đầu ngõ 9", false).await, ids(&[]));
        assert_eq!(ask("", false).await, ids(&[&lane, &gate, &node]));
        assert_eq!(ask("", true).await, ids(&[&lane, &gate]));
    }

    async fn hostile_input_is_text_or_refused(&self) {
        let percent = Made { rule: "100%_sure".into(), ..Made::new() };
        let quote = Made { rule: "x' OR 1=1 --".into(), ..Made::new() };
        let nul = Made { rule: "a\0b".into(), ..Made::new() };
        self.commit(&[percent.clone(), quote.clone(), nul.clone()]).await;
        for (text, wanted) in [
            ("%", vec![&percent]),
            ("0%_s", vec![&percent]),
            ("1_0", vec![]),
            ("_", vec![&percent]),
            ("' OR 1=1 --", vec![&quote]),
            ("\"; DROP TABLE event; --", vec![]),
            ("a\0b", vec![&nul]),
            ("\0", vec![&nul]),
            ("*", vec![]),
            ("\\", vec![]),
        ] {
            let wanted: BTreeSet<String> = wanted.iter().map(|e| e.id.clone()).collect();
            assert_eq!(self.ids_of(text).await, wanted, "{text:?}");
        }
        for rule in [&percent.rule, &quote.rule, &nul.rule] {
            let query = EventQuery { rules: vec![rule.clone()], ..EventQuery::default() };
            assert_eq!(self.all(&query).await.len(), 1, "{rule:?}");
        }
        let huge = EventQuery { rules: vec!["x".repeat(1 << 20)], ..EventQuery::default() };
        assert_eq!(self.all(&huge).await, []);
        assert_eq!(self.reader.event("' --".into(), "\0".into()).await.expect("answers"), None);
        let cursor = |text: &str| EventQuery { after: Some(text.into()), ..EventQuery::default() };
        let sound = self.reader.events(EventQuery { limit: 1, ..EventQuery::default() }).await.expect("answers").next;
        let sound = sound.expect("there are more");
        self.reader.events(cursor(&sound)).await.expect("a cursor of ours");
        let text = |n: usize| EventQuery { text: "đ".repeat(n), ..EventQuery::default() };
        let rules = |n: usize| EventQuery { rules: vec!["x".into(); n], ..EventQuery::default() };
        let page = |limit| EventQuery { limit, ..EventQuery::default() };
        for query in [text(MAX_TEXT), rules(MAX_VALUES), page(1), page(MAX_PAGE)] {
            self.reader.events(query).await.expect("just allowed");
        }
        let backwards = EventQuery { from_ms: Some(2), to_ms: Some(1), ..EventQuery::default() };
        let id = new_id();
        for query in [
            text(MAX_TEXT + 1),
            text(1 << 20),
            rules(MAX_VALUES + 1),
            page(0),
            page(MAX_PAGE + 1),
            page(usize::MAX),
            backwards,
        ] {
            let refused = self.reader.events(query).await.expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        }
        let cursors = [String::new(), "zz".into(), sound.to_uppercase(), sound[2..].into(), "00".repeat(1 << 20)];
        let form =
            ["2 5 node-1 ID", "1 5 node-1 ID x", "1 +5 node-1 ID", "1 99999999999999999999 node-1 ID", "1 5 NODE ID"];
        let forged = form.into_iter().chain(["1 5 node-1 x"]).map(|text| hex::encode(text.replace("ID", &id)));
        for text in cursors.into_iter().chain(forged) {
            let refused = self.reader.events(cursor(&text)).await.expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        }
        self.reader.events(cursor(&hex::encode(format!("1 5 node-1 {id}")))).await.expect("sound");
    }

    async fn an_event_has_its_pictures_and_clips(&self) {
        let (made, jpeg) = (Made::new(), picture(900));
        let mut item = made.item();
        if let Item::Event { event, json, .. } = &mut item {
            event.snapshot = Some((&jpeg.info).into());
            *json = Bytes::from(event.to_json().expect("JSON"));
        }
        let camera: wardwatch::base::types::CameraId = made.camera.parse().expect("valid");
        let shown = async || {
            let page = self.reader.events(EventQuery::default()).await.expect("answers");
            let found = self.reader.event(made.node.clone(), made.id.clone()).await.expect("answers");
            let detail = found.expect("is there");
            assert_eq!(page.items, std::slice::from_ref(&detail.summary));
            detail
        };
        self.writer.commit(Arc::new(vec![item]), NOW).await.expect("commits");
        let before = shown().await;
        assert!(!before.summary.has_snapshot && !before.summary.has_clip);
        assert_eq!(before.summary.snapshot.as_ref(), Some(&jpeg.info.sha256));
        let snapshot = Item::Snapshot {
            node: made.node.clone(),
            camera: camera.clone(),
            event: made.id.clone(),
            sha256: jpeg.info.sha256.clone(),
            jpeg: jpeg.jpeg.clone(),
        };
        self.writer.commit(Arc::new(vec![snapshot]), NOW + 1).await.expect("commits");
        let note = ClipNote {
            sha256: "ab".repeat(32),
            bytes: 7,
            camera,
            event: Some(made.id.clone()),
            command: None,
            from_ms: NOW,
            to_ms: NOW + 10_000,
            masked: true,
            complete: true,
        };
        assert!(self.writer.add_clip(made.node.clone(), note.clone(), NOW + 2).await.expect("commits"));
        let after = shown().await;
        assert!(after.summary.has_snapshot && after.summary.has_clip);
        assert_eq!(after.clips, [note]);
        let [kept] = after.snapshots.as_slice() else { panic!("{:?}", after.snapshots) };
        assert_eq!((kept.bytes, kept.committed_ms), (900, NOW + 1));
        let path = kept.path.as_ref().expect("the file is here");
        assert_eq!(std::fs::read(path).expect("readable"), jpeg.jpeg);
        assert_eq!(self.reader.event("node-2".into(), made.id.clone()).await.expect("answers"), None);
    }

    async fn nodes_and_cameras_are_those_of_the_writer(&self) {
        let status = |state| {
            Some(PeerStatus { state, version: "1".into(), boot_id: "b".into(), since: "2026-11-24T12:00:00Z".into() })
        };
        let camera = |node: &str, boot: &str| Item::Camera {
            node: node.into(),
            camera: "ngo-12".parse().expect("valid"),
            status: Some(camera_status("online", boot)),
        };
        let items = vec![
            Item::Node { node: "node-2".into(), status: status(PeerState::Offline) },
            Item::Node { node: "node-1".into(), status: status(PeerState::Online) },
            camera("node-1", "b"),
            camera("node-2", "b"),
        ];
        self.writer.commit(Arc::new(items), NOW).await.expect("commits");
        let (nodes, cameras) =
            (self.reader.nodes().await.expect("answers"), self.reader.cameras().await.expect("answers"));
        assert_eq!(nodes.iter().map(|n| n.node.as_str()).collect::<Vec<_>>(), ["node-1", "node-2"]);
        assert_eq!(cameras.iter().map(|c| c.current).collect::<Vec<_>>(), [true, false]);
        assert_eq!(
            (nodes, cameras),
            (self.writer.nodes().await.expect("answers"), self.writer.cameras().await.expect("answers"),)
        );
    }
}

#[tokio::test]
async fn filters_alone_and_together_find_what_a_naive_search_finds() {
    for seed in [1, 2] {
        sqlite().filters_are_those_of_a_naive_search(seed).await;
    }
}

#[tokio::test]
async fn pages_are_whole_while_events_come() {
    for seed in [3, 4, 5] {
        sqlite().pages_stay_whole_while_events_come(seed).await;
    }
}

#[tokio::test]
async fn revisions_come_in_any_order() {
    sqlite().the_newest_revision_counts_in_whatever_order_they_come().await;
}

#[tokio::test]
async fn vietnamese_is_found_however_it_is_typed() {
    sqlite().text_is_searched_without_case_and_diacritics().await;
}

#[tokio::test]
async fn sqlite_finds_cameras_by_what_people_call_them() {
    sqlite().cameras_are_found_by_what_people_call_them_and_nodes_left_out().await;
}

#[tokio::test]
async fn what_is_typed_is_never_understood_as_a_command() {
    sqlite().hostile_input_is_text_or_refused().await;
}

#[tokio::test]
async fn an_event_is_shown_with_what_came_of_it() {
    sqlite().an_event_has_its_pictures_and_clips().await;
}

#[tokio::test]
async fn nodes_and_cameras_are_read() {
    sqlite().nodes_and_cameras_are_those_of_the_writer().await;
}

#[tokio::test]
async fn questions_do_not_wait_for_the_writer() {
    let subject = sqlite();
    subject.commit(&[Made::new()]).await;
    let path = subject._directory.path().join("centre.db");
    let other = rusqlite::Connection::open(path).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE; UPDATE event SET rule = 'x';").expect("holds the write lock");
    let found = subject.reader.events(EventQuery::default()).await.expect("answers");
    assert_eq!(found.items[0].rule, "night-intrusion", "as it was committed");
    let detail = subject.reader.event("node-1".into(), found.items[0].id.clone()).await.expect("answers");
    assert!(detail.is_some());
}

/// Moves on by a second each time it is asked.
#[derive(Default)]
struct Hasty(AtomicU64);

impl Clock for Hasty {
    fn now(&self) -> Stamp {
        Stamp { mono: Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed)), wall_ms: NOW }
    }
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_given_up() {
    let subject = sqlite();
    let mut dice = Dice(6);
    subject.commit(&(0..3000).map(|_| dice.event()).collect::<Vec<_>>()).await;
    let reader = reading(&subject.writer, 1, Duration::from_secs(3), Arc::new(Hasty::default()));
    // Some thousand rows of the index are counted: more than three times a look at the clock.
    let e = reader.counts(EventQuery::default()).await.expect_err("given up");
    assert_eq!(e.kind(), ErrorKind::Timeout, "{e}");
    assert_eq!(reader.nodes().await.expect("the next one is answered"), []);
}

#[tokio::test]
async fn more_questions_than_can_wait_are_refused() {
    let subject = sqlite();
    // Nobody answers yet.
    let clock = Arc::new(Hasty::default());
    let (reader, threads) = subject.writer.reading(2, Duration::from_secs(1_000_000), clock.clone());
    let ask = || {
        tokio::spawn({
            let reader = reader.clone();
            async move { reader.nodes().await }
        })
    };
    let waiting: Vec<_> = (0..64).map(|_| ask()).collect();
    // Each asks for the time just before it begins to wait.
    while clock.0.load(Ordering::Relaxed) < 64 {
        tokio::task::yield_now().await;
    }
    let refused = reader.nodes().await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    for thread in threads {
        std::thread::spawn(move || thread.run());
    }
    for asked in waiting {
        asked.await.expect("no panic").expect("answered");
    }
}

#[tokio::test]
async fn events_of_the_first_version_are_found_after_the_upgrade() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = rusqlite::Connection::open(directory.path().join("centre.db")).expect("opens");
    old.execute_batch(include_str!("../fixtures/centre-schema-1.sql")).expect("version 1");
    let made = Made::new();
    for (id, camera, label) in [(made.id.clone(), "ngo-12-a", "person"), (new_id(), "", "")] {
        let sql = "INSERT INTO event (node, id, camera, revision, phase, severity, kind, rule, label, started_ms,
                     updated_ms, first_committed_ms, committed_ms)
                   VALUES ('node-1', ?1, ?2, 1, 'ended', 'alert', 'intrusion', 'Cổng', ?3, 5, 6, 7, 8)";
        old.execute(sql, [id.as_str(), camera, label]).expect("inserts");
    }
    old.pragma_update(None, "user_version", 1).expect("set");
    drop(old);
    let (writer, thread, _) = SqliteStore::open(directory.path(), NOW).expect("upgrades");
    std::thread::spawn(move || thread.run());
    let reader = reading(&writer, 1, LIMIT, Arc::new(SystemClock));
    let subject = Subject { writer, reader, _directory: directory };
    assert_eq!(subject.ids_of("cong").await.len(), 2);
    assert_eq!(subject.ids_of("cong person").await, BTreeSet::from([made.id.clone()]));
    // The same facet is used again.
    subject.commit(&[Made { rule: "Cổng".into(), id: new_id(), ..made }]).await;
    assert_eq!(subject.ids_of("cong person").await.len(), 2);
}
