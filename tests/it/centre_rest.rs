//! What every store of the centre keeps besides events and people, written against the traits: the access log, emergencies,
//! holds, what nodes tell of their cameras, and what receivers of webhooks are to be told.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use wardwatch::base::clock::SystemClock;
use wardwatch::base::types::Severity;
use wardwatch::base::{ErrorKind, Result};
use wardwatch::centre::account::{CameraKey, MACHINE};
use wardwatch::centre::store::emergency::MAX_EMERGENCY_MS;
use wardwatch::centre::store::hold::MAX_HOLDS;
use wardwatch::centre::store::query::{MAX_PAGE, MAX_VALUES};
use wardwatch::centre::store::webhook::Standing;
use wardwatch::centre::store::{
    AccessEntry, AccessQuery, AccessReader, AccessRecord, AccessStore, Announce, CameraInfoStore, CentreStore,
    CommandStore, EmergencyStore, HoldStore, Item, SqliteEvents, SqliteStore, StoredEmergency, StoredHold, StoredInfo,
    TriageStore, WebhookStore,
};
use wardwatch::centre::triage::{Act, Officer};
use wardwatch::centre::webhook::{Delivery, Fate};
use wardwatch::config::{RecordingMode, Secret, Sharing, WebhookConfig, What};
use wardwatch::wire::channel::CameraInfo;
use wardwatch::wire::command::{Answer, AnswerState, Command, HoldState};
use wardwatch::wire::event::rfc3339;
use wardwatch::wire::status::{PeerState, PeerStatus};

use crate::support::made::{Dice, Made, NOW, reading};
use crate::support::post::new_id;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A store under test.
struct Subject<W, R> {
    writer: W,
    reader: R,
    _directory: tempfile::TempDir,
}

/// What happens is told to `hooks`.
fn sqlite(hooks: &[(&str, &[What])]) -> Subject<SqliteStore, SqliteEvents> {
    let directory = tempfile::tempdir().expect("a directory");
    let hook = |(name, events): &(&str, &[What])| WebhookConfig {
        name: (*name).into(),
        url: "http://192.0.2.1/hook".parse().expect("a URL"),
        ca: None,
        secret: Secret::new("c2VjcmV0"),
        events: events.iter().copied().collect(),
        cameras: BTreeSet::new(),
        areas: BTreeSet::new(),
        give_up_after: Duration::from_secs(3600),
    };
    let hooks: Vec<_> = hooks.iter().map(hook).collect();
    let announce = Announce::new("o-cho-dua", TimeZone::UTC, None, &hooks);
    let (writer, thread, _) = SqliteStore::open_announcing(directory.path(), NOW, announce).expect("opens");
    std::thread::spawn(move || thread.run());
    let reader = reading(&writer, 2, Duration::from_secs(60), Arc::new(SystemClock));
    Subject { writer, reader, _directory: directory }
}

/// A row of the access log that is told from others by its action.
fn row(action: &str) -> AccessEntry {
    let (action, object, session) = (action.into(), "x".into(), Some(MACHINE.into()));
    AccessEntry { at_ms: NOW, session, action, object, ..AccessEntry::default() }
}

fn camera(node: &str, camera: &str) -> CameraKey {
    (node.into(), camera.into())
}

fn emergency(created_ms: i64, until_ms: i64) -> StoredEmergency {
    let (reason, by) = ("cháy ở ngõ 12".into(), "u1".into());
    StoredEmergency { id: new_id(), cameras: None, reason, by, created_ms, until_ms }
}

fn info(id: &str, name: &str) -> CameraInfo {
    CameraInfo {
        id: id.parse().expect("a name"),
        name: name.into(),
        area: "Tổ 5".into(),
        position: Some([21.0213, 105.8287]),
        sharing: Sharing::EventsOnly,
        recording: RecordingMode::Off,
        audio: false,
        zones: Vec::new(),
        lines: Vec::new(),
        masks: Vec::new(),
        rules: Vec::new(),
    }
}

