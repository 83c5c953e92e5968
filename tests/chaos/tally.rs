//! What a run has measured, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::oracle::Verdict;
use super::plan::{Fault, Kind};

/// A kill counts as timed to a commit when one came so shortly before it.
const NEAR_MS: i64 = 100;

/// A fault that was injected.
#[derive(Clone, Debug)]
pub struct Injected {
    pub fault: Fault,
    /// UTC milliseconds.
    pub at_ms: i64,
}

/// A cycle that is over.
#[derive(Clone, Debug)]
pub struct Done {
    pub faults: Vec<Injected>,
    /// From the end of the last fault until the centre had committed an event that began after it.
    pub recovery_ms: i64,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Tally {
    pub cycles: Vec<Done>,
}

impl Tally {
    /// The name of the row a cycle's recovery belongs to.
    fn row(done: &Done) -> String {
        match &done.faults[..] {
            [one] => match one.fault.how {
                Some((how, _)) => format!("link: {how:?}"),
                None => format!("{:?}", one.fault.kind).to_lowercase(),
            },
            _ => "two at once".to_owned(),
        }
    }

    pub fn injected(&self, kind: Kind) -> usize {
        self.cycles.iter().flat_map(|c| &c.faults).filter(|i| i.fault.kind == kind).count()
    }

    /// Kills, and those of them within [`NEAR_MS`] after a commit: of the centre where the centre was killed, of the
    /// node otherwise.
    fn near(&self, kind: Kind, verdict: &Verdict) -> (usize, usize) {
        let commits = if kind == Kind::Centre { &verdict.centre_commits } else { &verdict.node_commits };
        let of_kind: Vec<i64> =
            self.cycles.iter().flat_map(|c| &c.faults).filter(|i| i.fault.kind == kind).map(|i| i.at_ms).collect();
        let near = of_kind.iter().filter(|at| {
            let before = commits.partition_point(|c| c <= *at);
            before > 0 && **at - commits[before - 1] <= NEAR_MS
        });
        (of_kind.len(), near.count())
    }

    /// The table.
    pub fn report(&self, verdict: &Verdict) -> String {
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
        line("| fault | injected | within 100 ms after a commit |".into());
        line("|---|---:|---:|".into());
        for kind in Kind::ALL {
            let (all, near) = self.near(kind, verdict);
            line(format!("| {kind:?} | {all} | {near} ({} %) |", near * 100 / all.max(1)));
        }
        line(String::new());
        line("| recovery after | cycles | p50 | p99 | longest |".into());
        line("|---|---:|---:|---:|---:|".into());
        let mut rows: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for done in &self.cycles {
            rows.entry(Self::row(done)).or_default().push(done.recovery_ms);
            rows.entry("~ all".into()).or_default().push(done.recovery_ms);
        }
        for (name, mut times) in rows {
            times.sort_unstable();
            let s = |p: f64| seconds(percentile(&times, p));
            line(format!("| {name} | {} | {} | {} | {} |", times.len(), s(0.5), s(0.99), s(1.0)));
        }
        line(String::new());
        line(format!(
            "events: {} said, {} at the node; reports: {} said, {} committed, {} cut off in a socket by a kill (at most {} by \
             one); {} ends made by the node, {} events of its own; {} commits in its log",
            verdict.said_events,
            verdict.events,
            verdict.said,
            verdict.committed,
            verdict.cut,
            verdict.cut_at_once,
            verdict.ends_made,
            verdict.system,
            verdict.logged
        ));
        line(format!("at the centre: {} revisions, {} pictures", verdict.revisions, verdict.pictures));
        line(verdict.problems());
        out
    }
}

/// The nearest-rank percentile of sorted values.
pub fn percentile(sorted: &[i64], p: f64) -> i64 {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

fn seconds(ms: i64) -> String {
    format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
}
