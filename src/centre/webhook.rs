//! Telling receivers of alerts and dispatches: what is sent now, and what becomes of an attempt. Pure: the store keeps
//! what waits, `app` sends.
//!
//! At least once: whoever is told twice knows it by the id. One receiver that is away holds no other up.

use std::collections::HashMap;
use std::time::Duration;

/// Of one receiver at the same time.
pub const EACH: usize = 4;
/// Of all receivers at the same time.
pub const ALL: usize = 16;
/// The wait after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(1800);

/// Something that a receiver is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// UUID.
    pub id: String,
    /// The receiver's name in the configuration.
    pub webhook: String,
    /// JSON.
    pub body: String,
    /// UTC milliseconds.
    pub created_ms: i64,
    /// Those that failed.
    pub attempts: u32,
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    Status {
        code: u16,
        /// As it asked for by `Retry-After`.
        wait: Option<Duration>,
    },
    /// Nothing, and why.
    Nothing(String),
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Taken,
    /// It is tried again.
    Again { at_ms: i64, why: String },
    /// It is kept aside for a person.
    GivenUp { why: String },
}

/// What is under way.
#[derive(Debug, Default)]
pub struct Flights(HashMap<String, String>);

impl Flights {
    /// Picks what of `due` is sent now, and counts it as under way until [`Self::landed`].
    pub fn step(&mut self, due: Vec<Delivery>) -> Vec<Delivery> {
        let mut sent = Vec::new();
        for delivery in due {
            let of_receiver = self.0.values().filter(|webhook| **webhook == delivery.webhook).count();
            if self.0.len() >= ALL || of_receiver >= EACH || self.0.contains_key(&delivery.id) {
                continue;
            }
            self.0.insert(delivery.id.clone(), delivery.webhook.clone());
            sent.push(delivery);
        }
        sent
    }

    /// An attempt is over, and what became of it is kept.
    pub fn landed(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// The ids under way.
    pub fn ids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// What becomes of `delivery` by what was answered at `now_ms`. `chance`, 0 to 1, spreads the waits, so that a receiver
/// that comes back is not asked for everything at once.
pub fn judge(delivery: &Delivery, answered: &Answered, now_ms: i64, chance: f64, give_up: Duration) -> Fate {
    let (why, asked, gone) = match answered {
        Answered::Status { code: 200..=299, .. } => return Fate::Taken,
        // By the Standard Webhooks: it wants to be told no more.
        Answered::Status { code: 410, .. } => {
            ("the receiver answered 410: it wants to hear no more".to_owned(), None, true)
        }
        Answered::Status { code, wait } => (format!("the receiver answered {code}"), *wait, false),
        Answered::Nothing(why) => (why.clone(), None, false),
    };
    let full = FIRST.saturating_mul(1 << delivery.attempts.min(20)).min(LONGEST);
    let wait = (full / 2 + full.mul_f64(0.5 * chance.clamp(0.0, 1.0))).max(asked.unwrap_or_default().min(LONGEST));
    let at_ms = now_ms + wait.as_millis() as i64;
    if gone || at_ms > delivery.created_ms.saturating_add(give_up.as_millis() as i64) {
        return Fate::GivenUp { why };
    }
    Fate::Again { at_ms, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: usize, webhook: &str) -> Delivery {
        Delivery { id: id.to_string(), webhook: webhook.into(), body: String::new(), created_ms: 0, attempts: 0 }
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const AWAY: Answered = Answered::Status { code: 503, wait: None };

    #[test]
    fn a_receiver_that_is_away_holds_no_other_up() {
        let mut flights = Flights::default();
        let due: Vec<_> = (0..100).map(|n| delivery(n, "away")).chain([delivery(100, "there")]).collect();
        let sent = flights.step(due.clone());
        assert_eq!(sent.len(), EACH + 1);
        assert_eq!(sent.last().map(|d| d.webhook.as_str()), Some("there"));
        assert!(flights.step(due.clone()).is_empty(), "nothing is sent twice at the same time");
        flights.landed("100");
        assert_eq!(flights.step(due).len(), 1);
        let many: Vec<_> = (200..300).map(|n| delivery(n, &format!("hook-{}", n % 25))).collect();
        assert_eq!(flights.step(many).len(), ALL - EACH - 1);
    }

    #[test]
    fn waits_double_to_half_an_hour_and_end_after_the_stated_time() {
        let (mut at, mut one, mut waits) = (0, delivery(1, "away"), Vec::new());
        loop {
            match judge(&one, &AWAY, at, 1.0, DAY) {
                Fate::Again { at_ms, why } => {
                    assert!(why.contains("503"));
                    waits.push((at_ms - at) / 1000);
                    (at, one.attempts) = (at_ms, one.attempts + 1);
                }
                fate => break assert!(matches!(fate, Fate::GivenUp { .. })),
            }
        }
        assert_eq!(waits[..11], [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800]);
        assert!(waits.len() < 70 && at <= DAY.as_millis() as i64, "{} tries", waits.len());
    }

    #[test]
    fn what_a_receiver_answers_decides() {
        let fate = |answered: Answered| judge(&delivery(1, "x"), &answered, 0, 0.0, DAY);
        let status = |code| Answered::Status { code, wait: None };
        assert!([200, 202, 204, 299].into_iter().all(|code| fate(status(code)) == Fate::Taken));
        assert!([301, 302, 400, 401, 404, 429, 500].into_iter().all(|c| matches!(fate(status(c)), Fate::Again { .. })));
        assert!(matches!(fate(status(410)), Fate::GivenUp { .. }));
        let asked = |seconds| Answered::Status { code: 429, wait: Some(Duration::from_secs(seconds)) };
        let at = |fate| if let Fate::Again { at_ms, .. } = fate { at_ms } else { 0 };
        assert_eq!(at(fate(asked(120))), 120_000);
        assert_eq!(at(fate(asked(1 << 40))), 1_800_000, "a receiver does not stop us for longer");
        assert_eq!(at(fate(Answered::Nothing("refused".into()))), 1000);
    }
}