/// A command that was issued `after` milliseconds after [`NOW`] and is good for `life`.
fn command(after: i64, life: i64, ask: Value) -> Command {
    let at = |ms| rfc3339(NOW + ms, &TimeZone::UTC);
    let mut command = json!({
        "schema": "wardwatch.command/1", "id": new_id(), "issuer": "an", "reason": "vụ 7",
        "issued_at": at(after), "expires_at": at(after + life),
    });
    command.as_object_mut().expect("an object").extend(ask.as_object().expect("an object").clone());
    serde_json::from_value(command).expect("a command")
}

fn of_range(kind: &str, after: i64, life: i64) -> Command {
    let ask = json!({"kind": kind, "camera": "ngo-12", "from": "2026-11-24T11:00:00Z", "to": "2026-11-24T11:10:00Z"});
    command(after, life, ask)
}

impl<W: AccessStore, R: AccessReader> Subject<W, R> {
    /// All that `query` finds, page by page.
    async fn all(&self, query: &AccessQuery) -> Vec<AccessRecord> {
        let (mut query, mut found) = (query.clone(), Vec::new());
        loop {
            let page = self.reader.read(query.clone()).await.expect("answers");
            assert!(page.items.len() <= query.limit);
            assert!(page.next.is_none() || page.items.len() == query.limit, "a page that is not the last is full");
            found.extend(page.items);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return found,
            }
        }
    }

    async fn count(&self, action: &str) -> usize {
        let query = AccessQuery { actions: vec![action.into()], ..AccessQuery::default() };
        self.all(&query).await.len()
    }

    async fn refuses<T: Debug>(&self, done: Result<T>, action: &str) {
        let refused = done.expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert_eq!(self.count(action).await, 0, "the log tells of what was refused: {refused}");
    }

    async fn filters_are_those_of_a_naive_search(&self, seed: u64) {
        let mut dice = Dice(seed);
        let (users, actions) = (["u1", "u2", ""], ["search", "live.view", "event.view", "x' OR 1=1 --"]);
        let cameras = [camera("node-1", "a"), camera("node-1", "b"), camera("node-2", "a"), camera("", "")];
        let named = |text: String| (!text.is_empty()).then_some(text);
        let mut book = Vec::new();
        for n in 0..400 {
            let (node, camera) = dice.one(&cameras);
            // Many in the same millisecond, and not in the order of their times.
            let at_ms = NOW - dice.roll(40) as i64;
            let user = named(dice.one(&users).into());
            let object = n.to_string();
            book.push(AccessEntry {
                at_ms,
                user,
                object,
                node: named(node),
                camera: named(camera),
                ..row(dice.one(&actions))
            });
        }
        for entries in book.chunks(50) {
            self.writer.record(entries.to_vec()).await.expect("written");
        }
        let mut sorted: Vec<(usize, &AccessEntry)> = book.iter().enumerate().collect();
        sorted.sort_by_key(|(n, entry)| std::cmp::Reverse((entry.at_ms, *n)));
        let mut answered = 0;
        for _ in 0..150 {
            let from = NOW - dice.roll(45) as i64;
            let query = AccessQuery {
                from_ms: (dice.roll(3) == 0).then_some(from),
                to_ms: (dice.roll(3) == 0).then(|| from + dice.roll(30) as i64),
                user: (dice.roll(3) == 0).then(|| dice.one(&["u1", "u2", "u3"]).into()),
                cameras: (dice.roll(3) == 0).then(|| cameras.iter().filter(|_| dice.roll(2) == 0).cloned().collect()),
                actions: dice.some(&actions).into_iter().map(str::to_owned).collect(),
                limit: 1 + dice.roll(60) as usize,
                after: None,
            };
            let wants = |e: &AccessEntry| {
                let of = (e.node.clone().unwrap_or_default(), e.camera.clone().unwrap_or_default());
                query.from_ms.is_none_or(|from| e.at_ms >= from)
                    && query.to_ms.is_none_or(|to| e.at_ms < to)
                    && query.user.as_ref().is_none_or(|user| e.user.as_ref() == Some(user))
                    && query.cameras.as_ref().is_none_or(|c| e.node.is_some() && c.contains(&of))
                    && (query.actions.is_empty() || query.actions.contains(&e.action))
            };
            let wanted: Vec<&AccessEntry> = sorted.iter().map(|(_, e)| *e).filter(|e| wants(e)).collect();
            let found = self.all(&query).await;
            assert_eq!(found.iter().map(|r| &r.entry).collect::<Vec<_>>(), wanted, "seed {seed}: {query:?}");
            answered += usize::from(!wanted.is_empty());
        }
        assert!((30..150).contains(&answered), "queries that find something, and some that do not: {answered}");
        let none = AccessQuery { cameras: Some(Vec::new()), ..AccessQuery::default() };
        assert_eq!(self.all(&none).await, [], "whoever may see no camera sees none");
    }

    async fn pages_stay_whole_while_rows_come(&self) {
        let mut dice = Dice(7);
        let rows = |dice: &mut Dice, n| -> Vec<AccessEntry> {
            (0..n).map(|_| AccessEntry { at_ms: NOW - dice.roll(9) as i64, ..row("seen") }).collect()
        };
        self.writer.record(rows(&mut dice, 100)).await.expect("written");
        let mut query = AccessQuery { actions: vec!["seen".into()], limit: 7, ..AccessQuery::default() };
        let before: BTreeSet<_> = self.all(&query).await.iter().map(|r| (r.entry.at_ms, r.id)).collect();
        let mut seen = Vec::new();
        loop {
            let page = self.reader.read(query.clone()).await.expect("answers");
            seen.extend(page.items.iter().map(|r| (r.entry.at_ms, r.id)));
            // Before and behind what was seen, and in the same millisecond as the page's last.
            let mut more = rows(&mut dice, 3);
            more[0].at_ms = seen.last().map_or(NOW, |last| last.0);
            self.writer.record(more).await.expect("written");
            let Some(next) = page.next else { break };
            query.after = Some(next);
            assert!(seen.len() < 1000, "it comes to an end");
        }
        assert!(seen.is_sorted_by(|a, b| a > b), "newest first, nothing twice");
        assert!(before.is_subset(&seen.into_iter().collect()), "nothing skipped");
    }

    async fn what_is_asked_has_bounds(&self) {
        self.writer.record(vec![row("a"), row("b")]).await.expect("written");
        let page = |limit| AccessQuery { limit, ..AccessQuery::default() };
        let actions = |n| AccessQuery { actions: vec!["x".into(); n], ..AccessQuery::default() };
        let cameras = |n| AccessQuery { cameras: Some(vec![camera("n", "c"); n]), ..AccessQuery::default() };
        let span = |from, to| AccessQuery { from_ms: Some(from), to_ms: Some(to), ..AccessQuery::default() };
        let cursor = |text: &str| AccessQuery { after: Some(text.into()), ..AccessQuery::default() };
        let sound = self.reader.read(page(1)).await.expect("answers").next.expect("there is another");
        let all = [page(1), page(MAX_PAGE), actions(MAX_VALUES), cameras(MAX_VALUES), span(1, 1), cursor(&sound)];
        for query in all {
            self.reader.read(query).await.expect("just allowed");
        }
        let bad = [page(0), page(MAX_PAGE + 1), page(usize::MAX), actions(MAX_VALUES + 1), cameras(MAX_VALUES + 1)];
        let changed =
            [format!("{sound} "), format!("+{sound}"), format!("0{sound}"), format!("{sound}.1"), "x".repeat(1 << 20)];
        let changed = changed.iter().map(String::as_str).chain(["", "zz", "\0", "'; --"]).map(cursor);
        for query in bad.into_iter().chain([span(2, 1)]).chain(changed) {
            let refused = self.reader.read(query).await.expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        }
    }
}

