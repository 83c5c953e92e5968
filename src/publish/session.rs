//! One connection's life: subscribe, say that we are online, pump rows, take receipts, and at the end drain and say
//! goodbye. Whatever goes wrong ends the session; the caller makes a new one.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::link::{Arrived, Link, Message, Refusal, Signal};
use super::outbox::{Input, Output, Pump};
use super::presence::{CameraBoard, Verdict, judge};
use super::{DRAIN, RETRY_PARKED, Settings, TICK, Wiring, own_status, show_depths, stopping};
use crate::base::{Error, ErrorKind, Result, telemetry};
use crate::store::{Body, Row};
use crate::wire::receipt::{self, Receipt};
use crate::wire::status::{PeerState, PeerStatus};

/// Tokens at and above this are status messages; below are outbox rows.
const STATUS: u64 = 1 << 63;
/// Status messages before the broker at one time.
const STATUSES: usize = 64;
/// A picture that nobody fetched from the broker after this is dropped there; the outbox still has it.
const SNAPSHOT_EXPIRY: Duration = Duration::from_secs(3600);
/// How long saying goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// A session that lived this long worked.
const WORKED: Duration = Duration::from_secs(5);

/// How a session ended.
pub(super) enum End {
    /// The node stops; everything was said.
    Stopped,
    /// The connection or the store failed.
    Lost { error: Error, worked: bool },
    /// An older node of our name is there.
    NameTaken,
}

/// A connection with what runs over it.
pub(super) struct Session<'a, L: Link> {
    link: L,
    settings: &'a Settings,
    wiring: &'a mut Wiring,
    pump: Pump,
    board: CameraBoard,
    /// The broker took something.
    acked: bool,
    /// Status messages that it has not acknowledged.
    statuses: usize,
}

impl<'a, L: Link> Session<'a, L> {
    pub(super) fn new(link: L, settings: &'a Settings, wiring: &'a mut Wiring) -> Self {
        Self { link, settings, wiring, pump: Pump::default(), board: CameraBoard::default(), acked: false, statuses: 0 }
    }

    /// Runs until something ends it. `pump` remembers from session to session what the broker objected to.
    pub(super) async fn run(mut self, pump: &mut Pump) -> End {
        std::mem::swap(&mut self.pump, pump);
        let began = self.wiring.clock.now();
        let end = match self.serve().await {
            Ok(end) => end,
            Err(error) => {
                let worked = self.acked || self.wiring.clock.now().since(began) >= WORKED;
                End::Lost { error, worked }
            }
        };
        let objection = matches!(&end, End::Lost { error, .. } if error.kind() == ErrorKind::Invalid);
        let outputs = self.pump.step(Input::Disconnected { objection });
        if let Err(error) = self.perform(outputs).await {
            tracing::warn!(%error, "sent rows could not be taken back; the next connection does it");
        }
        std::mem::swap(&mut self.pump, pump);
        if !matches!(end, End::Lost { .. }) {
            self.link.close(FAREWELL).await;
        }
        end
    }

    async fn serve(&mut self) -> Result<End> {
        let topics = &self.settings.topics;
        self.link.subscribe(&[topics.receipt(), topics.centre_status(), topics.status(), topics.command()])?;
        self.say(PeerState::Online)?;
        metrics::gauge!(telemetry::BROKER_CONNECTED).set(1.0);
        self.wiring.health.send_modify(|h| (h.connected, h.name_taken, h.trouble) = (true, false, None));
        let statuses = self.wiring.cameras.borrow_and_update().clone();
        self.board.update(&statuses);
        let max_packet = self.link.max_packet();
        self.feed(Input::Connected { max_packet }).await?;
        let mut hint = self.wiring.store.hint();
        let mut rebuilt = self.wiring.store.rebuilt();
        rebuilt.mark_unchanged();
        let mut cameras = self.wiring.cameras.clone();
        let mut shutdown = self.wiring.shutdown.clone();
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry_parked = tokio::time::interval_at(tokio::time::Instant::now() + RETRY_PARKED, RETRY_PARKED);
        let mut cameras_gone = false;
        loop {
            self.send_statuses()?;
            tokio::select! {
                signal = self.link.next() => if let Some(end) = self.signal(signal?).await? { return Ok(end) },
                changed = hint.changed() => match changed {
                    Ok(()) => self.feed(Input::Wake).await?,
                    Err(_) => return Err(Error::new(ErrorKind::Unavailable, "the store has ended")),
                },
                // What is out may be lost with the old one, and would be waited for for ever.
                Ok(()) = rebuilt.changed() => return Err(Error::new(ErrorKind::Corrupt, "the store was made anew")),
                changed = cameras.changed(), if !cameras_gone => {
                    cameras_gone = changed.is_err();
                    let statuses = cameras.borrow_and_update().clone();
                    self.board.update(&statuses);
                }
                _ = ticker.tick() => {
                    self.wiring.pulse.beat();
                    self.feed(Input::Tick).await?;
                    show_depths(self.wiring).await?;
                }
                _ = retry_parked.tick() => drop(self.wiring.store.retry_parked().await?),
                Some(answer) = self.wiring.desk.answers.recv(), if self.statuses < STATUSES => self.answer(answer)?,
                () = stopping(&mut shutdown) => return self.drain().await,
            }
        }
    }

