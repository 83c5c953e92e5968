//! The fault suite of the event path: kills and broken lines by the hundred, and an oracle that counts afterwards.
//!
//! As a test, without arguments, it runs a small part of the plan and asserts outcomes, never times. `make chaos` runs all
//! of it; see docs/faults.md. The same program is also the node (the library's, with the scripted worker as its worker)
//! and that worker, so that both can be killed as processes.

mod oracle;
mod outage;
mod plan;
mod post;
mod script;
#[allow(dead_code)] // not every helper is needed here
mod support;
mod tally;
mod worker;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Parser, Subcommand};
use outage::Missing;
use plan::{Cycle, Kind};
use post::{INTERRUPTED, Post, now_ms};
use script::{Script, sha256};
use tally::{Done, Injected, Tally};

/// The fault suite: kill -9 of broker, node, worker and centre, and broken lines between them, while events flow.
#[derive(Parser)]
#[command(name = "chaos")]
struct Options {
    #[command(subcommand)]
    role: Option<RoleCommand>,
    /// Decides on everything that is random; printed at the start
    #[arg(long)]
    seed: Option<u64>,
    /// Faults, one after another; some meet a second one
    #[arg(long, default_value_t = 100)]
    cycles: usize,
    /// Events that are said at least
    #[arg(long, default_value_t = 4000)]
    events: u64,
    /// Events a second
    #[arg(long, default_value_t = 40)]
    rate: u64,
    /// The run fails when it takes longer
    #[arg(long, default_value_t = 180)]
    minutes: u64,
    /// The wardwatch that runs the centre, for example a release build; the node is always of this build
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_wardwatch"))]
    binary: PathBuf,
    /// Instead of faults: this is away for 72 hours (by a clock that is put forward) while events come
    #[arg(long, value_enum, value_delimiter = ',')]
    outage: Vec<Missing>,
    /// Disk for pictures in an outage
    #[arg(long, default_value_t = 16)]
    quota_mb: u64,
    /// Prints the plan and ends
    #[arg(long)]
    plan: bool,
    /// Leaves databases and logs where they are
    #[arg(long)]
    keep: bool,
}

/// Processes of the suite itself.
#[derive(Subcommand)]
enum RoleCommand {
    #[command(hide = true)]
    Node {
        #[arg(long)]
        config: PathBuf,
    },
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        socket: PathBuf,
    },
    #[command(hide = true)]
    OutageNode(outage::NodeArguments),
}

/// What `cargo test` runs: three faults of each kind.
const SMALL: [&str; 9] = ["chaos", "--seed", "7", "--cycles", "15", "--events", "500", "--minutes", "10"];

/// And a short outage, which must keep to memory and disk all the same.
const SMALL_OUTAGE: [&str; 7] = ["chaos", "--outage", "broker", "--events", "1500", "--quota-mb", "3"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ours = |a: &String| ["node", "worker", "outage-node"].contains(&a.as_str()) || Options::names(a);
    if arguments.iter().any(ours) {
        return run(Options::parse());
    }
    // As any test binary: a filter may leave nothing to do, and a list is asked for by test runners.
    let filtered = arguments.iter().any(|a| !a.starts_with('-') && !"chaos".contains(a.as_str()));
    if filtered || arguments.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    for arguments in [&SMALL[..], &SMALL_OUTAGE] {
        let options = Options::parse_from(arguments);
        let ended = if options.outage.is_empty() { suite(&options) } else { outages(&options, false) };
        if ended != ExitCode::SUCCESS {
            return ended;
        }
    }
    ExitCode::SUCCESS
}

impl Options {
    /// Whether `argument` is one of this suite, not of a test runner.
    fn names(argument: &str) -> bool {
        let name = argument.split('=').next().unwrap_or_default();
        [
            "--seed",
            "--cycles",
            "--events",
            "--rate",
            "--minutes",
            "--binary",
            "--outage",
            "--quota-mb",
            "--plan",
            "--keep",
            "--help",
            "-h",
        ]
        .contains(&name)
    }
}

fn run(options: Options) -> ExitCode {
    match options.role {
        Some(RoleCommand::Node { config }) => {
            let program = std::env::current_exe().expect("Linux");
            let ran = wardwatch::app::environment::ensure(&program)
                .and_then(|()| wardwatch::app::telemetry::init(None))
                .and_then(|()| wardwatch::app::run::run(&config, program));
            exit(ran.map_err(|e| e.to_string()))
        }
        Some(RoleCommand::Worker { socket }) => exit(worker::run(&socket).map_err(|e| e.to_string())),
        Some(RoleCommand::OutageNode(arguments)) => {
            outage::node(arguments);
            ExitCode::SUCCESS
        }
        None if !options.outage.is_empty() => outages(&options, true),
        None => suite(&options),
    }
}

fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            writeln!(std::io::stderr(), "chaos: {e}").ok();
            ExitCode::FAILURE
        }
    }
}

pub fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

fn outages(options: &Options, timed: bool) -> ExitCode {
    let mut all = ExitCode::SUCCESS;
    for missing in &options.outage {
        for broken in outage::run(&options.binary, *missing, options.events, options.quota_mb, timed) {
            say(&format!("BROKEN: {broken}"));
            all = ExitCode::FAILURE;
        }
    }
    all
}

fn suite(options: &Options) -> ExitCode {
    let seed = options.seed.unwrap_or_else(|| now_ms() as u64);
    let plan = plan::plan(seed, options.cycles);
    let text: String = plan.iter().map(|cycle| format!("{cycle}\n")).collect();
    if options.plan {
        say(text.trim_end());
        return ExitCode::SUCCESS;
    }
    say(&format!("seed {seed}, {} cycles, plan {}", plan.len(), &sha256(text.as_bytes())[..12]));
    listen_to_signals();
    let mut post = Post::start(options.binary.clone(), seed, options.rate, Duration::from_secs(options.minutes * 60));
    if options.keep {
        post.site.keep();
    }
    let mut tally = Tally::default();
    post.wait_for_recovery(0);
    for (number, cycle) in plan.iter().enumerate() {
        let done = one_cycle(&mut post, cycle);
        if number % 10 == 9 || options.cycles <= 20 {
            say(&format!("cycle {}: {cycle}: recovered in {} ms", number + 1, done.recovery_ms));
        }
        tally.cycles.push(done);
    }
    while post.said_events() < options.events {
        post.pass(1000);
    }
    let told = post.finish();
    let codes = post.stop();
    let verdict = oracle::judge(&post.places(), &Script::new(seed));
    say(&tally.report(&verdict));
    let counted: Vec<String> = Kind::ALL.iter().map(|k| format!("{k:?} {}", tally.injected(*k))).collect();
    say(&format!("cycles {}: {}; exit codes of node and centre {codes:?}", tally.cycles.len(), counted.join(", ")));
    // A notice for each revision that was new, and for nothing else.
    let of_this_run = verdict.centre_commits.iter().filter(|at| **at >= post.centre_began_ms).count();
    say(&format!("the last centre told its listeners of {told} revisions and stored {of_this_run}"));
    if verdict.is_clean() && codes == [0, 0] && told == of_this_run {
        say("nothing lost, nothing doubled");
        return ExitCode::SUCCESS;
    }
    post.site.keep();
    say(&format!("FAILED; databases and logs are in {}", post.site.path("").display()));
    ExitCode::FAILURE
}

/// Breaks what the cycle says and waits until events come through again.
fn one_cycle(post: &mut Post, cycle: &Cycle) -> Done {
    if cycle.fault.at_commit {
        post.wait_for_commit();
    }
    post.pass(cycle.fault.after_ms);
    let mut faults = vec![Injected { fault: cycle.fault.clone(), at_ms: post.inject(&cycle.fault) }];
    if let Some(second) = &cycle.second {
        post.pass(second.after_ms);
        faults.push(Injected { fault: second.clone(), at_ms: post.inject(second) });
    }
    let mut ends: Vec<(i64, &plan::Fault)> =
        faults.iter().map(|f| (f.at_ms + f.fault.lasts_ms as i64, &f.fault)).collect();
    ends.sort_by_key(|(end, _)| *end);
    let mut over = 0;
    for (end, fault) in ends {
        post.pass(u64::try_from(end - now_ms()).unwrap_or(0));
        // Whole again from this moment on; how long its program takes to start is part of the recovery.
        over = if fault.lasts_ms == 0 && fault.how.is_some() { end } else { now_ms() };
        post.mend(fault);
    }
    let recovery_ms = post.wait_for_recovery(over) - over;
    Done { faults, recovery_ms }
}

/// Ends the run in order at SIGINT and SIGTERM: the next wait fails, and what was started is killed.
fn listen_to_signals() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
    });
}
