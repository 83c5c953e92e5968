//! The outbox pump as a pure state machine: it decides which rows go when, and does nothing itself. The rows in the
//! store are the truth; what stands here is only what this connection has in flight.

use std::collections::{HashMap, HashSet};

use super::link::Refusal;
use crate::store::{Expired, Row};

/// Rows sent and not receipted at one time.
pub const WINDOW: usize = 16;

/// Bytes before the broker that it has not acknowledged. On a slow line more would only lie in socket buffers, hold up
/// the keep-alive and every fresh alert, and break the connection; at 256 kbit/s this is four seconds.
pub const WINDOW_BYTES: usize = 128 << 10;

/// Ticks for which the broker may be silent about a row before it counts as overdue like any other.
const SILENT_TICKS: u32 = 600;

/// Once the broker broke off over something it was sent, so many rows go one at a time: the guilty one is among them.
const CAREFUL: usize = 2 * WINDOW;

/// Objections with one row alone before the broker until that row is parked.
const STRIKES: u32 = 2;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A fresh connection stands; packets above `max_packet` bytes must not be sent.
    Connected { max_packet: usize },
    /// The connection broke; `objection`: the broker did not like what it was sent.
    Disconnected { objection: bool },
    /// The answer to [`Output::Fetch`].
    Rows(Vec<Row>),
    /// The broker took a row, or refused it.
    Acked { row: i64, refused: Option<Refusal> },
    /// These rows were receipted and are gone.
    Receipted(Vec<i64>),
    /// The answer to [`Output::Expire`].
    Expired(Expired),
    /// The centre's status was heard. `retained`: it stood before this connection's subscription, and so before all rows
    /// of this connection.
    Centre { online: bool, boot_id: String, retained: bool },
    /// There may be new rows.
    Wake,
    /// Time to look for overdue rows.
    Tick,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Take every sent row back.
    ResetSent,
    /// Give parked rows another chance and answer with [`Input::Wake`].
    RetryParked,
    /// Read up to so many rows of so many bytes, but one at least, and answer with [`Input::Rows`].
    Fetch { rows: usize, bytes: usize },
    /// Mark these as sent, then send them.
    Send(Vec<Row>),
    /// Take a row out of the way.
    Park { row: i64, event: String, reason: String },
    /// The time of these begins only now: until now they were on their way to the broker.
    Touch(Vec<i64>),
    /// Take overdue rows back and answer with [`Input::Expired`].
    Expire { centre_there: bool },
}

/// The state of the pump.
#[derive(Debug, Default)]
pub struct Pump {
    max_packet: Option<usize>,
    /// Sent and not receipted.
    in_flight: HashMap<i64, Sent>,
    fetching: bool,
    drained: bool,
    centre: Option<(bool, String)>,
    /// Rows that still go one at a time.
    careful: usize,
    strikes: HashMap<i64, u32>,
}

#[derive(Debug)]
struct Sent {
    event: String,
    bytes: usize,
    at: At,
}

/// Where a sent row is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// On its way to the broker, for so many ticks.
    Way(u32),
    /// The broker has said that it has it, since the last tick.
    Broker,
    /// The same, and its time runs.
    Waiting,
}

impl Pump {
    /// Rows in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether waiting longer is pointless: all is receipted, or nobody is there to receipt what was sent.
    pub fn is_done(&self) -> bool {
        let told = self.drained || self.in_flight.len() >= WINDOW;
        told && (self.in_flight.is_empty() || !self.centre_online())
    }

    /// Whether the centre said that it is there.
    pub fn centre_online(&self) -> bool {
        self.centre.as_ref().is_some_and(|c| c.0)
    }