impl<W: AccessStore + EmergencyStore, R: AccessReader> Subject<W, R> {
    async fn lasting(&self, now_ms: i64) -> Vec<StoredEmergency> {
        let mut found = self.writer.emergencies(now_ms).await.expect("readable");
        found.sort_by_key(|e| e.created_ms);
        found
    }

    async fn an_emergency_is_sound_or_never_begins(&self) {
        let sound = emergency(NOW, NOW + MAX_EMERGENCY_MS);
        let cameras = |n| Some((0..n).map(|n| camera("node-1", &format!("c-{n}"))).collect::<Vec<_>>());
        let of = |reason: &str| StoredEmergency { reason: reason.into(), ..sound.clone() };
        for bad in [
            of(""),
            of(" \t "),
            of(&"ừ".repeat(401)),
            StoredEmergency { until_ms: NOW, ..sound.clone() },
            StoredEmergency { until_ms: NOW - 1, ..sound.clone() },
            StoredEmergency { until_ms: NOW + MAX_EMERGENCY_MS + 1, ..sound.clone() },
            StoredEmergency { created_ms: i64::MIN, until_ms: i64::MAX, ..sound.clone() },
            StoredEmergency { cameras: cameras(0), ..sound.clone() },
            StoredEmergency { cameras: cameras(1001), ..sound.clone() },
        ] {
            let done = self.writer.declare(bad, row("bad")).await;
            self.refuses(done, "bad").await;
        }
        assert_eq!(self.lasting(NOW).await, []);
        let just = [
            sound.clone(),
            StoredEmergency { id: new_id(), created_ms: NOW + 1, ..of(&"ừ".repeat(400)) },
            StoredEmergency { cameras: cameras(1000), ..emergency(NOW + 2, NOW + 3) },
            StoredEmergency { cameras: cameras(1), ..emergency(NOW + 3, NOW + 9) },
        ];
        for allowed in &just {
            self.writer.declare(allowed.clone(), row("declare")).await.expect("just allowed");
        }
        assert_eq!(self.lasting(NOW + 2).await, just, "of all cameras, and of some");
        assert_eq!(self.count("declare").await, just.len());
    }

