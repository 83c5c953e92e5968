//! What systemd is told: that the roles stand, that their vital parts are alive, that they stop. It decides nothing but
//! that; without systemd nothing is said. A part that is silent is not mended here: systemd ends the process and starts
//! it again.

use std::time::Duration;

use sd_notify::NotifyState;

use super::{Shutdown, stopped};
use crate::base::clock::SystemClock;
use crate::base::{Clock, ErrorKind, Pulse, Result, Stamp};

/// Taken as the watchdog's time when systemd sets none: READY and STOPPING are told all the same.
const UNSET: Duration = Duration::from_secs(60);

/// What children must not inherit: they would speak in our name.
pub(crate) const PRIVATE: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The parts that must be alive.
pub(super) struct Watchdog {
    period: Duration,
    vitals: Vec<Vital>,
    ready: bool,
}

struct Vital {
    name: &'static str,
    pulse: Pulse,
    beats: u64,
    heard: Option<Stamp>,
}

/// What is to be said now.
#[derive(Debug, PartialEq, Eq)]
struct Say {
    /// Every part was heard for the first time.
    ready: bool,
    /// Parts that are silent; none: the process is alive.
    silent: Vec<&'static str>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        let period = sd_notify::watchdog_enabled().filter(|p| !p.is_zero());
        Self { period: period.unwrap_or(UNSET), vitals: Vec::new(), ready: false }
    }

    /// One more part that must be alive; it is to beat at least every [`Self::every`].
    pub(super) fn vital(&mut self, name: &'static str) -> Pulse {
        let pulse = Pulse::default();
        self.vitals.push(Vital { name, pulse: pulse.clone(), beats: 0, heard: None });
        pulse
    }

    /// How often parts beat and are looked at.
    pub(super) fn every(&self) -> Duration {
        self.period / 4
    }

    /// Looks at the parts until `shutdown` and tells systemd.
    pub(super) async fn run(mut self, mut shutdown: Shutdown) {
        let mut ticker = tokio::time::interval(self.every());
        let mut complained = false;
        loop {
            tokio::select! {
                () = stopped(&mut shutdown) => break,
                _ = ticker.tick() => {}
            }
            let say = self.step(SystemClock.now());
            if say.ready {
                tell(NotifyState::Ready);
            }
            if say.silent.is_empty() {
                complained = false;
                tell(NotifyState::Watchdog);
            } else if self.ready && !complained {
                complained = true;
                tracing::error!("not alive: {}; systemd starts wardwatch again if that lasts", say.silent.join(", "));
            }
        }
        tell(NotifyState::Stopping);
    }

    /// A part is silent that was not heard for half of the watchdog's time.
    fn step(&mut self, now: Stamp) -> Say {
        for vital in &mut self.vitals {
            let beats = vital.pulse.beats();
            if beats != vital.beats {
                (vital.beats, vital.heard) = (beats, Some(now));
            }
        }
        let limit = self.period / 2;
        let silent = |v: &&Vital| v.heard.is_none_or(|at| now.since(at) > limit);
        let silent: Vec<_> = self.vitals.iter().filter(silent).map(|v| v.name).collect();
        let ready = !self.ready && self.vitals.iter().all(|v| v.heard.is_some());
        self.ready |= ready;
        Say { ready, silent }
    }
}

/// Beats `pulse` for a store as long as it can commit. A disk that is full or fails does not count as silence: the store
/// goes on and a restart would not mend it.
pub(super) async fn follow<F>(pulse: Pulse, every: Duration, mut heartbeat: impl FnMut() -> F)
where
    F: Future<Output = Result<()>>,
{
    let mut ticker = tokio::time::interval(every);
    loop {
        ticker.tick().await;
        match heartbeat().await {
            Err(e) if matches!(e.kind(), ErrorKind::Timeout | ErrorKind::Unavailable) => {
                tracing::error!("a store gives no sign of life: {e}");
            }
            _ => pulse.beat(),
        }
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(e) = sd_notify::notify(&[state]) {
        tracing::warn!("systemd is not told how wardwatch stands: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp { mono: Duration::from_secs(seconds), wall_ms: 0 }
    }

    #[test]
    fn ready_once_when_all_were_heard_and_alive_only_while_all_go_on() {
        let mut watchdog = Watchdog { period: Duration::from_secs(60), vitals: Vec::new(), ready: false };
        let (a, b) = (watchdog.vital("a"), watchdog.vital("b"));
        a.beat();
        assert_eq!(watchdog.step(at(0)), Say { ready: false, silent: vec!["b"] });
        b.beat();
        assert_eq!(watchdog.step(at(15)), Say { ready: true, silent: vec![] });
        b.beat();
        assert_eq!(watchdog.step(at(30)), Say { ready: false, silent: vec![] });
        assert_eq!(watchdog.step(at(31)), Say { ready: false, silent: vec!["a"] });
        a.beat();
        b.beat();
        assert_eq!(watchdog.step(at(90)), Say { ready: false, silent: vec![] });
    }
}
