//! The node's store: what was committed is neither lost nor reordered, whatever happens in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use proptest::prelude::*;
use wardwatch::base::geometry::RelativeBox;
use wardwatch::base::types::{Phantom, Phase, Severity};
use wardwatch::base::{ErrorKind, Stamp};
use wardwatch::store::{Body, MAX_UNANSWERED, Row, Settings, Store};
use wardwatch::wire::event::{Event, PhaseJson};
use wardwatch::wire::receipt::Receipt;

use crate::support::disk::SmallDisk;
use crate::support::post::{CAMERA, new_id, now, open_store, origin, picture, report, until, with_picture};

const QUOTA: u64 = 1 << 30;

/// One step of a node's life.
#[derive(Clone, Debug)]
enum Step {
    Report { event: usize, phase: Phase, alert: bool, picture: bool },
    Send(usize),
    Receipt { nth: usize },
    Reset,
    Timeout,
    EndOpen,
}

fn step() -> impl Strategy<Value = Step> {
    let phase = prop_oneof![Just(Phase::Started), Just(Phase::Updated), Just(Phase::Updated), Just(Phase::Ended)];
    prop_oneof![
        8 => (0..6usize, phase, any::<bool>(), any::<bool>())
            .prop_map(|(event, phase, alert, picture)| Step::Report { event, phase, alert, picture }),
        3 => (1..5usize).prop_map(Step::Send),
        3 => (0..8usize).prop_map(|nth| Step::Receipt { nth }),
        1 => Just(Step::Reset),
        1 => Just(Step::Timeout),
        1 => Just(Step::EndOpen),
    ]
}

/// What the test knows besides.
#[derive(Default)]
struct Model {
    ids: BTreeMap<usize, String>,
    ended: BTreeSet<String>,
    /// The newest revision that `commit` gave out.
    newest: BTreeMap<String, u32>,
    seq: u64,
    /// Rows handed to the broker and not receipted: they may never vanish.
    out: Vec<Row>,
    /// Everything receipted: (event, revision) → phase.
    told: BTreeMap<(String, u32), PhaseJson>,
    clock: Stamp,
}

pub async fn pending(store: &Store, at: Stamp) -> Vec<Row> {
    store.next_batch(10_000, usize::MAX, at).await.expect("readable")
}

pub fn parsed(row: &Row) -> Option<Event> {
    match &row.body {
        Body::Event(json) => Some(serde_json::from_slice(json).expect("event JSON")),
        Body::Snapshot { .. } => None,
    }
}

fn receipt_for(row: &Row) -> Receipt {
    match &row.body {
        Body::Event(_) => Receipt { events: vec![(row.event.clone(), row.revision)], snapshots: vec![] },
        Body::Snapshot { sha256, .. } => Receipt { events: vec![], snapshots: vec![sha256.clone()] },
    }
}

impl Model {
    async fn apply(&mut self, store: &Store, step: Step) {
        self.clock = self.clock.plus(Duration::from_millis(10));
        match step {
            Step::Report { event, phase, alert, picture: wanted } => {
                let fresh = !self.ids.contains_key(&event);
                let id = self.ids.entry(event).or_insert_with(new_id).clone();
                let mut report = report(&id, phase);
                report.severity = if alert { Severity::Alert } else { Severity::Notice };
                let snapshot = wanted.then(|| picture(1000));
                if let Some(s) = &snapshot {
                    report = with_picture(report, s);
                }
                let legal = fresh == (phase == Phase::Started) && !self.ended.contains(&id);
                match store.commit(report, snapshot, self.clock).await {
                    Ok(committed) => {
                        assert!(legal, "{id} {phase:?}");
                        assert!(committed.seq > self.seq, "seq grows");
                        let last = self.newest.insert(id.clone(), committed.revision).unwrap_or(0);
                        assert!(committed.revision > last, "revisions grow");
                        assert!(!fresh || committed.revision == 1);
                        self.seq = committed.seq;
                        if phase == Phase::Ended {
                            self.ended.insert(id);
                        }
                    }
                    Err(e) => {
                        assert!(!legal, "{e}");
                        assert_eq!(e.kind(), ErrorKind::Invalid);
                        if fresh {
                            self.ids.remove(&event);
                        }
                    }
                }
            }
            Step::Send(n) => {
                let all = pending(store, self.clock).await;
                let batch = store.next_batch(n, usize::MAX, self.clock).await.expect("readable");
                assert_eq!(batch, all[..n.min(all.len())], "a batch is the front of the queue");
                store.mark_sent(batch.iter().map(|r| r.id).collect(), self.clock).await.expect("marked");
                self.out.extend(batch);
            }
            Step::Receipt { nth } => {
                if nth < self.out.len() {
                    self.receipt(store, nth).await;
                }
            }
            Step::Reset => {
                store.reset_sent().await.expect("reset");
            }
            Step::Timeout => {
                self.clock = self.clock.plus(Duration::from_secs(60));
                store.expire_sent(Duration::from_secs(30), false, self.clock).await.expect("expired");
            }
            Step::EndOpen => {
                for committed in store.end_open_events(None, self.clock).await.expect("ended") {
                    assert!(committed.seq > self.seq, "seq grows");
                    self.seq = committed.seq;
                    self.newest.insert(committed.id.clone(), committed.revision);
                    assert!(self.ended.insert(committed.id), "only open events are ended");
                }
            }
        }
        self.check(store).await;
    }