    async fn an_emergency_lasts_until_its_end_or_earlier(&self) {
        let (short, long) = (emergency(NOW, NOW + 10), emergency(NOW + 1, NOW + 20));
        for declared in [&short, &long] {
            self.writer.declare(declared.clone(), row("declare")).await.expect("declared");
        }
        let end = async |id: &str, at_ms, action| {
            self.writer.end_emergency(id.into(), at_ms, row(action)).await.expect("answers")
        };
        assert_eq!(self.lasting(NOW + 9).await, [short.clone(), long.clone()]);
        assert_eq!(self.lasting(NOW + 10).await, std::slice::from_ref(&long));
        assert!(!end(&short.id, NOW + 10, "over").await && !end(&new_id(), NOW + 10, "over").await);
        assert_eq!(self.count("over").await, 0);
        let both = tokio::join!(end(&long.id, NOW + 19, "end"), end(&long.id, NOW + 19, "end"));
        assert!(both.0 != both.1 && !end(&long.id, NOW + 19, "end").await, "it ends once");
        assert_eq!((self.lasting(NOW + 19).await, self.count("end").await), (Vec::new(), 1));
    }
}

impl<W: CentreStore + CommandStore + HoldStore, R> Subject<W, R> {
    async fn commit(&self, item: Item) {
        self.writer.commit(Arc::new(vec![item]), NOW).await.expect("committed");
    }

    async fn hold(&self, after: i64, life: i64) -> String {
        let hold = of_range("hold", after, life);
        self.writer.order("node-1".into(), hold.clone()).await.expect("kept");
        hold.id
    }

    async fn node_is_there(&self) {
        let (version, boot_id, since) = ("0".into(), "boot".into(), "2026-11-24T12:00:00Z".into());
        let status = Some(PeerStatus { state: PeerState::Online, version, boot_id, since });
        self.commit(Item::Node { node: "node-1".into(), status }).await;
    }

