//! When to connect, when to give a connection up, and what to say of the stream: a pure state machine. The thread that
//! runs it (`app`) feeds it what happened and does what it says.

use std::time::Duration;

use crate::base::types::{CameraState, FaultKind};

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// What the camera did, to follow its name in a sentence; no address, no secret.
    pub detail: String,
}

impl Fault {
    /// A fault of `kind`.
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The camera answered: it has described its streams.
    Answered,
    /// A packet came.
    Packet,
    /// A picture came of it: a decoded frame, or an access unit of a stream that is not decoded.
    Frame,
    /// The connection ended, or could not be made.
    Fault(Fault),
    /// The probe that was asked for got an answer or not.
    Probed(bool),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection.
    Connect,
    /// Close the one there is.
    Disconnect,
    /// Ask the camera for a sign of life and say whether one came.
    Probe,
    /// State or fault changed: tell the node.
    Report,
}

/// No packet for this long: the stream has stalled.
pub const STALL: Duration = Duration::from_secs(5);
/// A connection that has brought no packet after this long is given up.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Packets, but no frame for this long: what comes cannot be decoded. Cameras set to save disk send a keyframe every ten
/// seconds, and not all of them begin with one.
pub const UNDECODABLE: Duration = Duration::from_secs(15);
/// Before the next try with a refused password, by how often it was refused: a camera that is just starting refuses
/// once, and cameras lock an account that is tried a few times in half an hour.
pub const AUTH_RETRY: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900)];
/// Between probes of a camera that is away, at most.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(2500);
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A connection that lasted this long forgets earlier failures.
const STABLE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting until the given moment; with a time for the next probe while the camera is away.
    Waiting {
        until: Duration,
        probe_at: Option<Duration>,
    },
    Connecting {
        since: Duration,
        answered: bool,
    },
    Streaming {
        since: Duration,
    },
}

/// The health of one stream.
#[derive(Debug)]
pub struct StreamHealth {
    phase: Phase,
    state: CameraState,
    fault: Option<Fault>,
    since: Duration,
    failures: u32,
    /// Times in a row that the password was refused.
    refusals: usize,
    /// A probe got no answer, and none has got one since.
    down: bool,
    reconnects: u64,
    last_packet: Duration,
    last_frame: Duration,
    jitter: Jitter,
}

impl StreamHealth {
    /// A stream that wants to connect at once. `seed` spreads the retries of many cameras.
    pub fn new(seed: u64, now: Duration) -> Self {
        Self {
            phase: Phase::Waiting { until: now, probe_at: None },
            state: CameraState::Connecting,
            fault: None,
            since: now,
            failures: 0,
            refusals: 0,
            down: false,
            reconnects: 0,
            last_packet: now,
            last_frame: now,
            jitter: Jitter(seed | 1),
        }
    }

    /// The state to report.
    pub fn state(&self) -> CameraState {
        self.state
    }