    /// Tells that we stop, waits for receipts while there is hope, tells that we are gone.
    async fn drain(&mut self) -> Result<End> {
        self.say(PeerState::Stopping)?;
        self.feed(Input::Wake).await?;
        let over = tokio::time::sleep(DRAIN);
        tokio::pin!(over);
        while !self.pump.is_done() {
            tokio::select! {
                signal = self.link.next() => if let Some(end) = self.signal(signal?).await? { return Ok(end) },
                () = &mut over => {
                    tracing::warn!(rows = self.pump.in_flight(), "stopping before the centre has receipted everything");
                    break;
                }
            }
        }
        self.say(PeerState::Offline)?;
        show_depths(self.wiring).await?;
        Ok(End::Stopped)
    }

    async fn signal(&mut self, signal: Signal<L::Ack>) -> Result<Option<End>> {
        match signal {
            Signal::Acked { token, refused } if token >= STATUS => {
                self.statuses = self.statuses.saturating_sub(1);
                if let Some(Refusal { reason, .. }) = refused {
                    tracing::error!(reason, "a status message or answer was refused; check the broker's access list");
                }
            }
            Signal::Acked { token, refused } => {
                self.acked = true;
                self.feed(Input::Acked { row: token as i64, refused }).await?;
            }
            Signal::Subscribed => {}
            Signal::Arrived(arrived) => return self.arrived(arrived).await,
        }
        Ok(None)
    }

    async fn arrived(&mut self, arrived: Arrived<L::Ack>) -> Result<Option<End>> {
        let topics = &self.settings.topics;
        if arrived.topic == topics.receipt() {
            match receipt::parse(&arrived.payload) {
                Ok(receipt) => self.receipt(receipt).await?,
                Err(error) => tracing::warn!(%error, "a receipt was ignored"),
            }
        } else if arrived.topic == topics.command() {
            let now = self.wiring.clock.now();
            let answer = self.wiring.desk.take(&arrived.payload, arrived.retained, now);
            // One too many is not told; the centre asks again.
            answer.filter(|_| self.statuses < STATUSES).map_or(Ok(()), |answer| self.answer(answer))?;
        } else if arrived.topic == topics.centre_status() {
            if let Ok(status) = serde_json::from_slice::<PeerStatus>(&arrived.payload) {
                let online = status.state == PeerState::Online;
                self.feed(Input::Centre { online, boot_id: status.boot_id, retained: arrived.retained }).await?;
                self.wiring.health.send_if_modified(|h| std::mem::replace(&mut h.centre_online, online) != online);
            }
        } else if arrived.topic == topics.status()
            && let Ok(status) = serde_json::from_slice::<PeerStatus>(&arrived.payload)
        {
            return self.own_topic(&status, arrived.retained);
        }
        Ok(None)
    }

    fn own_topic(&mut self, seen: &PeerStatus, retained: bool) -> Result<Option<End>> {
        let verdict = judge(&self.settings.boot_id, seen, retained);
        if matches!(verdict, Verdict::TwinOlder | Verdict::TwinYounger) {
            metrics::counter!(telemetry::NAME_CONFLICTS).increment(1);
            self.wiring.health.send_modify(|h| h.name_taken = true);
            tracing::error!(
                topic = self.settings.topics.status(),
                other_boot_id = seen.boot_id,
                "another node runs under our name; give one of them another [node] name"
            );
        }
        match verdict {
            Verdict::Fine => {}
            Verdict::SayAgain | Verdict::TwinYounger => self.say(PeerState::Online)?,
            Verdict::TwinOlder => return Ok(Some(End::NameTaken)),
        }
        Ok(None)
    }

