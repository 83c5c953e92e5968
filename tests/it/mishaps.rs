//! Random bad days of the outbox: whatever fails in whatever order, everything arrives once it works again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use wardwatch::base::Stamp;
use wardwatch::base::types::Phase;
use wardwatch::publish::outbox::{Input, Output, Pump, WINDOW};
use wardwatch::store::{Row, Store};
use wardwatch::wire::receipt::Receipt;

use crate::support::post::{new_id, now, open_store, report};

const QUOTA: u64 = 1 << 30;

/// One step of a bad day: the pump and a real store against a broker and a centre that fail in every way.
#[derive(Clone, Debug)]
enum Mishap {
    Commit {
        event: usize,
        end: bool,
    },
    /// The broker takes the oldest message it has not answered, and passes it to the centre if that is there.
    Take,
    /// The centre's receipts for what it has reach the node.
    Receipt,
    /// They get lost instead.
    LoseReceipt,
    BreakOff,
    Connect,
    CentreDies,
    CentreComes,
    Timeout,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        8 => (0..8usize, any::<bool>()).prop_map(|(event, end)| Mishap::Commit { event, end }),
        12 => Just(Mishap::Take),
        8 => Just(Mishap::Receipt),
        2 => Just(Mishap::LoseReceipt),
        2 => Just(Mishap::BreakOff),
        4 => Just(Mishap::Connect),
        1 => Just(Mishap::CentreDies),
        2 => Just(Mishap::CentreComes),
        1 => Just(Mishap::Timeout),
    ]
}

struct Day {
    store: Store,
    pump: Pump,
    clock: Stamp,
    connected: bool,
    wire: VecDeque<Row>,
    centre: Option<u32>,
    boots: u32,
    /// What the centre has, and the receipts it has not delivered.
    has: BTreeSet<(String, u32)>,
    receipts: Vec<(String, u32)>,
    open: BTreeMap<usize, String>,
    newest: BTreeMap<String, u32>,
}

impl Day {
    async fn feed(&mut self, input: Input) {
        let mut outputs = VecDeque::from(self.pump.step(input));
        while let Some(output) = outputs.pop_front() {
            let answer = match output {
                Output::ResetSent => self.store.reset_sent().await.map(|_| None),
                Output::Fetch { rows, bytes } => {
                    self.store.next_batch(rows, bytes, self.clock).await.map(|r| Some(Input::Rows(r)))
                }
                Output::Send(rows) => {
                    assert!(self.connected);
                    let ids = rows.iter().map(|r| r.id).collect();
                    self.wire.extend(rows);
                    self.store.mark_sent(ids, self.clock).await.map(|()| None)
                }
                Output::Expire { centre_there } => self
                    .store
                    .expire_sent(Duration::from_secs(30), centre_there, self.clock)
                    .await
                    .map(|e| Some(Input::Expired(e))),
                Output::RetryParked => self.store.retry_parked().await.map(|_| Some(Input::Wake)),
                Output::Touch(rows) => self.store.touch_sent(rows, self.clock).await.map(|()| None),
                Output::Park { .. } => panic!("nothing here deserves it"),
            };
            if let Some(answer) = answer.expect("the store works") {
                outputs.extend(self.pump.step(answer));
            }
        }
        assert!(self.pump.in_flight() <= WINDOW);
        assert!(self.store.depths().await.expect("readable").sent <= WINDOW as u64);
    }

    async fn apply(&mut self, mishap: Mishap) {
        self.clock = self.clock.plus(Duration::from_millis(10));
        match mishap {
            Mishap::Commit { event, end } => {
                let (id, phase) = match self.open.get(&event) {
                    None => (self.open.entry(event).or_insert_with(new_id).clone(), Phase::Started),
                    Some(id) if end => (id.clone(), Phase::Ended),
                    Some(id) => (id.clone(), Phase::Updated),
                };
                if phase == Phase::Ended {
                    self.open.remove(&event);
                }
                let committed = self.store.commit(report(&id, phase), None, self.clock).await.expect("commits");
                self.newest.insert(id, committed.revision);
                self.feed(Input::Wake).await;
            }
            Mishap::Take if self.connected => {
                if let Some(row) = self.wire.pop_front() {
                    if self.centre.is_some() {
                        self.has.insert((row.event.clone(), row.revision));
                        self.receipts.push((row.event, row.revision));
                    }
                    self.feed(Input::Acked { row: row.id, refused: None }).await;
                }
            }
            Mishap::Receipt if self.connected => {
                let receipt = Receipt { events: std::mem::take(&mut self.receipts), snapshots: vec![] };
                let done = self.store.receipt(receipt, self.clock).await.expect("receipted");
                self.feed(Input::Receipted(done.rows)).await;
            }
            Mishap::LoseReceipt => self.receipts.clear(),
            Mishap::BreakOff if self.connected => {
                self.connected = false;
                self.wire.clear();
                self.feed(Input::Disconnected { objection: false }).await;
            }
            Mishap::Connect if !self.connected => {
                self.connected = true;
                self.feed(Input::Connected { max_packet: 1 << 20 }).await;
                self.tell_centre(true).await;
            }
            Mishap::CentreDies => {
                self.centre = None;
                self.receipts.clear();
                self.tell_centre(false).await;
            }
            Mishap::CentreComes if self.centre.is_none() => {
                self.boots += 1;
                self.centre = Some(self.boots);
                self.tell_centre(false).await;
            }
            Mishap::Timeout => {
                self.clock = self.clock.plus(Duration::from_secs(31));
                self.feed(Input::Tick).await;
            }
            _ => {}
        }
    }

    async fn tell_centre(&mut self, retained: bool) {
        if self.connected {
            let boot_id = self.boots.to_string();
            self.feed(Input::Centre { online: self.centre.is_some(), boot_id, retained }).await;
        }
    }

    /// Everything works again: the outbox must empty itself, and the centre must have the newest of everything.
    async fn recover(mut self) {
        // A row's time begins at the first tick after the broker took it, so that two are needed.
        for mishap in [Mishap::Connect, Mishap::CentreComes, Mishap::Timeout, Mishap::Timeout] {
            self.apply(mishap).await;
        }
        // A row that went unanswered too often was put aside; the hour has passed.
        self.store.retry_parked().await.expect("retried");
        self.feed(Input::Wake).await;
        for _ in 0..2000 {
            let depths = self.store.depths().await.expect("readable");
            if depths.pending + depths.sent == 0 {
                break;
            }
            self.apply(Mishap::Take).await;
            self.apply(Mishap::Receipt).await;
        }
        let depths = self.store.depths().await.expect("readable");
        assert_eq!((depths.pending, depths.sent, depths.parked), (0, 0, 0));
        for (id, newest) in self.newest {
            assert!(self.has.contains(&(id.clone(), 1)), "the start of {id} is missing");
            assert!(self.has.contains(&(id.clone(), newest)), "revision {newest} of {id} is missing");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_fails_everything_arrives_once_it_works_again(mishaps in proptest::collection::vec(mishap(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("dir");
            let (store, _) = open_store(directory.path(), QUOTA);
            let mut day = Day {
                store, pump: Pump::default(), clock: now(), connected: false, wire: VecDeque::new(), centre: None,
                boots: 0, has: BTreeSet::new(), receipts: vec![], open: BTreeMap::new(), newest: BTreeMap::new(),
            };
            for mishap in mishaps {
                day.apply(mishap).await;
            }
            day.recover().await;
        });
    }
}