    /// Takes one input and says what to do.
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Connected { max_packet } => {
                self.max_packet = Some(max_packet);
                self.reset(&mut out);
            }
            Input::Disconnected { objection } => self.disconnected(objection, &mut out),
            Input::Rows(rows) => self.rows(rows, &mut out),
            Input::Acked { row, refused } => self.acked(row, refused, &mut out),
            Input::Receipted(rows) => {
                for row in rows {
                    self.in_flight.remove(&row);
                    self.strikes.remove(&row);
                }
            }
            Input::Expired(expired) => {
                let gone: HashSet<i64> = expired.pending.iter().chain(&expired.parked).copied().collect();
                self.in_flight.retain(|row, _| !gone.contains(row));
                self.drained &= expired.pending.is_empty();
            }
            Input::Centre { online, boot_id, retained } => {
                let heard = Some((online, boot_id));
                let came = online && !retained && self.centre != heard;
                self.centre = heard;
                if came {
                    // A centre that had no room may have some now.
                    out.push(Output::RetryParked);
                }
                if came && !self.in_flight.is_empty() {
                    self.reset(&mut out);
                }
            }
            Input::Wake => self.drained = false,
            Input::Tick => self.tick(&mut out),
        }
        self.fetch(&mut out);
        out
    }

    fn before_broker(&self) -> impl Iterator<Item = (i64, &Sent)> {
        self.in_flight.iter().filter(|(_, s)| matches!(s.at, At::Way(_))).map(|(row, s)| (*row, s))
    }

    /// Rows and bytes that may go now.
    fn room(&self) -> (usize, usize) {
        let rows = WINDOW.saturating_sub(self.in_flight.len());
        let bytes = WINDOW_BYTES.saturating_sub(self.before_broker().map(|(_, s)| s.bytes).sum());
        match self.careful {
            0 => (rows, bytes),
            _ if self.before_broker().next().is_some() => (0, 0),
            _ => (rows.min(1), bytes),
        }
    }

    fn fetch(&mut self, out: &mut Vec<Output>) {
        let (rows, bytes) = self.room();
        if self.max_packet.is_some() && !self.fetching && !self.drained && rows > 0 && bytes > 0 {
            self.fetching = true;
            out.push(Output::Fetch { rows, bytes });
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        if self.in_flight.is_empty() {
            return;
        }
        let mut touched = Vec::new();
        for (row, sent) in &mut self.in_flight {
            sent.at = match sent.at {
                At::Way(ticks) if ticks >= SILENT_TICKS => continue,
                At::Way(ticks) => At::Way(ticks + 1),
                At::Broker => At::Waiting,
                At::Waiting => continue,
            };
            touched.push(*row);
        }
        if !touched.is_empty() {
            out.push(Output::Touch(touched));
        }
        out.push(Output::Expire { centre_there: self.centre_online() });
    }

    fn reset(&mut self, out: &mut Vec<Output>) {
        self.in_flight.clear();
        self.fetching = false;
        self.drained = false;
        out.push(Output::ResetSent);
    }

    fn disconnected(&mut self, objection: bool, out: &mut Vec<Output>) {
        self.max_packet = None;
        self.centre = None;
        if objection {
            self.suspect(out);
        }
        self.reset(out);
    }

    /// The broker broke off over something: one row alone may be guilty, of several one is looked for.
    fn suspect(&mut self, out: &mut Vec<Output>) {
        let mut suspects = self.before_broker().map(|(row, s)| (row, s.event.clone()));
        let Some((row, event)) = suspects.next() else { return };
        if suspects.next().is_some() {
            drop(suspects);
            self.careful = CAREFUL;
            return;
        }
        drop(suspects);
        let strikes = self.strikes.entry(row).or_default();
        *strikes += 1;
        if *strikes >= STRIKES {
            self.strikes.remove(&row);
            self.careful = 0;
            let reason = "the broker breaks off whenever it is sent".to_owned();
            out.push(Output::Park { row, event, reason });
        }
    }

    fn rows(&mut self, rows: Vec<Row>, out: &mut Vec<Output>) {
        self.fetching = false;
        let Some(max_packet) = self.max_packet else { return };
        self.drained = rows.is_empty();
        let mut send = Vec::new();
        let (mut room, _) = self.room();
        for row in rows {
            let size = packet_size(&row);
            if size > max_packet {
                let reason = format!("{size} bytes are more than the broker's limit of {max_packet}");
                out.push(Output::Park { row: row.id, event: row.event, reason });
            } else if room > 0 && !self.in_flight.contains_key(&row.id) {
                room -= 1;
                self.in_flight.insert(row.id, Sent { event: row.event.clone(), bytes: size, at: At::Way(0) });
                send.push(row);
            }
        }
        if !send.is_empty() {
            out.push(Output::Send(send));
        }
    }

    fn acked(&mut self, row: i64, refused: Option<Refusal>, out: &mut Vec<Output>) {
        match refused {
            None => {
                self.strikes.remove(&row);
                if let Some(sent) = self.in_flight.get_mut(&row) {
                    sent.at = At::Broker;
                    self.careful = self.careful.saturating_sub(1);
                }
            }
            // A row that is merely unlucky waits for its timeout and goes again.
            Some(Refusal { permanent: false, .. }) => {}
            Some(Refusal { reason, .. }) => {
                if let Some(Sent { event, .. }) = self.in_flight.remove(&row) {
                    out.push(Output::Park { row, event, reason });
                }
            }
        }
    }
}

