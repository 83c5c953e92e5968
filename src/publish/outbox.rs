//! The outbox pump as a pure state machine: it decides which rows go when, and does nothing itself. The rows in the
//! store are the truth; what stands here is only what this connection has in flight.

use std::collections::{HashMap, HashSet};

use super::link::Refusal;
use crate::store::{Body, Expired, Row};

/// Rows sent and not receipted at one time.
pub const WINDOW: usize = 16;

/// Broken connections in a row, each after an objection of the broker, before rows go one at a time.
const CAREFUL_AFTER: u32 = 2;

/// Broken connections with one row alone in flight before that row is parked.
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
    /// Sent and not receipted, with the event they belong to.
    in_flight: HashMap<i64, String>,
    fetching: bool,
    drained: bool,
    centre: Option<(bool, String)>,
    objections: u32,
    strikes: HashMap<i64, u32>,
}

impl Pump {
    /// Rows in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether waiting longer is pointless: all is receipted, or nobody is there to receipt what was sent.
    pub fn is_done(&self) -> bool {
        let told = self.drained || self.in_flight.len() >= self.window();
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

    fn window(&self) -> usize {
        if self.objections >= CAREFUL_AFTER { 1 } else { WINDOW }
    }

    fn fetch(&mut self, out: &mut Vec<Output>) {
        let room = self.window().saturating_sub(self.in_flight.len());
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
        if objection && !self.in_flight.is_empty() {
            self.objections += 1;
            let alone = self.in_flight.iter().next().filter(|_| self.in_flight.len() == 1);
            if let Some((&row, event)) = alone {
                let strikes = self.strikes.entry(row).or_default();
                *strikes += 1;
                if *strikes >= STRIKES {
                    let reason = "the broker breaks off whenever it is sent".to_owned();
                    out.push(Output::Park { row, event: event.clone(), reason });
                    self.strikes.remove(&row);
                    self.in_flight.remove(&row);
                    self.objections = 0;
                }
            }
        }
        self.reset(out);
    }

    fn rows(&mut self, rows: Vec<Row>, out: &mut Vec<Output>) {
        self.fetching = false;
        let Some(max_packet) = self.max_packet else { return };
        self.drained = rows.is_empty();
        let mut send = Vec::new();
        for row in rows {
            let size = packet_size(&row);
            if size > max_packet {
                let reason = format!("{size} bytes are more than the broker's limit of {max_packet}");
                out.push(Output::Park { row: row.id, event: row.event, reason });
            } else if self.in_flight.len() < self.window() && !self.in_flight.contains_key(&row.id) {
                self.in_flight.insert(row.id, row.event.clone());
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
                if self.objections > 0 && self.in_flight.contains_key(&row) {
                    self.objections = 0;
                }
            }
            // A row that is merely unlucky waits for its timeout and goes again.
            Some(Refusal { permanent: false, .. }) => {}
            Some(Refusal { reason, .. }) => {
                if let Some(event) = self.in_flight.remove(&row) {
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
        assert_eq!(pump.step(Input::Acked { row: 1, refused: refusal(false) }), [Output::Fetch(14)]);
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

    #[test]
    fn a_row_that_breaks_every_connection_is_found_and_parked() {
        let mut pump = Pump::default();
        let mut parked = None;
        let mut connections = 0;
        while parked.is_none() {
            connections += 1;
            assert!(connections < 10, "never found");
            let out = pump.step(Input::Connected { max_packet: 10_000 });
            let Some(Output::Fetch(room)) = out.last() else { panic!("{out:?}") };
            // Row 1 is the poison: whatever else is in flight, the broker breaks off.
            pump.step(Input::Rows((1..=*room as i64).map(|n| row(n, 10)).collect()));
            let out = pump.step(Input::Disconnected { objection: true });
            parked = out.iter().find_map(|o| if let Output::Park { row, .. } = o { Some(*row) } else { None });
        }
        assert_eq!(parked, Some(1));
        assert_eq!(pump.step(Input::Connected { max_packet: 10_000 }).last(), Some(&Output::Fetch(WINDOW)));
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