    async fn holds_are_listed_by_what_became_of_them(&self) {
        self.node_is_there().await;
        let answer = async |id: &str, state, hold| {
            let answer = Answer { hold, ..Answer::new(id, state, "") };
            self.commit(Item::Answer { node: "node-1".into(), answer }).await;
        };
        // Not in the order in which they were issued.
        let (mut ids, order) = (vec![String::new(); 7], [3, 0, 6, 1, 5, 2, 4]);
        for n in order {
            ids[n as usize] = self.hold(n, if n == 4 { MINUTE } else { DAY }).await;
        }
        self.writer.order("node-1".into(), of_range("clip", 9, DAY)).await.expect("kept");
        for (n, state) in [(1, HoldState::Held), (2, HoldState::TooLate), (6, HoldState::Held)] {
            answer(&ids[n], AnswerState::Done, Some(state)).await;
        }
        answer(&ids[3], AnswerState::Failed, None).await;
        let release = command(9, DAY, json!({"kind": "release", "hold": ids[6]}));
        self.writer.order("node-1".into(), release.clone()).await.expect("kept");
        answer(&release.id, AnswerState::Done, Some(HoldState::Released)).await;
        self.writer.pending(NOW + 10 * MINUTE).await.expect("the fifth has expired");
        let list =
            async |active, limit| -> Vec<StoredHold> { self.writer.holds(active, limit).await.expect("readable") };
        let states = ["pending", "held", "too_late", "failed", "failed", "pending", "released"];
        let wanted = |n: usize| StoredHold {
            id: ids[n].clone(),
            node: "node-1".into(),
            camera: "ngo-12".into(),
            from_ms: NOW - 60 * MINUTE,
            to_ms: NOW - 50 * MINUTE,
            issuer: "an".into(),
            reason: "vụ 7".into(),
            issued_ms: NOW + n as i64,
            state: states[n].into(),
        };
        assert_eq!(list(false, MAX_HOLDS).await, [6, 5, 4, 3, 2, 1, 0].map(wanted), "the newest first");
        assert_eq!(list(true, MAX_HOLDS).await, [5, 4, 3, 1, 0].map(wanted), "those that may be released");
        assert_eq!(list(false, 2).await, [6, 5].map(wanted));
        assert_eq!(list(true, 2).await, [5, 4].map(wanted));
        assert_eq!(list(false, 0).await, []);
        assert!(list(true, MAX_HOLDS).await.iter().all(StoredHold::is_active));
        assert_eq!(list(false, MAX_HOLDS).await.iter().filter(|hold| hold.is_active()).count(), 5);
    }

    async fn a_list_of_holds_has_an_end(&self) {
        self.node_is_there().await;
        let many = MAX_HOLDS as i64 + 2;
        for n in 0..many {
            self.hold(n, DAY).await;
        }
        let found = self.writer.holds(false, usize::MAX).await.expect("readable");
        let newest: Vec<i64> = (2..many).rev().map(|n| NOW + n).collect();
        assert_eq!(found.iter().map(|hold| hold.issued_ms).collect::<Vec<_>>(), newest);
    }
}

impl<W: CameraInfoStore, R> Subject<W, R> {
    async fn a_node_tells_of_all_its_cameras_at_once(&self) {
        let describe = async |node: &str, revision, cameras: &[CameraInfo]| {
            self.writer.describe(node.into(), revision, cameras.to_vec(), NOW + revision as i64).await.expect("kept");
        };
        let of = |node: &str, revision: u64, camera: &CameraInfo| StoredInfo {
            node: node.into(),
            revision,
            camera: camera.clone(),
            updated_ms: NOW + revision as i64,
        };
        let (a, b, c) = (info("a", "Cổng"), info("a-1", "Ngõ 12"), info("a1", "Sân"));
        let renamed = CameraInfo { position: None, sharing: Sharing::Listed, ..info("a-1", "Đầu ngõ 12") };
        let all = async || self.writer.descriptions().await.expect("readable");
        assert_eq!(all().await, []);
        describe("node-2", 9, std::slice::from_ref(&a)).await;
        describe("node-1", 3, &[c.clone(), b.clone(), a.clone()]).await;
        let other = of("node-2", 9, &a);
        assert_eq!(all().await, [of("node-1", 3, &a), of("node-1", 3, &b), of("node-1", 3, &c), other.clone()]);
        describe("node-1", 4, &[c.clone(), renamed.clone()]).await;
        assert_eq!(all().await, [of("node-1", 4, &renamed), of("node-1", 4, &c), other.clone()], "one is forgotten");
        describe("node-1", 5, &[]).await;
        assert_eq!(all().await, [other]);
    }
}