/// An upper bound of a row's packet in bytes: the topic has at most 300, properties and headers 300 more.
fn packet_size(row: &Row) -> usize {
    600 + row.size()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::Phase;
    use crate::store::Body;
    use bytes::Bytes;

    fn row(id: i64, bytes: usize) -> Row {
        Row {
            id,
            camera: Some("a".parse().expect("valid")),
            event: format!("event-{id}"),
            revision: 1,
            phase: Phase::Started,
            attempts: 0,
            body: Body::Event(Bytes::from(vec![b'x'; bytes])),
        }
    }

    fn sent(out: &[Output]) -> Vec<i64> {
        out.iter()
            .flat_map(|o| if let Output::Send(rows) = o { rows.iter().map(|r| r.id).collect() } else { vec![] })
            .collect()
    }

    const FULL: Output = Output::Fetch { rows: WINDOW, bytes: WINDOW_BYTES };

    fn connected() -> Pump {
        let mut pump = Pump::default();
        let out = pump.step(Input::Connected { max_packet: 10_000 });
        assert_eq!(out, [Output::ResetSent, FULL]);
        pump
    }

    #[test]
    fn no_more_than_the_window_is_in_flight_and_receipts_make_room() {
        let mut pump = connected();
        let out = pump.step(Input::Rows((1..=20).map(|n| row(n, 10)).collect()));
        assert_eq!(sent(&out).len(), WINDOW);
        assert_eq!(pump.step(Input::Wake), []);
        assert_eq!(pump.step(Input::Acked { row: 1, refused: None }), [], "an acknowledgement is no receipt");
        let out = pump.step(Input::Receipted(vec![1, 2]));
        assert!(matches!(out[..], [Output::Fetch { rows: 2, .. }]), "{out:?}");
    }

    #[test]
    fn a_row_above_the_limit_is_parked_and_the_next_goes() {
        let mut pump = connected();
        let out = pump.step(Input::Rows(vec![row(1, 9_900), row(2, 10)]));
        assert!(matches!(&out[0], Output::Park { row: 1, .. }), "{out:?}");
        assert_eq!(sent(&out), [2]);
    }

    #[test]
    fn a_refused_row_is_parked_only_if_it_will_be_refused_again() {
        let mut pump = connected();
        pump.step(Input::Rows(vec![row(1, 10), row(2, 10)]));
        let refusal = |permanent| Some(Refusal { permanent, reason: "no".into() });
        pump.step(Input::Rows(vec![]));
        assert_eq!(pump.step(Input::Acked { row: 1, refused: refusal(false) }), []);
        let out = pump.step(Input::Acked { row: 2, refused: refusal(true) });
        assert!(matches!(&out[0], Output::Park { row: 2, .. }), "{out:?}");
        assert_eq!(pump.in_flight(), 1);
    }

    #[test]
    fn the_centre_coming_back_sends_everything_again() {
        let mut pump = connected();
        let mut resets = |online, boot_id: &str, retained| {
            let out = pump.step(Input::Centre { online, boot_id: boot_id.into(), retained });
            pump.step(Input::Rows(vec![row(1, 10)]));
            let reset = out.contains(&Output::ResetSent);
            assert_eq!(out.contains(&Output::RetryParked), reset, "parked rows go when sent rows go again");
            reset
        };
        assert!(!resets(true, "a", true), "it was there before us");
        assert!(!resets(true, "a", false), "it says the same again");
        assert!(!resets(false, "a", false));
        assert!(resets(true, "a", false), "it lost its connection");
        assert!(resets(true, "b", false), "it was started again");
    }

    #[test]
    fn bytes_before_the_broker_are_bounded_and_a_rows_time_begins_when_it_is_there() {
        let mut pump = Pump::default();
        pump.step(Input::Connected { max_packet: 1 << 20 });
        let out = pump.step(Input::Rows(vec![row(1, WINDOW_BYTES), row(2, 10)]));
        assert_eq!(sent(&out), [1, 2], "the store keeps to the bytes");
        assert!(!out.iter().any(|o| matches!(o, Output::Fetch { .. })), "no room until the broker has them");
        let touched = |pump: &mut Pump| match pump.step(Input::Tick).first() {
            Some(Output::Touch(rows)) => rows.len(),
            _ => 0,
        };
        assert_eq!((touched(&mut pump), touched(&mut pump)), (2, 2), "on their way");
        let out = pump.step(Input::Acked { row: 1, refused: None });
        assert!(matches!(out[..], [Output::Fetch { rows: 14, .. }]), "{out:?}");
        assert_eq!((touched(&mut pump), touched(&mut pump)), (2, 1), "the first one's time runs now");
    }

    /// A broker that breaks off when it sees row `poison`, and takes every other row.
    fn parked_by(poison: i64, rows: i64) -> Option<i64> {
        let mut pump = Pump::default();
        let mut taken = HashSet::new();
        for _ in 0..10 {
            let mut outputs = pump.step(Input::Connected { max_packet: 10_000 });
            loop {
                if let Some(Output::Park { row, .. }) = outputs.iter().find(|o| matches!(o, Output::Park { .. })) {
                    return Some(*row);
                }
                let sent = sent(&outputs);
                if sent.contains(&poison) {
                    outputs = pump.step(Input::Disconnected { objection: true });
                    if let Some(Output::Park { row, .. }) = outputs.first() {
                        return Some(*row);
                    }
                    break;
                }
                outputs = match (outputs.last(), sent.first()) {
                    (Some(Output::Fetch { rows: room, .. }), _) => {
                        let waiting = (1..=rows).filter(|n| !taken.contains(n)).take(*room);
                        pump.step(Input::Rows(waiting.map(|n| row(n, 10)).collect()))
                    }
                    (_, Some(_)) => {
                        let acked = sent.iter().flat_map(|row| pump.step(Input::Acked { row: *row, refused: None }));
                        let outputs = acked.collect();
                        taken.extend(sent);
                        outputs
                    }
                    _ => break,
                };
            }
        }
        None
    }

    #[test]
    fn a_row_that_breaks_every_connection_is_found_among_others_and_parked() {
        for poison in [1, 4, 15, 16] {
            assert_eq!(parked_by(poison, 20), Some(poison));
        }
        assert_eq!(parked_by(1, 1), Some(1));
    }

    #[test]
    fn a_network_that_merely_breaks_parks_nothing() {
        let mut pump = Pump::default();
        for _ in 0..20 {
            pump.step(Input::Connected { max_packet: 10_000 });
            pump.step(Input::Rows(vec![row(1, 10)]));
            assert_eq!(pump.step(Input::Disconnected { objection: false }), [Output::ResetSent]);
        }
    }
}
