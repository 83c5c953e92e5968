//! What goes wrong when: faults drawn from a seed. Pure; the same seed gives the same plan on every machine.

use std::fmt;

/// What a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Broker,
    Node,
    Worker,
    Centre,
    Link,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Self::Broker, Self::Node, Self::Worker, Self::Centre, Self::Link];
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Break {
    /// Closed, and every new one too, until the fault is over.
    Cut,
    /// Open, and nothing gets through either way until the fault is over.
    BlackHole,
    /// A few kilobytes a second.
    Slow,
    /// Reset at once; new ones work.
    Reset,
    /// The client is reset; the broker keeps a connection that says nothing more.
    BrokerUnaware,
    /// The broker is reset; the client keeps a connection that says nothing more, and finds out by its keep-alive.
    ClientUnaware,
}

/// Whose connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Node,
    Centre,
    Both,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// Of a link only.
    pub how: Option<(Break, Side)>,
    /// Waits for a commit of the node first.
    pub at_commit: bool,
    /// Milliseconds after that commit, or after the last recovery, or after the fault that it falls into.
    pub after_ms: u64,
    /// Until what was killed is started again, or the link is whole again.
    pub lasts_ms: u64,
}

/// One turn of the suite: a fault, perhaps a second one while it lasts, and recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub fault: Fault,
    pub second: Option<Fault>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            Some((how, side)) => write!(f, "{:?} {how:?} of {side:?}", self.kind)?,
            None => write!(f, "{:?}", self.kind)?,
        }
        let from = if self.at_commit { "a commit" } else { "the last" };
        write!(f, ", {} ms after {from}, for {} ms", self.after_ms, self.lasts_ms)
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.second {
            Some(second) => write!(f, "{}; in it {second}", self.fault),
            None => write!(f, "{}", self.fault),
        }
    }
}

/// The faults of a run. Of five that follow each other one is of each kind, in any order; of each kind every other one
/// waits for a commit; one in six meets a second one.
pub fn plan(seed: u64, cycles: usize) -> Vec<Cycle> {
    let mut random = Random::new(seed);
    let mut all = Vec::with_capacity(cycles);
    let mut round = 0;
    while all.len() < cycles {
        let mut kinds = Kind::ALL;
        for i in (1..kinds.len()).rev() {
            kinds.swap(i, random.below(i as u64 + 1) as usize);
        }
        for kind in kinds {
            let fault = fault(kind, round % 2 == 0, &mut random);
            let second = (random.below(6) == 0).then(|| {
                let others: Vec<Kind> = Kind::ALL.into_iter().filter(|k| can_meet(kind, *k)).collect();
                let other = others[random.below(others.len() as u64) as usize];
                Fault { at_commit: false, after_ms: random.below(400), ..self::fault(other, false, &mut random) }
            });
            all.push(Cycle { fault, second });
        }
        round += 1;
    }
    all.truncate(cycles);
    all
}

/// A worker has no life of its own while its node is down.
fn can_meet(first: Kind, second: Kind) -> bool {
    first != second && (first, second) != (Kind::Node, Kind::Worker)
}

fn fault(kind: Kind, at_commit: bool, random: &mut Random) -> Fault {
    let after_ms = if at_commit { random.below(50) } else { random.below(900) };
    let how = (kind == Kind::Link).then(|| link(random));
    let lasts_ms = match (kind, how) {
        // The node starts its worker again by itself.
        (Kind::Worker, _) => 0,
        (_, Some((Break::Reset | Break::BrokerUnaware | Break::ClientUnaware, _))) => 0,
        _ => random.below(1500),
    };
    Fault { kind, how, at_commit, after_ms, lasts_ms }
}

fn link(random: &mut Random) -> (Break, Side) {
    // The last one costs half a minute of keep-alive each time.
    const SHARES: [(u64, Break); 6] = [
        (5, Break::Cut),
        (5, Break::BlackHole),
        (4, Break::Slow),
        (5, Break::Reset),
        (4, Break::BrokerUnaware),
        (1, Break::ClientUnaware),
    ];
    let mut draw = random.below(SHARES.iter().map(|(share, _)| share).sum());
    let mut how = Break::Cut;
    for (share, candidate) in SHARES {
        how = candidate;
        if draw < share {
            break;
        }
        draw -= share;
    }
    (how, [Side::Node, Side::Centre, Side::Both][random.below(3) as usize])
}

/// splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 up to, not including, `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n.max(1)
    }
}