    async fn receipt(&mut self, store: &Store, nth: usize) {
        let row = self.out.remove(nth);
        store.receipt(receipt_for(&row), self.clock).await.expect("receipted");
        if let Some(event) = parsed(&row) {
            self.told.insert((event.id, event.revision), event.phase);
        }
        // A row that went twice is receipted once for both.
        self.out.retain(|r| r.id != row.id);
    }

    async fn check(&self, store: &Store) {
        let waiting = pending(store, self.clock).await;
        let depths = store.depths().await.expect("readable");
        assert_eq!(depths.pending, waiting.len() as u64);
        // Order within an event, also across the live lane.
        let mut last: BTreeMap<(&str, bool), u32> = BTreeMap::new();
        for row in &waiting {
            let picture = matches!(row.body, Body::Snapshot { .. });
            let before = last.insert((&row.event, picture), row.revision).unwrap_or(0);
            assert!(before < row.revision, "an older revision waits behind a newer one");
        }
        // What was handed over and not receipted is still there, or its picture fell to the quota.
        let sent = self.out.iter().map(|r| r.id).collect::<BTreeSet<_>>();
        let events_out = self.out.iter().filter(|r| matches!(r.body, Body::Event(_))).map(|r| r.id);
        let back = waiting.iter().map(|r| r.id).collect::<BTreeSet<_>>();
        let not_back = events_out.filter(|id| !back.contains(id)).collect::<BTreeSet<_>>();
        assert!(not_back.len() as u64 <= depths.sent, "a row vanished without a receipt");
        assert!(depths.sent <= sent.len() as u64);
    }

    /// Sends and receipts all there is, then judges what the centre was told.
    async fn finish(mut self, store: &Store) {
        store.reset_sent().await.expect("reset");
        for _ in 0..1000 {
            let batch = store.next_batch(16, usize::MAX, self.clock).await.expect("readable");
            if batch.is_empty() {
                break;
            }
            store.mark_sent(batch.iter().map(|r| r.id).collect(), self.clock).await.expect("marked");
            self.out = batch;
            while !self.out.is_empty() {
                self.receipt(store, 0).await;
            }
        }
        let depths = store.depths().await.expect("readable");
        assert_eq!((depths.pending, depths.sent, depths.snapshot_bytes), (0, 0, 0));
        for (id, newest) in &self.newest {
            let told: Vec<_> = self.told.range((id.clone(), 0)..=(id.clone(), u32::MAX)).collect();
            assert_eq!(told[0], (&(id.clone(), 1), &PhaseJson::Started), "a start is always told");
            let last = told.last().expect("at least the start").0.1;
            assert!(last >= *newest, "the newest revision is always told");
            let order = |p: &PhaseJson| *p as u8;
            assert!(told.windows(2).all(|w| order(w[0].1) <= order(w[1].1)), "started, updated, ended");
            if self.ended.contains(id) {
                assert_eq!(told.last().expect("some").1, &PhaseJson::Ended);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_or_reordered(steps in proptest::collection::vec(step(), 1..50), quota in prop_oneof![Just(QUOTA), Just(2500u64)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("dir");
            let (store, _) = open_store(directory.path(), quota);
            let mut model = Model { clock: now(), ..Model::default() };
            for step in steps {
                model.apply(&store, step).await;
            }
            model.finish(&store).await;
        });
    }
}

#[tokio::test]
async fn a_fresh_alert_goes_ahead_of_the_backlog_and_an_old_one_waits_its_turn() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let notice = |id: &str| {
        let mut r = report(id, Phase::Started);
        r.severity = Severity::Notice;
        r
    };
    let (old, middle, fresh) = (new_id(), new_id(), new_id());
    let begin = now();
    store.commit(notice(&old), None, begin).await.expect("commits");
    store.commit(report(&middle, Phase::Started), None, begin).await.expect("commits");
    let later = begin.plus(Duration::from_secs(600));
    store.commit(report(&fresh, Phase::Started), None, later).await.expect("commits");
    let order: Vec<String> = pending(&store, later).await.into_iter().map(|r| r.event).collect();
    assert_eq!(order, [fresh, old, middle]);
}

#[tokio::test]
async fn a_notice_that_becomes_an_alert_goes_ahead_with_its_start() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let (backlog, rising) = (new_id(), new_id());
    for id in [&backlog, &rising] {
        let mut r = report(id, Phase::Started);
        r.severity = Severity::Notice;
        store.commit(r, None, now()).await.expect("commits");
    }
    store.commit(report(&rising, Phase::Updated), None, now()).await.expect("commits");
    let order: Vec<_> = pending(&store, now()).await.into_iter().map(|r| (r.event, r.revision)).collect();
    assert_eq!(order, [(rising.clone(), 1), (rising, 2), (backlog, 1)]);
}