    fn answer(&mut self, answer: String) -> Result<()> {
        let topic = self.settings.topics.answer();
        self.link.publish(Message { topic, payload: answer.into(), ..Default::default() }, STATUS)?;
        self.statuses += 1;
        Ok(())
    }

    async fn receipt(&mut self, receipt: Receipt) -> Result<()> {
        let done = self.wiring.store.receipt(receipt, self.wiring.clock.now()).await?;
        for latency in &done.latencies {
            metrics::histogram!(telemetry::RECEIPT_SECONDS).record(latency.as_secs_f64());
        }
        self.feed(Input::Receipted(done.rows)).await
    }

    /// Gives the pump an input and does what it says, until it has nothing more to say.
    async fn feed(&mut self, input: Input) -> Result<()> {
        let outputs = self.pump.step(input);
        self.perform(outputs).await
    }

    async fn perform(&mut self, outputs: Vec<Output>) -> Result<()> {
        let mut outputs = VecDeque::from(outputs);
        let store = self.wiring.store.clone();
        while let Some(output) = outputs.pop_front() {
            let now = self.wiring.clock.now();
            let answer = match output {
                Output::ResetSent => {
                    store.reset_sent().await?;
                    None
                }
                Output::RetryParked => {
                    store.retry_parked().await?;
                    Some(Input::Wake)
                }
                Output::Fetch { rows, bytes } => Some(Input::Rows(store.next_batch(rows, bytes, now).await?)),
                Output::Touch(rows) => {
                    store.touch_sent(rows, now).await?;
                    None
                }
                Output::Send(rows) => {
                    store.mark_sent(rows.iter().map(|r| r.id).collect(), now).await?;
                    for row in rows {
                        let token = row.id as u64;
                        self.link.publish(message(self.settings, row), token)?;
                    }
                    None
                }
                Output::Park { row, event, reason } => {
                    store.park(row, &reason).await?;
                    tell_parked(&event, &reason);
                    None
                }
                Output::Expire { centre_there } => {
                    let expired = store.expire_sent(self.settings.receipt_timeout, centre_there, now).await?;
                    for row in &expired.parked {
                        tell_parked(&format!("outbox row {row}"), "the centre does not receipt it");
                    }
                    Some(Input::Expired(expired))
                }
            };
            if let Some(answer) = answer {
                outputs.extend(self.pump.step(answer));
            }
        }
        Ok(())
    }

    fn say(&mut self, state: PeerState) -> Result<()> {
        let message = own_status(self.settings, state, self.wiring.clock.now())?;
        self.link.publish(message, STATUS)?;
        self.statuses += 1;
        Ok(())
    }

    /// Sends cameras' statuses, but never so many that rows find no room.
    fn send_statuses(&mut self) -> Result<()> {
        while self.statuses < STATUSES
            && let Some((camera, message)) = self.board.next(&self.settings.topics)?
        {
            self.link.publish(message, STATUS)?;
            self.statuses += 1;
            self.board.sent(&camera);
        }
        Ok(())
    }
}

fn tell_parked(what: &str, reason: &str) {
    metrics::counter!(telemetry::PARKED).increment(1);
    tracing::error!(what, reason, "a message cannot be delivered and is kept aside; the others go on");
}

fn message(settings: &Settings, row: Row) -> Message {
    let topics = &settings.topics;
    let camera = row.camera.as_ref();
    match row.body {
        Body::Event(payload) => {
            let topic = camera.map_or_else(|| topics.system_event(), |c| topics.event(c));
            Message { topic, payload, ..Default::default() }
        }
        Body::Snapshot { sha256, jpeg } => Message {
            topic: camera.map(|c| topics.snapshot(c, &row.event)).unwrap_or_default(),
            payload: jpeg,
            retain: false,
            properties: vec![
                ("event-id".into(), row.event),
                ("sha256".into(), sha256),
                ("content-type".into(), "image/jpeg".into()),
            ],
            expiry: Some(SNAPSHOT_EXPIRY),
        },
    }
}