    /// Why it is not online.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// When the state began (monotonic).
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Connections made after the first.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Takes in what happened at `now` and says what to do, in order.
    pub fn step(&mut self, input: Input, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Packet => self.packet(now),
            Input::Answered => {
                if let Phase::Connecting { answered, .. } = &mut self.phase {
                    *answered = true;
                }
            }
            Input::Frame => {
                self.last_frame = now;
                if matches!(self.phase, Phase::Streaming { .. }) {
                    self.refusals = 0;
                    self.report(CameraState::Online, None, now, &mut actions);
                }
            }
            Input::Fault(fault) => {
                if !matches!(self.phase, Phase::Waiting { .. }) {
                    self.fail(fault, now, &mut actions);
                }
            }
            Input::Probed(open) => {
                if let Phase::Waiting { until, probe_at: Some(_) } = self.phase {
                    let back = open && self.down;
                    self.down = !open;
                    let until = if back { now } else { until };
                    self.phase = Phase::Waiting { until, probe_at: Some(now + self.jitter.shorten(PROBE_INTERVAL)) };
                    // What it does wrong while it starts is no old failure. A camera that answered all along and
                    // still cannot be connected to gains nothing: it would only be hammered.
                    self.failures = if back { 1 } else { self.failures };
                }
            }
            Input::Tick => {}
        }
        self.tick(now, &mut actions);
        actions
    }

    fn packet(&mut self, now: Duration) {
        self.last_packet = now;
        if matches!(self.phase, Phase::Connecting { .. }) {
            self.phase = Phase::Streaming { since: now };
            self.last_frame = now;
        }
    }

    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Waiting { until, .. } if now >= until => {
                if self.failures > 0 || self.reconnects > 0 {
                    self.reconnects += 1;
                }
                self.phase = Phase::Connecting { since: now, answered: false };
                actions.push(Action::Connect);
            }
            Phase::Waiting { until, probe_at: Some(at) } if now >= at => {
                self.phase = Phase::Waiting { until, probe_at: Some(now + self.jitter.shorten(PROBE_INTERVAL)) };
                actions.push(Action::Probe);
            }
            Phase::Waiting { .. } => {}
            Phase::Connecting { since, answered } if now.saturating_sub(since) >= CONNECT_DEADLINE => {
                let fault = match answered {
                    true => Fault::new(FaultKind::Stalled, "answers but sends no video; try the other transport"),
                    false => Fault::new(
                        FaultKind::Unreachable,
                        "did not answer within ten seconds; check its power, its cable and its address",
                    ),
                };
                self.fail(fault, now, actions);
            }
            Phase::Connecting { .. } => {}
            Phase::Streaming { since } => {
                if now.saturating_sub(self.last_packet) >= STALL {
                    let fault = Fault::new(FaultKind::Stalled, "stopped sending while the connection stayed open");
                    self.fail(fault, now, actions);
                } else if now.saturating_sub(self.last_frame) >= UNDECODABLE {
                    let fault = Fault::new(FaultKind::Undecodable, "sends data that no decoder understands");
                    self.fail(fault, now, actions);
                } else if now.saturating_sub(since) >= STABLE {
                    self.failures = 0;
                }
            }
        }
    }

    fn fail(&mut self, fault: Fault, now: Duration, actions: &mut Vec<Action>) {
        self.failures = self.failures.saturating_add(1);
        let exponent = self.failures.saturating_sub(1).min(6);
        let backoff = (BACKOFF_MIN * 2u32.pow(exponent)).min(BACKOFF_MAX);
        let (wait, probe) = match fault.kind {
            FaultKind::AuthFailed => {
                self.refusals += 1;
                (AUTH_RETRY[self.refusals.min(AUTH_RETRY.len()) - 1], false)
            }
            // It may have gone silent, broken off or never answered: when it is back it is to be seen at once.
            FaultKind::Unreachable | FaultKind::Stalled | FaultKind::Ended => (backoff, true),
            _ => (backoff, false),
        };
        let until = now + self.jitter.spread(wait);
        let probe_at = probe.then(|| now + self.jitter.shorten(PROBE_INTERVAL));
        self.phase = Phase::Waiting { until, probe_at };
        actions.push(Action::Disconnect);
        let state = match fault.kind {
            FaultKind::AuthFailed => CameraState::AuthFailed,
            FaultKind::Undecodable | FaultKind::UnsupportedCodec => CameraState::Faulty,
            _ => CameraState::Offline,
        };
        self.report(state, Some(fault), now, actions);
    }

    fn report(&mut self, state: CameraState, fault: Option<Fault>, now: Duration, actions: &mut Vec<Action>) {
        if self.state == state && self.fault == fault {
            return;
        }
        if self.state != state {
            self.since = now;
        }
        self.state = state;
        self.fault = fault;
        actions.push(Action::Report);
    }
}