#[tokio::test]
async fn unsent_updates_and_pictures_give_way_to_newer_ones_and_sent_ones_stay() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let id = new_id();
    let first = picture(1000);
    store.commit(with_picture(report(&id, Phase::Started), &first), Some(first.clone()), now()).await.expect("commits");
    for _ in 0..5 {
        let better = picture(1000);
        store.commit(with_picture(report(&id, Phase::Updated), &better), Some(better), now()).await.expect("commits");
    }
    let rows = pending(&store, now()).await;
    assert_eq!(rows.iter().map(|r| r.revision).collect::<Vec<_>>(), [1, 6, 6], "start, last update, last picture");
    store.mark_sent(rows.iter().map(|r| r.id).collect(), now()).await.expect("marked");
    store.reset_sent().await.expect("reset");
    store.commit(report(&id, Phase::Ended), None, now()).await.expect("commits");
    let rows = pending(&store, now()).await;
    assert_eq!(rows.iter().map(|r| r.revision).collect::<Vec<_>>(), [1, 6, 6, 7], "what was out may have arrived");
}

#[tokio::test]
async fn a_picture_that_is_not_what_its_hash_says_is_left_out_and_the_event_stays() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let (id, mut snapshot) = (new_id(), picture(1000));
    let r = with_picture(report(&id, Phase::Started), &snapshot);
    snapshot.jpeg = picture(1000).jpeg;
    let committed = store.commit(r, Some(snapshot), now()).await.expect("commits");
    assert!(committed.snapshot_refused);
    let rows = pending(&store, now()).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(parsed(&rows[0]).expect("an event").snapshot, None);
}

#[tokio::test]
async fn a_restart_keeps_rows_and_numbers_and_ends_what_was_open() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let id = new_id();
    let heard = now();
    let before = store.commit(report(&id, Phase::Started), None, heard).await.expect("commits");
    let camera = CAMERA.parse().expect("valid");
    let phantoms = vec![Phantom {
        label: "person".into(),
        bbox: RelativeBox { left: 0.1, top: 0.1, right: 0.2, bottom: 0.2 },
        seen_seconds: 12.5,
        last_seen_ms: 7,
    }];
    store.set_phantoms(camera, phantoms.clone()).await.expect("kept");
    drop(store);
    let store = reopen(directory.path()).await;
    assert_eq!(store.phantoms(CAMERA.parse().expect("valid")).await.expect("readable"), phantoms);
    let ended = store.end_open_events(None, now()).await.expect("ended");
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].id.as_str(), ended[0].revision), (id.as_str(), 2));
    assert!(ended[0].seq > before.seq);
    assert_eq!(store.end_open_events(None, now()).await.expect("ended"), []);
    let e = store.commit(report(&id, Phase::Updated), None, now()).await.expect_err("it has ended");
    assert_eq!(e.kind(), ErrorKind::Invalid);
}

