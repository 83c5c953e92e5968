//! The outbox pump as a pure state machine: it decides which rows go when, and does nothing itself. The rows in the
//! store are the truth; what stands here is only what this connection has in flight.

use std::collections::{HashMap, HashSet};

use super::link::Refusal;
use crate::store::{Body, Expired, Row};

/// Rows sent and not receipted at one time.
pub const WINDOW: usize = 16;

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
    /// The centre's status was heard.
    Centre { online: bool, boot_id: String },
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
    /// Read up to so many rows and answer with [`Input::Rows`].
    Fetch(usize),
    /// Mark these as sent, then send them.
    Send(Vec<Row>),
    /// Take a row out of the way.
    Park { row: i64, event: String, reason: String },
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
    /// The broker has it.
    acked: bool,
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
            Input::Centre { online, boot_id } => {
                let heard = Some((online, boot_id));
                let came = online && self.centre != heard;
                self.centre = heard;
                if came && !self.in_flight.is_empty() {
                    self.reset(&mut out);
                }
            }
            Input::Wake => self.drained = false,
            Input::Tick => {
                if !self.in_flight.is_empty() {
                    out.push(Output::Expire { centre_there: self.centre_online() });
                }
            }
        }
        self.fetch(&mut out);
        out
    }

    fn room(&self) -> usize {
        let room = WINDOW.saturating_sub(self.in_flight.len());
        match self.careful {
            0 => room,
            _ if self.in_flight.values().any(|s| !s.acked) => 0,
            _ => room.min(1),
        }
    }

    fn fetch(&mut self, out: &mut Vec<Output>) {
        let room = self.room();
        if self.max_packet.is_some() && !self.fetching && !self.drained && room > 0 {
            self.fetching = true;
            out.push(Output::Fetch(room));
        }
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
        let mut before_broker = self.in_flight.iter().filter(|(_, s)| !s.acked).map(|(row, s)| (*row, s.event.clone()));
        let Some((row, event)) = before_broker.next() else { return };
        if before_broker.next().is_some() {
            self.careful = CAREFUL;
            return;
        }
        drop(before_broker);
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
        let mut room = self.room();
        for row in rows {
            let size = packet_size(&row);
            if size > max_packet {
                let reason = format!("{size} bytes are more than the broker's limit of {max_packet}");
                out.push(Output::Park { row: row.id, event: row.event, reason });
            } else if room > 0 && !self.in_flight.contains_key(&row.id) {
                room -= 1;
                self.in_flight.insert(row.id, Sent { event: row.event.clone(), acked: false });
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
                    sent.acked = true;
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
    600 + match &row.body {
        Body::Event(json) => json.len(),
        Body::Snapshot { jpeg, .. } => jpeg.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::Phase;
    use bytes::Bytes;

    fn row(id: i64, bytes: usize) -> Row {
        Row {
            id,
            camera: "a".parse().expect("valid"),
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

    fn connected() -> Pump {
        let mut pump = Pump::default();
        let out = pump.step(Input::Connected { max_packet: 10_000 });
        assert_eq!(out, [Output::ResetSent, Output::Fetch(WINDOW)]);
        pump
    }

    #[test]
    fn no_more_than_the_window_is_in_flight_and_receipts_make_room() {
        let mut pump = connected();
        let out = pump.step(Input::Rows((1..=20).map(|n| row(n, 10)).collect()));
        assert_eq!(sent(&out).len(), WINDOW);
        assert_eq!(pump.step(Input::Wake), []);
        assert_eq!(pump.step(Input::Acked { row: 1, refused: None }), [], "an acknowledgement is no receipt");
        assert_eq!(pump.step(Input::Receipted(vec![1, 2])), [Output::Fetch(2)]);
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
        pump.step(Input::Centre { online: true, boot_id: "a".into() });
        pump.step(Input::Rows(vec![row(1, 10)]));
        assert!(!pump.step(Input::Centre { online: true, boot_id: "a".into() }).contains(&Output::ResetSent));
        assert!(!pump.step(Input::Centre { online: false, boot_id: "a".into() }).contains(&Output::ResetSent));
        assert!(pump.step(Input::Centre { online: true, boot_id: "b".into() }).contains(&Output::ResetSent));
        assert_eq!(pump.in_flight(), 0);
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
                    (Some(Output::Fetch(room)), _) => {
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