impl<W: CentreStore + TriageStore + WebhookStore, R> Subject<W, R> {
    async fn happens(&self, made: &[Made], at_ms: i64) {
        self.writer.commit(Arc::new(made.iter().map(Made::item).collect()), at_ms).await.expect("committed");
    }

    async fn due(&self, at_ms: i64, each: usize, flying: &[&Delivery]) -> Vec<Delivery> {
        let flying = flying.iter().map(|delivery| delivery.id.clone()).collect();
        self.writer.due(at_ms, each, flying).await.expect("readable")
    }

    /// What is due of `webhook`.
    async fn of(&self, webhook: &str, at_ms: i64) -> Vec<Delivery> {
        let due = self.due(at_ms, 100, &[]).await;
        due.into_iter().filter(|delivery| delivery.webhook == webhook).collect()
    }

    async fn settle(&self, delivery: &Delivery, fate: Fate, at_ms: i64) {
        self.writer.settle(delivery.id.clone(), fate, at_ms).await.expect("kept");
    }

    async fn standing(&self, webhook: &str, at_ms: i64) -> (Standing, u64) {
        self.writer.standings(vec![webhook.into()], at_ms).await.expect("readable").swap_remove(0)
    }

    async fn who_wants_it_is_told_with_the_commit(&self) {
        let (alert, notice) = (Made::new(), Made { severity: Severity::Notice, ..Made::new() });
        self.happens(&[notice, alert.clone()], NOW).await;
        assert_eq!(self.due(NOW - 1, 100, &[]).await, []);
        let [told] = self.due(NOW, 100, &[]).await.try_into().expect("of the alert, and to one receiver");
        assert_eq!((told.webhook.as_str(), told.created_ms, told.attempts), ("all", NOW, 0));
        let body: Value = serde_json::from_str(&told.body).expect("JSON");
        assert_eq!((&body["id"], &body["what"], &body["event"]), (&json!(told.id), &json!("alert"), &json!(alert.id)));
        self.happens(&[alert.clone(), Made { revision: 2, ..alert.clone() }], NOW + 1).await;
        assert_eq!(self.due(NOW + 1, 100, &[]).await, std::slice::from_ref(&told), "it was told of already");
        let act = async |act, version| {
            let (event, by) = ((alert.node.clone(), alert.id.clone()), Officer { id: "an".into(), commander: false });
            self.writer.act(event, act, by, version, NOW + 2).await.expect("answers").is_ok()
        };
        assert!(!act(Act::Dispatch, 7).await && act(Act::Own, 0).await);
        assert_eq!(self.due(NOW + 2, 100, &[]).await, [told], "what was refused is told to nobody");
        assert!(act(Act::Dispatch, 1).await);
        let due = self.due(NOW + 2, 100, &[]).await;
        let receivers: BTreeSet<&str> = due[1..].iter().map(|delivery| delivery.webhook.as_str()).collect();
        assert_eq!((due.len(), receivers), (3, BTreeSet::from(["all", "patrols"])));
        assert_ne!(due[1].id, due[2].id, "each knows it by an id of its own");
    }

