//! The desk for commands within a connection: reads what comes, hands sound commands to whoever does them, gives back
//! answers to be published. It waits for nobody: a command that finds the tray full is let go of, the centre asks again.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::base::{Stamp, telemetry};
use crate::wire::command::{Answer, AnswerState, Command, Heard, hear};

/// Commands that wait to be looked at, and answers that wait to be published.
const TRAY: usize = 64;
/// What a stranger sends is told of so often.
const TELL: Duration = Duration::from_secs(60);

/// The connection's side.
pub struct Desk {
    orders: mpsc::Sender<Command>,
    pub(super) answers: mpsc::Receiver<String>,
    told: Option<Stamp>,
}

/// The side of whoever does commands.
pub struct Office {
    pub orders: mpsc::Receiver<Command>,
    /// JSON. Only offered, never waited for: an answer is kept, and the centre asks again.
    pub answers: mpsc::Sender<String>,
}

/// A desk and its office.
pub fn desk() -> (Desk, Office) {
    let (orders, from_desk) = mpsc::channel(TRAY);
    let (to_desk, answers) = mpsc::channel(TRAY);
    (Desk { orders, answers, told: None }, Office { orders: from_desk, answers: to_desk })
}

/// Counts what became of a command.
pub fn count(state: &'static str) {
    metrics::counter!(telemetry::COMMANDS, "state" => state).increment(1);
}

impl Desk {
    /// A desk behind which nobody works.
    pub fn closed() -> Self {
        desk().0
    }

    /// Takes a message of the command topic; gives an answer that needs no work.
    pub(super) fn take(&mut self, payload: &[u8], retained: bool, now: Stamp) -> Option<String> {
        match hear(payload) {
            // A retained one would come at every start, from whoever left it there.
            _ if retained => self.complain("a retained command", now),
            Heard::Noise => self.complain("it is none", now),
            Heard::Strange { id, why } => {
                count(AnswerState::Refused.as_str());
                self.complain(&why, now);
                return Answer::new(id, AnswerState::Refused, why).to_json().ok();
            }
            Heard::Command(command) => {
                if self.orders.try_send(*command).is_err() {
                    count("put_off");
                }
                return None;
            }
        }
        count("malformed");
        None
    }

    fn complain(&mut self, why: &str, now: Stamp) {
        if self.told.is_none_or(|at| now.since(at) >= TELL) {
            let why: String = why.chars().take(200).flat_map(char::escape_debug).collect();
            tracing::warn!(why, "a command was not taken (said once a minute)");
            self.told = Some(now);
        }
    }
}
