//! How long the centre's store takes to answer: `make bench-query`. A million events of 400 days, four nodes and sixty
//! cameras, with their triage; then questions with random parameters, one after the other, while 50 events a second are
//! committed through the same store. Prints its seed and a table; exit code 1 when a question of the page is over its
//! promise. It is no part of `cargo test`.
#![allow(clippy::print_stdout)] // its table is what it is for

mod fill;
mod questions;
#[allow(dead_code)] // the integration tests' helpers; only some are needed here
#[path = "../it/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use questions::{Asker, Class};
use support::made::{Dice, reading};
use wardwatch::base::Clock;
use wardwatch::base::clock::SystemClock;
use wardwatch::centre::store::{CentreStore, SqliteStore, TriageStore};
use wardwatch::centre::triage::{Act, Officer};

/// What 99 of 100 questions of the page stay within.
const PROMISE: Duration = Duration::from_millis(50);
/// One event each.
const PACE: Duration = Duration::from_millis(20);

struct Options {
    events: u64,
    seed: u64,
    rounds: usize,
    /// Where the store is made, or found again.
    keep: Option<PathBuf>,
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let number = |name: &str, otherwise| text(name).and_then(|t| t.parse().ok()).unwrap_or(otherwise);
    Options {
        events: number("--events", 1_000_000),
        seed: number("--seed", 1),
        rounds: number("--rounds", 200) as usize,
        keep: text("--keep").map(PathBuf::from),
    }
}

fn main() -> ExitCode {
    let options = options();
    println!("seed {}, {} events, {} times each", options.seed, options.events, options.rounds);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> ExitCode {
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = options.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory).expect("a directory");
    let there = directory.join("centre.db").exists();
    let (writer, thread, _) = SqliteStore::open(&directory, fill::END).expect("opens");
    let closed = std::thread::spawn(move || thread.run());
    let began = now();
    if !there {
        fill::fill(&directory, &writer, options.events, options.seed).await;
        println!("filled in {:.0} s", (now() - began).as_secs_f64());
    }
    let bytes = std::fs::metadata(directory.join("centre.db")).expect("there").len();
    println!("database: {} MiB", bytes >> 20);
    let stop = Arc::new(AtomicBool::new(false));
    let commits = tokio::spawn(keep_committing(writer.clone(), stop.clone(), options.seed));
    let reader = reading(&writer, 2, Duration::from_secs(10), Arc::new(SystemClock));
    let asker = Asker::new(reader, options.events, options.seed).await;
    let kept = ask(asker, options.rounds).await;
    stop.store(true, Ordering::Relaxed);
    let (mut waits, seconds) = commits.await.expect("no panic");
    let (p50, p99, max) = percentiles(&mut waits);
    println!(
        "\nmeanwhile {} commits in {seconds:.1} s: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms",
        waits.len()
    );
    drop(writer);
    tokio::task::spawn_blocking(move || closed.join()).await.expect("no panic").expect("no panic");
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn now() -> Duration {
    SystemClock.now().mono
}

/// Commits an event each [`PACE`], half of them ends of the one before, and has officers do something each second.
async fn keep_committing(store: SqliteStore, stop: Arc<AtomicBool>, seed: u64) -> (Vec<Duration>, f64) {
    let (mut dice, mut waits, began) = (Dice(seed ^ 0x5eed), Vec::new(), now());
    let mut pace = tokio::time::interval(PACE);
    // A store that was kept has the events of earlier runs.
    let first = (SystemClock.now().wall_ms as u64 / 1000 % (1 << 24)) << 16;
    let mut n = 0;
    let mut open = None;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let made = match open.take() {
            Some(made) => fill::ended(made),
            None => {
                open.insert(fill::begun(&mut dice, fill::END + n * PACE.as_millis() as i64, first + n as u64)).clone()
            }
        };
        let (item, at, key) = (made.item(), now(), (made.node.clone(), made.id.clone()));
        store.commit(Arc::new(vec![item]), made.started_ms + 100).await.expect("commits");
        waits.push(now() - at);
        n += 1;
        if n % 50 == 0 {
            let by = Officer { id: fill::officer(&mut dice), commander: false };
            let done = store.act(key, Act::Own, by, 0, made.started_ms + 200).await.expect("commits");
            done.expect("nobody else is there");
        }
    }
    (waits, (now() - began).as_secs_f64())
}

/// Asks everything by turns, so that no question has the disk's cache for itself; whether the promise was kept.
async fn ask(mut asker: Asker, rounds: usize) -> bool {
    let mut times: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    let (mut found, began) = (BTreeMap::<usize, u64>::new(), now());
    for round in 0..rounds {
        for (n, question) in questions::ALL.iter().enumerate() {
            if question.class == Class::Rare && round % 10 != 0 {
                continue;
            }
            let asked = asker.draw(question);
            let at = now();
            let rows = asker.answer(asked).await;
            times.entry(n).or_default().push(now() - at);
            *found.entry(n).or_default() += rows;
        }
    }
    println!("{} questions in {:.0} s\n", times.values().map(Vec::len).sum::<usize>(), (now() - began).as_secs_f64());
    println!(
        "| question | asked | rows on average | p50 ms | p99 ms | max ms | share |\n|---|--:|--:|--:|--:|--:|--:|"
    );
    let mut kept = true;
    let all: Duration = times.values().flatten().sum();
    for (n, times) in &mut times {
        let question = &questions::ALL[*n];
        let (p50, p99, max) = percentiles(times);
        let share = times.iter().sum::<Duration>().as_secs_f64() / all.as_secs_f64() * 100.0;
        println!(
            "| {} | {} | {} | {p50:.1} | {p99:.1} | {max:.1} | {share:.0} % |",
            question.name,
            times.len(),
            found[n] / times.len() as u64
        );
        kept &= question.class != Class::Page || p99 <= PROMISE.as_secs_f64() * 1000.0;
    }
    kept
}

/// In milliseconds.
fn percentiles(times: &mut [Duration]) -> (f64, f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)].as_secs_f64() * 1000.0;
    (at(0.5), at(0.99), at(1.0))
}