    async fn the_longest_due_is_told_first_of_each_receiver(&self) {
        for n in 0..4 {
            self.happens(&[Made::new()], NOW + n).await;
        }
        let times = |due: &[Delivery]| due.iter().map(|delivery| delivery.created_ms - NOW).collect::<Vec<_>>();
        assert_eq!(times(&self.due(NOW + 2, 100, &[]).await), [0, 0, 1, 1, 2, 2]);
        assert_eq!(times(&self.due(NOW + 3, 2, &[]).await), [0, 0, 1, 1], "so many of each receiver");
        assert_eq!(self.due(NOW + 3, 0, &[]).await, []);
        let north = self.of("north", NOW + 3).await;
        let south = self.of("south", NOW + 3).await;
        assert_eq!((times(&north), times(&south)), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
        let rest = self.due(NOW + 3, 2, &[&north[0], &south[1]]).await;
        let (of_north, of_south): (Vec<_>, Vec<_>) = rest.into_iter().partition(|delivery| delivery.webhook == "north");
        assert_eq!((of_north, of_south), (north[1..3].to_vec(), vec![south[0].clone(), south[2].clone()]));
        // One is tried again at its time, one was taken, one is given up.
        self.settle(&north[0], Fate::Again { at_ms: NOW + 50, why: "503".into() }, NOW + 4).await;
        self.settle(&north[1], Fate::Taken, NOW + 4).await;
        self.settle(&north[2], Fate::GivenUp { why: "410".into() }, NOW + 4).await;
        assert_eq!(self.of("north", NOW + 49).await, [north[3].clone()]);
        let again = Delivery { attempts: 1, ..north[0].clone() };
        assert_eq!(self.of("north", NOW + 50).await, [north[3].clone(), again.clone()], "the same, later");
        let first = self.due(NOW + 50, 1, &[]).await.into_iter().find(|delivery| delivery.webhook == "north");
        assert_eq!(first.as_ref(), Some(&north[3]));
        self.settle(&again, Fate::Again { at_ms: NOW + 90, why: "503".into() }, NOW + 50).await;
        let twice = Delivery { attempts: 2, ..again };
        assert_eq!(self.of("north", NOW + 400 * DAY).await, [north[3].clone(), twice]);
        assert_eq!(self.of("south", NOW + 400 * DAY).await, south, "the other is told what it was to be told");
    }

    async fn receivers_stand_as_they_were_told(&self) {
        for n in 0..3 {
            self.happens(&[Made::new()], NOW + n).await;
        }
        let stands = |webhook: &str, waiting, since: Option<i64>, given_up, trouble: Option<&str>| Standing {
            webhook: webhook.into(),
            waiting,
            waiting_since_ms: since.map(|ms| NOW + ms),
            given_up,
            trouble: trouble.map(Into::into),
        };
        let known = ["south", "nobody", "north"].map(str::to_owned).to_vec();
        let found = self.writer.standings(known, NOW + 5).await.expect("readable");
        let wanted = [
            (stands("south", 3, Some(0), 0, None), 0),
            (stands("nobody", 0, None, 0, None), 0),
            (stands("north", 3, Some(0), 0, None), 0),
        ];
        assert_eq!(found, wanted);
        let (north, south) = (self.of("north", NOW + 5).await, self.of("south", NOW + 5).await);
        self.settle(&south[0], Fate::GivenUp { why: "404".into() }, NOW + 5).await;
        self.settle(&north[0], Fate::Again { at_ms: NOW + 50, why: "503".into() }, NOW + 5).await;
        assert_eq!(self.standing("north", NOW + 6).await, (stands("north", 3, Some(0), 0, Some("503")), 0));
        self.settle(&north[0], Fate::GivenUp { why: "410".into() }, NOW + 50).await;
        self.settle(&north[1], Fate::Taken, NOW + 50).await;
        assert_eq!(self.standing("north", NOW + 51).await, (stands("north", 1, Some(2), 1, Some("410")), 0));
        self.settle(&north[2], Fate::Taken, NOW + 51).await;
        let week = 7 * DAY;
        assert_eq!(self.standing("north", NOW + 50 + week).await, (stands("north", 0, None, 1, Some("410")), 0));
        assert_eq!(self.standing("north", NOW + 51 + week).await, (stands("north", 0, None, 0, None), 0));
    }

    async fn whoever_is_no_longer_known_is_told_nothing(&self) {
        self.happens(&[Made::new(), Made::new()], NOW).await;
        let south = self.of("south", NOW).await;
        self.settle(&south[0], Fate::GivenUp { why: "404".into() }, NOW).await;
        let (north, _) = self.standing("north", NOW).await;
        assert_eq!((north.waiting, self.of("south", NOW + DAY).await), (2, Vec::new()));
        let (south, _) = self.standing("south", NOW + DAY).await;
        assert_eq!((south.waiting, south.given_up), (0, 1), "what was given up stays for a person");
        assert_eq!(self.of("north", NOW + DAY).await, []);
    }

    async fn of_too_many_the_oldest_are_given_up(&self) {
        self.happens(&[Made::new(), Made::new(), Made::new()], NOW).await;
        let many: Vec<Made> = (0..10_000).map(|_| Made::new()).collect();
        self.happens(&many, NOW + 1).await;
        let (standing, over) = self.standing("north", NOW + 2).await;
        assert_eq!(
            (standing.waiting, standing.waiting_since_ms, standing.given_up, over),
            (10_000, Some(NOW + 1), 3, 3)
        );
        assert!(standing.trouble.is_some());
        let (standing, over) = self.standing("north", NOW + 3).await;
        assert_eq!((standing.waiting, standing.given_up, over), (10_000, 3, 0), "so many may wait");
    }
}

const BOTH: &[(&str, &[What])] = &[("north", &What::ALL), ("south", &What::ALL)];

#[tokio::test]
async fn filters_of_the_log_find_what_a_naive_search_finds() {
    for seed in [1, 2] {
        sqlite(&[]).filters_are_those_of_a_naive_search(seed).await;
    }
}

#[tokio::test]
async fn pages_of_the_log_are_whole_while_it_grows() {
    sqlite(&[]).pages_stay_whole_while_rows_come().await;
}

#[tokio::test]
async fn questions_about_the_log_are_bounded() {
    sqlite(&[]).what_is_asked_has_bounds().await;
}

#[tokio::test]
async fn an_emergency_has_a_reason_and_an_end() {
    sqlite(&[]).an_emergency_is_sound_or_never_begins().await;
}

#[tokio::test]
async fn emergencies_end() {
    sqlite(&[]).an_emergency_lasts_until_its_end_or_earlier().await;
}

#[tokio::test]
async fn holds_are_found_by_their_state() {
    sqlite(&[]).holds_are_listed_by_what_became_of_them().await;
}

#[tokio::test]
async fn the_newest_holds_are_listed() {
    sqlite(&[]).a_list_of_holds_has_an_end().await;
}

#[tokio::test]
async fn what_a_node_tells_takes_the_place_of_what_it_told() {
    sqlite(&[]).a_node_tells_of_all_its_cameras_at_once().await;
}

#[tokio::test]
async fn an_alert_and_a_patrol_are_told_of() {
    sqlite(&[("all", &What::ALL), ("patrols", &[What::Dispatch])]).who_wants_it_is_told_with_the_commit().await;
}

#[tokio::test]
async fn deliveries_are_due_in_order() {
    sqlite(BOTH).the_longest_due_is_told_first_of_each_receiver().await;
}

#[tokio::test]
async fn each_receiver_stands_for_itself() {
    sqlite(BOTH).receivers_stand_as_they_were_told().await;
}

#[tokio::test]
async fn a_receiver_that_was_removed_is_forgotten() {
    sqlite(BOTH).whoever_is_no_longer_known_is_told_nothing().await;
}

#[tokio::test]
async fn what_waits_for_a_receiver_has_an_end() {
    sqlite(&BOTH[..1]).of_too_many_the_oldest_are_given_up().await;
}
