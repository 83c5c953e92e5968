//! Recording under faults, measured: `make chaos-recording`. One node with real cameras; what is recorded must play, be
//! what the index says, and miss no more than promised. Prints its seed and its tables; exit code 1 when a promise is
//! broken. `make bench-record` is its mode `cpu`, `make bench-clips` its mode `clips`, `make bench-memory` its mode
//! `memory`. It asserts nothing about the machine's speed but what is promised.
#![allow(clippy::print_stdout)] // its tables are what it is for

mod cameras;
mod clips;
mod cpu;
mod delivery;
mod kills;
mod memory;
mod post;
mod relay;
mod stalls;
mod stop;
#[allow(dead_code)] // the integration tests' helpers; only some are needed here
#[path = "../it/support/mod.rs"]
mod support;

use std::process::ExitCode;

/// What it was started with.
pub struct Options {
    /// Moments are drawn from it.
    pub seed: u64,
    /// Kills of mode `kills`; rounds of mode `cpu`, events of modes `clips` and `delivery`, minutes of mode `memory`.
    pub rounds: u32,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("serve", clips)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        cameras::serve(clips);
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()) * 2_654_435_761 % 1_000_000);
    let rounds = number("--rounds").map(|n| n as u32);
    let wanted = |mode: &str| arguments.iter().any(|a| a == mode);
    let all = !["kills", "stalls", "stop", "torn", "delivery", "cpu", "clips", "memory"].into_iter().any(wanted);
    println!("seed {seed}");
    let mut broken = Vec::new();
    if all || wanted("kills") {
        broken.extend(kills::run(&Options { seed, rounds: rounds.unwrap_or(12) }));
    }
    if all || wanted("stalls") {
        broken.extend(stalls::run());
    }
    if all || wanted("stop") {
        broken.extend(stop::run());
    }
    if all || wanted("delivery") {
        let options = Options { seed, rounds: rounds.unwrap_or(40) };
        broken.extend(delivery::run(&options));
    }
    if all || wanted("torn") {
        torn();
    }
    if wanted("cpu") {
        cpu::run(rounds.unwrap_or(2));
    }
    if wanted("memory") {
        memory::run(rounds.unwrap_or(3));
    }
    if wanted("clips") {
        broken.extend(clips::run(rounds.unwrap_or(24)));
    }
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Files damaged at every boundary of 512 bytes; a broken promise ends the program.
fn torn() {
    use support::torn;
    println!("files cut off, and with a block zeroed, at every 512 bytes");
    println!("  {:<28}{:>7}{:>12}{:>10}", "", "cases", "put aside", "told");
    let row = |name: &str, t: torn::Tally| println!("  {name:<28}{:>7}{:>12}{:>10}", t.cases, t.aside, t.told);
    row("node.db", torn::database("node.db", 1));
    row("node.db-wal", torn::database("node.db-wal", 1));
    row("recording", torn::recording(false, 1));
    row("sidecar", torn::recording(true, 1));
    row("wardwatch.toml, cameras.toml", torn::configuration(1));
    row("model", torn::model(1));
}

/// The share `part` of the values lies at or below this.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}