/// Opens it again after the last handle was dropped.
async fn reopen(directory: &std::path::Path) -> Store {
    let settings = || Settings { origin: origin(), snapshot_quota_bytes: QUOTA, ballast_bytes: 0 };
    closed(directory).await;
    let (store, writer, _) = Store::open(&directory.join("node.db"), settings(), now()).expect("opens");
    std::thread::spawn(move || writer.run());
    store
}

#[tokio::test]
async fn a_row_that_the_centre_never_receipts_is_parked_and_can_be_tried_again() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    store.commit(report(&new_id(), Phase::Started), None, now()).await.expect("commits");
    let mut at = now();
    for round in 1..=MAX_UNANSWERED {
        let rows = pending(&store, at).await;
        store.mark_sent(vec![rows[0].id], at).await.expect("marked");
        at = at.plus(Duration::from_secs(31));
        let expired = store.expire_sent(Duration::from_secs(30), true, at).await.expect("expired");
        assert_eq!(expired.parked.len(), usize::from(round == MAX_UNANSWERED));
    }
    assert_eq!(store.depths().await.expect("readable").parked, 1);
    assert_eq!(store.retry_parked().await.expect("retried"), 1);
    assert_eq!(pending(&store, at).await.len(), 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_kept_aside_and_the_others_go_on() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    for _ in 0..3 {
        store.commit(report(&new_id(), Phase::Started), None, now()).await.expect("commits");
    }
    let bad = pending(&store, now()).await[1].id;
    let connection = rusqlite::Connection::open(directory.path().join("node.db")).expect("opens");
    connection.execute("UPDATE outbox SET camera = 'Not A Name' WHERE id = ?1", [bad]).expect("changed");
    assert_eq!(pending(&store, now()).await.len(), 2);
    assert_eq!(store.depths().await.expect("readable").parked, 1);
}

#[tokio::test]
async fn a_batch_keeps_to_its_bytes_but_is_never_empty() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    for _ in 0..4 {
        let snapshot = picture(50_000);
        let r = with_picture(report(&new_id(), Phase::Started), &snapshot);
        store.commit(r, Some(snapshot), now()).await.expect("commits");
    }
    let sizes = async |bytes| store.next_batch(16, bytes, now()).await.expect("readable").len();
    assert_eq!((sizes(1).await, sizes(60_000).await, sizes(usize::MAX).await), (1, 3, 8));
}

#[tokio::test]
async fn old_finished_events_are_forgotten_and_unreceipted_ones_never() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let (done, waiting) = (new_id(), new_id());
    for id in [&done, &waiting] {
        store.commit(report(id, Phase::Started), None, now()).await.expect("commits");
        store.commit(report(id, Phase::Ended), None, now()).await.expect("commits");
    }
    let receipt = Receipt { events: vec![(done.clone(), 1), (done, 2)], snapshots: vec![] };
    assert_eq!(store.receipt(receipt, now()).await.expect("receipted").rows.len(), 2);
    assert_eq!(store.prune(i64::MAX).await.expect("pruned"), 1);
    assert_eq!(pending(&store, now()).await.len(), 2);
}

#[tokio::test]
async fn a_corrupt_database_is_put_aside_and_numbers_are_never_given_twice() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), QUOTA);
    let seq = store.commit(report(&new_id(), Phase::Started), None, now()).await.expect("commits").seq;
    drop(store);
    drop(reopen(directory.path()).await);
    let path = directory.path().join("node.db");
    closed(directory.path()).await;
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("there");
    file.seek(SeekFrom::Start(0)).expect("seeks");
    file.write_all(&[0xa5; 8192]).expect("written");
    drop(file);
    let (store, report_) = open_store(directory.path(), QUOTA);
    let aside = report_.quarantined.expect("reported");
    assert!(aside.exists(), "kept for a look");
    assert!(store.commit(report(&new_id(), Phase::Started), None, now()).await.expect("commits").seq > seq + 1_000_000);
}