/// A small generator for spreading retries; quality does not matter (xorshift64, Marsaglia 2003).
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    /// `wait` lengthened by up to a quarter.
    fn spread(&mut self, wait: Duration) -> Duration {
        wait + wait.mul_f64(self.quarter())
    }

    /// `wait` shortened by up to a quarter.
    fn shorten(&mut self, wait: Duration) -> Duration {
        wait - wait.mul_f64(self.quarter())
    }

    fn quarter(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 1000) as f64 / 4000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn online(now: Duration) -> StreamHealth {
        let mut health = StreamHealth::new(7, now);
        assert_eq!(health.step(Input::Tick, now), [Action::Connect]);
        assert_eq!(health.step(Input::Packet, now), []);
        assert_eq!(health.step(Input::Frame, now), [Action::Report]);
        assert_eq!(health.state(), CameraState::Online);
        health
    }

    /// Ticks four times a second until `wanted` shows up; how long it took.
    fn wait_for(health: &mut StreamHealth, wanted: &Action, from: Duration, limit: Duration) -> Duration {
        let mut now = from;
        while !health.step(Input::Tick, now).contains(wanted) {
            now += Duration::from_millis(250);
            assert!(now - from < limit, "no {wanted:?} within {limit:?}");
        }
        now - from
    }

    #[test]
    fn an_open_but_silent_connection_is_left_after_five_seconds_and_made_again() {
        let mut health = online(s(100));
        assert_eq!(health.step(Input::Tick, s(104)), []);
        assert_eq!(health.step(Input::Tick, s(105)), [Action::Disconnect, Action::Report]);
        assert_eq!(health.fault().map(|f| f.kind), Some(FaultKind::Stalled));
        assert!(wait_for(&mut health, &Action::Connect, s(105), s(3)) >= s(1));
        assert_eq!(health.reconnects(), 1);
    }

    #[test]
    fn a_refused_password_is_tried_ever_more_rarely_and_never_probed() {
        let mut health = StreamHealth::new(3, s(0));
        health.step(Input::Tick, s(0));
        let mut now = s(1);
        for least in [AUTH_RETRY[0], AUTH_RETRY[1], AUTH_RETRY[2], AUTH_RETRY[2]] {
            health.step(Input::Fault(Fault::new(FaultKind::AuthFailed, "")), now);
            assert_eq!(health.state(), CameraState::AuthFailed);
            assert_eq!(health.step(Input::Tick, now + least - s(1)), []);
            let waited = least - s(1) + wait_for(&mut health, &Action::Connect, now + least - s(1), least);
            assert!(waited >= least);
            now += waited;
        }
        // One that works again is not remembered for its past.
        health.step(Input::Packet, now);
        health.step(Input::Frame, now);
        health.step(Input::Fault(Fault::new(FaultKind::AuthFailed, "")), now);
        wait_for(&mut health, &Action::Connect, now, AUTH_RETRY[1]);
    }

    #[test]
    fn an_address_that_comes_back_is_connected_at_the_next_probe() {
        let mut health = StreamHealth::new(3, s(0));
        health.step(Input::Tick, s(0));
        let mut now = s(1);
        for _ in 0..8 {
            health.step(Input::Fault(Fault::new(FaultKind::Unreachable, "")), now);
            now += s(100);
            health.step(Input::Tick, now);
        }
        health.step(Input::Fault(Fault::new(FaultKind::Unreachable, "")), now);
        let probed = wait_for(&mut health, &Action::Probe, now, s(3));
        assert!(!health.step(Input::Probed(false), now + probed).contains(&Action::Connect), "still down");
        assert!(health.step(Input::Probed(true), now + probed).contains(&Action::Connect));
    }

    #[test]
    fn an_address_that_opens_but_never_answers_is_not_hammered() {
        let mut health = StreamHealth::new(3, s(0));
        let (mut now, mut connects) = (s(0), 0);
        while now < s(3600) {
            let mut actions = health.step(Input::Tick, now);
            if actions.contains(&Action::Probe) {
                actions.extend(health.step(Input::Probed(true), now));
            }
            if actions.contains(&Action::Connect) {
                connects += 1;
                health.step(Input::Fault(Fault::new(FaultKind::Unreachable, "")), now);
            }
            now += Duration::from_millis(250);
        }
        assert!((50..80).contains(&connects), "{connects}");
    }

    #[test]
    fn a_camera_that_stalled_for_long_is_connected_at_its_first_sign_of_life() {
        let mut health = online(s(100));
        let (mut now, mut connects) = (s(105), 0);
        // Half an hour: the port takes connections, nothing answers.
        while now < s(1900) {
            let actions = health.step(Input::Tick, now);
            if actions.contains(&Action::Connect) {
                connects += 1;
                health.step(Input::Fault(Fault::new(FaultKind::Stalled, "")), now + s(5));
            }
            if actions.contains(&Action::Probe) {
                assert!(!health.step(Input::Probed(false), now).contains(&Action::Connect));
            }
            now += Duration::from_millis(250);
        }
        assert!((20..40).contains(&connects), "{connects}");
        let waited = wait_for(&mut health, &Action::Probe, now, s(3));
        assert!(health.step(Input::Probed(true), now + waited).contains(&Action::Connect));
    }

    #[test]
    fn a_camera_that_answers_but_sends_nothing_has_stalled() {
        let mut health = StreamHealth::new(3, s(0));
        health.step(Input::Tick, s(0));
        health.step(Input::Answered, s(1));
        assert_eq!(health.step(Input::Tick, s(10)), [Action::Disconnect, Action::Report]);
        assert_eq!(health.fault().map(|f| f.kind), Some(FaultKind::Stalled));
        assert!(!health.step(Input::Tick, s(10) + PROBE_INTERVAL).contains(&Action::Probe));
    }

    #[test]
    fn retries_back_off_to_a_minute_and_a_stable_stream_forgets() {
        let mut health = StreamHealth::new(9, s(0));
        health.step(Input::Tick, s(0));
        let (mut now, mut waits) = (s(1), Vec::new());
        for _ in 0..9 {
            health.step(Input::Fault(Fault::new(FaultKind::Protocol, "")), now);
            let waited = wait_for(&mut health, &Action::Connect, now, s(90));
            waits.push(waited.as_secs());
            now += waited;
        }
        assert!(waits[0] <= 2 && waits[8] >= 60 && waits.windows(2).all(|w| w[0] <= w[1] + 16), "{waits:?}");
        health.step(Input::Packet, now);
        for _ in 0..40 {
            now += s(1);
            health.step(Input::Packet, now);
            health.step(Input::Frame, now);
        }
        health.step(Input::Fault(Fault::new(FaultKind::Ended, "")), now);
        assert!(wait_for(&mut health, &Action::Connect, now, s(5)) <= s(2));
    }

    #[test]
    fn packets_that_never_become_pictures_are_a_fault_of_the_camera() {
        let mut health = StreamHealth::new(5, s(0));
        health.step(Input::Tick, s(0));
        let mut seen = Vec::new();
        for quarter in 0..62 {
            seen.extend(health.step(Input::Packet, Duration::from_millis(quarter * 250)));
        }
        assert_eq!(health.state(), CameraState::Faulty, "{seen:?}");
        assert_eq!(health.fault().map(|f| f.kind), Some(FaultKind::Undecodable));
    }

    #[test]
    fn forty_cameras_do_not_retry_in_step() {
        let mut times: Vec<u128> = (0..40u64)
            .map(|seed| {
                let mut health = StreamHealth::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), s(0));
                health.step(Input::Tick, s(0));
                for _ in 0..6 {
                    health.step(Input::Fault(Fault::new(FaultKind::Protocol, "")), s(1));
                    health.phase = Phase::Connecting { since: s(1), answered: false };
                }
                health.step(Input::Fault(Fault::new(FaultKind::Protocol, "")), s(1));
                match health.phase {
                    Phase::Waiting { until, .. } => until.as_millis(),
                    _ => 0,
                }
            })
            .collect();
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 30, "{times:?}");
    }
}
