//! How long whoever guesses passwords has to wait. Pure: the store keeps the attempts, for each user and each address.

/// Attempts that cost no waiting.
pub const FREE: u32 = 5;
/// The first wait; each further attempt doubles it.
const FIRST_MS: i64 = 1000;
/// No wait is longer.
pub const LONGEST_MS: i64 = 15 * 60 * 1000;
/// Whoever did not try for so long begins anew.
const FORGOTTEN_MS: i64 = 24 * 3600 * 1000;

/// Attempts that have not succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    pub count: u32,
    /// When the last one was, UTC milliseconds.
    pub last_ms: i64,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It may be made, and counts until it has succeeded, so that many at once are no way around the wait.
    Go(Attempts),
    /// It is refused unseen, and does not count.
    Wait { retry_ms: i64 },
}

/// One more attempt at `now_ms`.
pub fn step(attempts: Attempts, now_ms: i64) -> Step {
    let passed = now_ms.saturating_sub(attempts.last_ms);
    // A clock that was set back must not lock anybody out for as long as it was wrong.
    let count = if (0..FORGOTTEN_MS).contains(&passed) { attempts.count } else { 0 };
    let left = wait_ms(count) - passed;
    if count >= FREE && left > 0 {
        return Step::Wait { retry_ms: left };
    }
    Step::Go(Attempts { count: count.saturating_add(1), last_ms: now_ms })
}

fn wait_ms(count: u32) -> i64 {
    match count.checked_sub(FREE) {
        None => 0,
        // Ten doublings are beyond the longest wait.
        Some(doublings) => (FIRST_MS << doublings.min(10)).min(LONGEST_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_are_free_then_waits_double_to_a_quarter_of_an_hour() {
        let (mut attempts, mut now, mut waits) = (Attempts::default(), 1_000_000, Vec::new());
        while waits.len() < 14 {
            match step(attempts, now) {
                Step::Go(after) => attempts = after,
                Step::Wait { retry_ms } => {
                    waits.push(retry_ms / 1000);
                    assert_eq!(step(attempts, now + retry_ms - 1), Step::Wait { retry_ms: 1 });
                    now += retry_ms;
                }
            }
        }
        assert_eq!(attempts.count, FREE + 13);
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]);
    }

    #[test]
    fn a_day_without_attempts_or_a_clock_set_back_begins_anew() {
        let many = Attempts { count: 40, last_ms: 50_000_000 };
        let anew = |now_ms| step(many, now_ms) == Step::Go(Attempts { count: 1, last_ms: now_ms });
        assert!(anew(many.last_ms + FORGOTTEN_MS));
        assert!(!anew(many.last_ms + FORGOTTEN_MS - 1), "it may try, and the next wait is as long as before");
        assert!(anew(many.last_ms - 1));
        assert_eq!(step(many, many.last_ms), Step::Wait { retry_ms: LONGEST_MS });
    }
}