#[tokio::test]
async fn what_a_damaged_page_leaves_readable_is_taken_over() {
    let directory = tempfile::tempdir().expect("dir");
    let path = directory.path().join("node.db");
    let (store, _) = open_store(directory.path(), QUOTA);
    let ids: Vec<String> = (0..200).map(|_| new_id()).collect();
    for id in &ids {
        store.commit(report(id, Phase::Started), None, now()).await.expect("commits");
    }
    drop(store);
    drop(reopen(directory.path()).await);
    closed(directory.path()).await;
    // A page of outbox payloads, found by what stands on it, is overwritten; nobody has noticed yet.
    let mut content = std::fs::read(&path).expect("readable");
    let marker = format!("\"id\":\"{}\"", ids[100]);
    let page = content.windows(marker.len()).rposition(|w| w == marker.as_bytes()).expect("stored") / 4096 * 4096;
    content[page..page + 4096].fill(0xa5);
    std::fs::write(&path, content).expect("written");
    let store = reopen(directory.path()).await;
    let e = store.next_batch(1000, usize::MAX, now()).await.expect_err("damaged");
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    drop(store);
    closed(directory.path()).await;
    // Closed in order, and checked all the same.
    let (store, opened) = open_store(directory.path(), QUOTA);
    assert!(opened.quarantined.is_some());
    assert!((150..200).contains(&opened.salvaged), "{opened:?}");
    let rows = pending(&store, now()).await;
    assert_eq!(rows.len() as u64, opened.salvaged);
    let ended = store.end_open_events(None, now()).await.expect("ended");
    assert!(ended.len() >= 150, "{}", ended.len());
}

/// The old writer ends a moment after its last handle is gone; until then the file is locked.
async fn closed(directory: &std::path::Path) {
    until("the old run lets go", || async {
        std::fs::File::open(directory.join("node.db.lock")).is_ok_and(|f| f.try_lock().is_ok())
    })
    .await;
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().expect("dir");
    let (_store, _) = open_store(directory.path(), QUOTA);
    let settings = Settings { origin: origin(), snapshot_quota_bytes: QUOTA, ballast_bytes: 0 };
    let e = Store::open(&directory.path().join("node.db"), settings, now()).err().expect("refused");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_lock_of_another_program_is_a_trouble_that_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open_store(&directory.path().join("node"), QUOTA);
    store.heartbeat().await.expect("nobody else is there");
    let lock = rusqlite::Connection::open(directory.path().join("node/node.db")).expect("opens");
    lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    let first = report(&new_id(), Phase::Started);
    // Not `Unavailable`, the end of the store's thread: that does not pass.
    let refused = store.commit(first.clone(), None, now()).await.expect_err("it is locked");
    assert_eq!(refused.kind(), ErrorKind::Timeout, "{refused}");
    assert_eq!(store.heartbeat().await.expect_err("locked").kind(), ErrorKind::Timeout);
    store.depths().await.expect("reading goes on");
    lock.execute_batch("ROLLBACK").expect("unlocked");
    store.commit(first, None, now()).await.expect("the same is taken now");
    assert_eq!(pending(&store, now()).await.len(), 1);
}

#[tokio::test]
async fn on_a_full_disk_the_room_kept_back_lets_receipts_empty_the_outbox() {
    let Some(disk) = SmallDisk::mount(48) else {
        eprintln!("not tested: tmpfs cannot be mounted here");
        return;
    };
    let (store, _) = open_store(&disk.path().join("node"), QUOTA);
    let commit = async || {
        let snapshot = picture(60_000);
        let r = with_picture(report(&new_id(), Phase::Started), &snapshot);
        store.commit(r, Some(snapshot), now()).await
    };
    for _ in 0..5 {
        commit().await.expect("there is room");
    }
    disk.fill();
    for _ in 0..3 {
        commit().await.expect("the room kept back is used");
    }
    let rows = pending(&store, now()).await;
    assert_eq!(rows.len(), 16);
    store.mark_sent(rows.iter().map(|r| r.id).collect(), now()).await.expect("marked");
    for row in &rows {
        store.receipt(receipt_for(row), now()).await.expect("receipted");
    }
    // What was given free is used again: this goes on for ever.
    for _ in 0..20 {
        commit().await.expect("there is room again");
        for row in pending(&store, now()).await {
            store.receipt(receipt_for(&row), now()).await.expect("receipted");
        }
    }
    // A disk that is full in earnest is said, and nothing that was committed is lost.
    let mut committed = 0;
    let e = loop {
        match commit().await {
            Ok(_) => committed += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(e.kind(), ErrorKind::Exhausted, "{e}");
    assert_eq!(pending(&store, now()).await.len(), 2 * committed);
}
