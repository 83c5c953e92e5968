//! The command line: parse, call `app`, turn the result into an exit code. Nothing else.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use wardwatch::app;
use wardwatch::app::replay::command::ReplayCommand;
use wardwatch::base::{Error, ErrorKind, Result};
use wardwatch::centre::account::Role;
use wardwatch::config::Transport;

const EXAMPLES: &str = "Examples:
  wardwatch demo --seconds 60               everything on this machine, with sample cameras
  wardwatch check --config wardwatch.toml   is everything there that a run needs?
  wardwatch probe rtsp://192.168.1.20/live --user admin --password-env CAMERA_PASSWORD
  wardwatch run --config wardwatch.toml     the node, the centre, or both
  wardwatch replay clip.mp4 --camera ngo-12-dau --config wardwatch.example.toml --events events.jsonl
  wardwatch clip --camera ngo-12-dau --from 2026-11-24T02:10:00+07:00 --to 2026-11-24T02:12:00+07:00 -o out.mp4
  wardwatch fsck --config wardwatch.toml    do recordings, their index and their hashes agree?
  wardwatch enrol-code --node node-2        at the centre: a code with which a node may deliver clips
  wardwatch ask status                      at the centre: what was asked of nodes, by whom, and what came of it
  wardwatch user add an --role commander    at the centre: an account, and a one-time link that sets its password
  wardwatch backup -o backup.tar            state and keys in one file; `wardwatch restore` puts them back

Exit codes: 0 done, 1 failed, 2 wrong configuration or usage, 3 the demo saw no event make the whole trip.
Logs go to standard error: text on a terminal, JSON otherwise; RUST_LOG sets what is logged (RUST_LOG=debug).";

/// Camera event processor for ward security: RTSP cameras in, events with snapshots over MQTT to the command centre.
#[derive(Parser)]
#[command(name = "wardwatch", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything on one machine with sample cameras and shows each event as the centre receives it
    #[command(
        after_help = "Example:\n  wardwatch demo --seconds 60\n\nCtrl-C stops everything. `make demo` fetches what it needs first."
    )]
    Demo {
        /// Stop after so many seconds (default: at Ctrl-C)
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// Where its files go; emptied at every start
        #[arg(long, value_name = "DIR", default_value = ".cache/demo")]
        state_dir: PathBuf,
    },
    /// Runs the roles of the configuration file: node, centre, or both
    #[command(
        after_help = "Signals: SIGHUP reads the cameras document again, SIGTERM or Ctrl-C stops in order, a second one at once."
    )]
    Run {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
    },
    /// Tries everything a run needs and says how to mend what fails
    Check {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
    },
    /// Connects to one camera and prints its codec, size, rate, keyframe interval and configuration lines
    #[command(
        after_help = "Example:\n  CAMERA_PASSWORD=… wardwatch probe rtsp://192.168.1.20/live --user admin --password-env CAMERA_PASSWORD\n\nA password within the address works, but other users of this machine can read it in the process list."
    )]
    Probe {
        /// rtsp://host[:port]/path or rtsps://…; with --json it may be left out: wardwatch itself gives it, with the
        /// password, through standard input
        #[arg(required_unless_present = "json")]
        url: Option<String>,
        /// One line of JSON, with a picture, instead of the report
        #[arg(long)]
        json: bool,
        #[arg(long)]
        user: Option<String>,
        /// Name of the environment variable that holds the password
        #[arg(long, value_name = "NAME")]
        password_env: Option<String>,
        #[arg(long, value_enum, default_value = "tcp")]
        transport: TransportArg,
        /// SHA-256 of the camera's own certificate
        #[arg(long, value_name = "HEX")]
        tls_pin: Option<String>,
        /// How long to watch
        #[arg(long, value_name = "N", default_value_t = 8)]
        seconds: u64,
    },
    /// Runs detector, tracker and rules over a video file: every frame, as fast as possible, the same result every time
    #[command(
        after_help = "Example:\n  wardwatch replay clip.mp4 --camera ngo-12-dau --config wardwatch.example.toml \\\n    --start 2026-11-24T02:00:00+07:00 --events events.jsonl --mot tracks.txt --snapshots shots/"
    )]
    Replay {
        video: PathBuf,
        /// Whose zones and rules apply
        #[arg(long)]
        camera: String,
        /// When the first frame was taken, RFC 3339; schedules depend on it
        #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00+07:00")]
        start: String,
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        /// Stop after so many frames
        #[arg(long, value_name = "N")]
        frames: Option<u64>,
        /// Every event revision, one JSON a line
        #[arg(long, value_name = "FILE")]
        events: Option<PathBuf>,
        /// Tracks in MOTChallenge format
        #[arg(long, value_name = "FILE")]
        mot: Option<PathBuf>,
        /// A directory for the snapshots
        #[arg(long, value_name = "DIR")]
        snapshots: Option<PathBuf>,
    },
    /// Writes any recorded range of one camera as one MP4 file; the node may run or be stopped
    #[command(
        after_help = "Example:\n  wardwatch clip --camera ngo-12-dau --from 2026-11-24T02:10:00+07:00 --to 2026-11-24T02:12:00+07:00 \\\n    -o ngo-12-dau.mp4\n\nThe report says what is really covered, what is missing and why, and the file's SHA-256.\nExit codes: 0 written, 1 nothing is recorded there (it says why) or the disk refuses, 2 wrong configuration or usage."
    )]
    Clip {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        #[arg(long, value_name = "ID")]
        camera: String,
        /// RFC 3339; the clip begins at the keyframe before it
        #[arg(long, value_name = "TIME")]
        from: String,
        /// RFC 3339
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Must not exist yet
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// As H.264, for players that know no H.265; what is H.264 already stays as it is
        #[arg(long)]
        h264: bool,
    },
    /// Keeps a range of a camera from being deleted, whatever its age, until it is released; the node may run or be stopped
    #[command(
        after_help = "Examples:\n  wardwatch hold --camera ngo-12-dau --from 2026-11-24T02:10:00+07:00 --to 2026-11-24T02:40:00+07:00 \\\n    --reason \"case 17\"\n  wardwatch hold --list\n  wardwatch hold --release 01a20bf3-32a6-7b5e-aa08-a7084dba2d76\n\nThe range may lie in the future. Exit codes: 0 held, released or listed, 1 nothing of the range is left, or there is no\nsuch hold, 2 wrong configuration or usage."
    )]
    Hold {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        #[arg(long, value_name = "ID", requires_all = ["from", "to", "reason"], required_unless_present_any = ["list", "release"])]
        camera: Option<String>,
        /// RFC 3339
        #[arg(long, value_name = "TIME", requires = "camera")]
        from: Option<String>,
        /// RFC 3339
        #[arg(long, value_name = "TIME", requires = "camera")]
        to: Option<String>,
        /// Why, for whoever finds the hold later
        #[arg(long, value_name = "TEXT", requires = "camera")]
        reason: Option<String>,
        /// Says what is held
        #[arg(long, conflicts_with_all = ["camera", "release"])]
        list: bool,
        /// Ends a hold; what it kept leaves when its time is over
        #[arg(long, value_name = "ID", conflicts_with = "camera")]
        release: Option<String>,
    },
    /// Compares recordings on disk with their index and checks every hash; the node may run or be stopped
    #[command(
        after_help = "Example:\n  wardwatch fsck --config wardwatch.toml\n\nExit codes: 0 everything is in order, 1 there are problems (each on a line), 2 wrong configuration or usage."
    )]
    Fsck {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        /// Mends the index and removes leftovers; the node must be stopped. Damaged recordings are never touched
        #[arg(long)]
        repair: bool,
    },
    /// Where objects went on one camera in the last day, as JSON lines; the node may run or be stopped
    #[command(
        after_help = "Example:\n  wardwatch tracks --camera ngo-12-dau --from 2026-11-24T02:00:00+07:00 --to 2026-11-24T03:00:00+07:00\n\nA line is a piece of a track: boxes and times, no pictures. What came in the last minute may not be there yet.\n[track] keep_hours says for how long they are kept. Exit codes: 0 written, 1 there are none, 2 wrong configuration or usage."
    )]
    Tracks {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        #[arg(long, value_name = "ID")]
        camera: String,
        /// RFC 3339
        #[arg(long, value_name = "TIME")]
        from: String,
        /// RFC 3339
        #[arg(long, value_name = "TIME")]
        to: String,
    },
    /// Prints a one-time code with which a node may enrol; at the centre, which may run or be stopped
    #[command(
        after_help = "Example:\n  wardwatch enrol-code --config wardwatch.toml --node node-2\n\nThe code is good once and for an hour. A node that enrols again gets a new secret; its old one is good no more."
    )]
    EnrolCode {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        /// The node's [node] name
        #[arg(long, value_name = "NAME")]
        node: String,
    },
    /// Enrols this node at its centre, so that it may deliver clips; the node may run or be stopped
    #[command(after_help = "Example:\n  wardwatch enrol --config wardwatch.toml --code 7QK2-M4ZD-91XW-B6HT")]
    Enrol {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        /// What `wardwatch enrol-code` printed at the centre
        #[arg(long, value_name = "CODE")]
        code: String,
    },
    /// At the centre: has a node deliver a clip, keep recordings or let them go, and shows what came of it
    #[command(subcommand)]
    Ask(AskCommand),
    /// At the centre: accounts; a new one gets a one-time link that sets its password
    User {
        #[command(subcommand)]
        what: UserCommand,
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml", global = true)]
        config: PathBuf,
    },
    /// Copies state and keys into one file, which only its owner can read; node and centre may run or be stopped
    #[command(
        after_help = "Example:\n  wardwatch backup --config wardwatch.toml -o backup.tar\n\nIn it: both configuration files, the databases of node and centre, the broker's passwords, the node's identity, and\nthe files of passwords, certificates and keys that the configuration names. Not in it: recordings, clips, pictures of\nthe centre; the report says where they are. Databases are copied beside the file first: it needs twice their room.\n\nExit codes: 0 written and read back, 1 failed, 2 wrong configuration or usage."
    )]
    Backup {
        #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
        config: PathBuf,
        /// Must not exist yet
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Puts a backup into place; node and centre must be stopped
    #[command(
        after_help = "Examples:\n  wardwatch restore --from backup.tar --config /etc/wardwatch/wardwatch.toml   everything to the place it had\n  wardwatch restore --from backup.tar --to elsewhere                           everything below one directory\n\nThe archive is checked whole before anything is written. What is there already is left, and refused, or with --force\nput aside as ….before-restore-<milliseconds>. Started by root, files get the owner of the directory they are put in.\n\nExit codes: 0 restored, 1 the archive is damaged or node or centre run: nothing was changed; 2 something is there\nalready, a newer wardwatch made it, or wrong usage."
    )]
    Restore {
        /// What `wardwatch backup` wrote
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// What becomes of the backup's wardwatch.toml; the rest goes where it says
        #[arg(long, value_name = "FILE", required_unless_present = "to")]
        config: Option<PathBuf>,
        /// A directory for everything; absolute paths of the configuration go below it, too
        #[arg(long, value_name = "DIR", conflicts_with = "config")]
        to: Option<PathBuf>,
        /// Puts aside what is there already
        #[arg(long)]
        force: bool,
    },
    /// Started by the node, never by a person
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        socket: PathBuf,
    },
    /// Started by wardwatch itself, never by a person
    #[command(hide = true)]
    Transcode,
    /// Started by wardwatch itself, never by a person
    #[command(hide = true)]
    Still,
}

#[derive(Clone, Copy, ValueEnum)]
enum TransportArg {
    Tcp,
    Udp,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = program().and_then(|p| app::environment::ensure(&p)).and_then(|()| run(cli.command));
    match result {
        Ok(code) => code,
        Err(e) => {
            writeln!(std::io::stderr(), "wardwatch: {e}").ok();
            ExitCode::from(if e.kind() == ErrorKind::Config { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Demo { seconds, state_dir } => {
            app::telemetry::init(Some("warn,wardwatch=warn,ort=error"))?;
            let seen = app::demo::demo(&app::demo::DemoOptions { seconds, state_dir, program: program()? })?;
            Ok(if seen { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        Command::Run { config } => {
            app::telemetry::init(None)?;
            app::run::run(&config, program()?).map(done)
        }
        Command::Check { config } => {
            app::telemetry::init(Some("warn,ort=error"))?;
            app::check::check(&config, &mut std::io::stdout()).map(done)
        }
        Command::Probe { url, json, user, password_env, transport, tls_pin, seconds } => {
            app::telemetry::init(Some("warn"))?;
            let Some(url) = url else { return app::probe::obey().map(done) };
            let password = password_env.map(|name| password_from(&name)).transpose()?;
            let transport = match transport {
                TransportArg::Tcp => Transport::Tcp,
                TransportArg::Udp => Transport::Udp,
            };
            let options = app::probe::ProbeOptions { url, user, password, transport, tls_pin, seconds };
            let mut out = std::io::stdout();
            match json {
                true => app::probe::probe_json(&options, &mut out).map(|ok| ExitCode::from(u8::from(!ok))),
                false => app::probe::probe(&options, &mut out).map(done),
            }
        }
        Command::Replay { video, camera, start, config, frames, events, mot, snapshots } => {
            app::telemetry::init(None)?;
            let command = ReplayCommand { video, camera, start, config, frames, events, mot, snapshots };
            app::replay::command::run(&command).map(|_| ExitCode::SUCCESS)
        }
        Command::Clip { config, camera, from, to, output, h264 } => {
            app::telemetry::init(Some("warn"))?;
            let command = app::clip::ClipCommand { config, camera, from, to, output, h264, program: program()? };
            app::clip::cut_clip(&command, &mut std::io::stdout()).map(done)
        }
        Command::Hold { config, camera, from, to, reason, list: _, release } => {
            app::telemetry::init(Some("warn"))?;
            let what = match (camera, from, to, reason, release) {
                (Some(camera), Some(from), Some(to), Some(reason), _) => {
                    app::hold::What::Hold { camera, from, to, reason }
                }
                (.., Some(id)) => app::hold::What::Release { id },
                _ => app::hold::What::List,
            };
            let held = app::hold::command(&config, what, &mut std::io::stdout())?;
            Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::Fsck { config, repair } => {
            app::telemetry::init(Some("warn"))?;
            let clean = app::recordings::check_recordings(&config, repair, &mut std::io::stdout())?;
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::Tracks { config, camera, from, to } => {
            app::telemetry::init(Some("warn"))?;
            let written = app::tracks::write_tracks(&config, &camera, &from, &to, &mut std::io::stdout())?;
            Ok(if written > 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::Ask(asked) => {
            app::telemetry::init(Some("warn"))?;
            let done = app::ask::run(asked.command(), &mut std::io::stdout())?;
            Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Command::User { what, config } => {
            app::telemetry::init(Some("warn"))?;
            app::user::run(&config, what.command(), &mut std::io::stdout()).map(done)
        }
        Command::Transcode => {
            app::telemetry::init(Some("warn"))?;
            app::transcode::run().map(done)
        }
        Command::Still => {
            app::telemetry::init(Some("warn"))?;
            app::still::run().map(done)
        }
        Command::EnrolCode { config, node } => {
            app::telemetry::init(Some("warn"))?;
            app::enrol::enrol_code(&config, &node, &mut std::io::stdout()).map(done)
        }
        Command::Enrol { config, code } => {
            app::telemetry::init(Some("warn"))?;
            app::enrol::enrol(&config, &code, &mut std::io::stdout()).map(done)
        }
        Command::Backup { config, output } => {
            app::telemetry::init(Some("warn"))?;
            app::backup::backup(&config, &output, &mut std::io::stdout(), &mut std::io::stderr()).map(done)
        }
        Command::Restore { from, config, to, force } => {
            app::telemetry::init(Some("warn"))?;
            let target = match to {
                Some(directory) => app::restore::Target::Directory(directory),
                None => app::restore::Target::Config(config.unwrap_or_else(|| "wardwatch.toml".into())),
            };
            app::restore::restore(&from, &target, force, &mut std::io::stdout(), &mut std::io::stderr()).map(done)
        }
        Command::Worker { socket } => {
            app::telemetry::init(None)?;
            app::worker::run(&socket).map(done)
        }
    }
}

fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|e| Error::new(ErrorKind::Io, "wardwatch cannot find its own program").source(e))
}

fn password_from(name: &str) -> Result<String> {
    std::env::var(name)
        .map_err(|_| Error::new(ErrorKind::Config, format!("the environment variable {name} is not set")))
}

/// What a node can be asked. A node that is away is asked when it comes back, for seven days.
#[derive(Subcommand)]
enum AskCommand {
    /// Has a clip made of what a camera recorded, at most an hour, and delivered to the centre
    Clip {
        #[command(flatten)]
        range: AskRange,
        #[command(flatten)]
        why: AskWhy,
        #[command(flatten)]
        how: AskHow,
    },
    /// Keeps what a camera recorded, or will, until it is released
    Hold {
        #[command(flatten)]
        range: AskRange,
        #[command(flatten)]
        why: AskWhy,
        #[command(flatten)]
        how: AskHow,
    },
    /// Ends a hold
    Release {
        /// The hold's id, as `ask hold` printed it
        id: String,
        #[command(flatten)]
        why: AskWhy,
        #[command(flatten)]
        how: AskHow,
    },
    /// Shows how one command stands, or the last fifty
    Status {
        /// The id that was printed
        id: Option<String>,
        #[command(flatten)]
        how: AskHow,
    },
}

#[derive(clap::Args)]
struct AskRange {
    #[arg(long, value_name = "NAME")]
    node: String,
    #[arg(long, value_name = "ID")]
    camera: wardwatch::base::types::CameraId,
    /// RFC 3339, or "dd/MM/yyyy HH:mm:ss" by the site's clock
    #[arg(long, value_name = "TIME")]
    from: String,
    /// RFC 3339, or "dd/MM/yyyy HH:mm:ss" by the site's clock
    #[arg(long, value_name = "TIME")]
    to: String,
}

#[derive(clap::Args)]
struct AskWhy {
    /// Why; kept at the centre and on the node
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who asks; the user of this machine is noted in any case
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
}

#[derive(clap::Args)]
struct AskHow {
    #[arg(long, value_name = "FILE", default_value = "wardwatch.toml")]
    config: PathBuf,
    /// Wait so long for the answer, and for a clip until it is here; exit code 1 when it was not done
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600")]
    wait: Option<u64>,
}

impl AskCommand {
    fn command(self) -> app::ask::AskCommand {
        use app::ask::{Range, What, Why};
        let range = |r: AskRange| Range { node: r.node, camera: r.camera, from: r.from, to: r.to };
        let why = |w: AskWhy| Why { reason: w.reason, issuer: w.issuer };
        let (what, how) = match self {
            Self::Clip { range: r, why: w, how } => (What::Clip { range: range(r), why: why(w) }, how),
            Self::Hold { range: r, why: w, how } => (What::Hold { range: range(r), why: why(w) }, how),
            Self::Release { id, why: w, how } => (What::Release { hold: id, why: why(w) }, how),
            Self::Status { id, how } => (What::Status { id }, how),
        };
        let wait = how.wait.map(std::time::Duration::from_secs);
        app::ask::AskCommand { config: how.config, what, wait }
    }
}

/// Accounts. The centre may run or be stopped.
#[derive(Subcommand)]
enum UserCommand {
    /// Makes an account and prints a one-time link, good for 24 hours, that sets its password
    Add {
        /// What is typed at the login
        name: String,
        #[arg(long, value_parser = role, value_name = "ROLE", help = ROLES)]
        role: Role,
        /// What colleagues read (default: the name)
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
        /// A camera that may be seen; may be given again. Without any: all, for an owner none
        #[arg(long, value_name = "NODE/CAMERA", value_parser = app::user::camera)]
        camera: Vec<(String, String)>,
    },
    /// Shows all accounts
    List,
    /// Keeps an account from logging in; its sessions end at once
    Disable { name: String },
    /// Lets a disabled account log in again
    Enable { name: String },
    /// Gives an account another role; its sessions end at once
    Role {
        name: String,
        #[arg(value_parser = role, value_name = "ROLE", help = ROLES)]
        role: Role,
    },
    /// Prints a new one-time link that sets an account's password
    Link { name: String },
    /// Takes an account's second factor away: its user lost the phone
    NoTotp { name: String },
}

const ROLES: &str = "owner, duty_officer, commander, investigator, technician or auditor";

fn role(word: &str) -> std::result::Result<Role, String> {
    Role::parse(word).ok_or_else(|| format!("it is one of {ROLES}"))
}

impl UserCommand {
    fn command(self) -> app::user::What {
        use app::user::What;
        match self {
            Self::Add { name, role, display_name, camera } => What::Add { name, display_name, role, cameras: camera },
            Self::List => What::List,
            Self::Disable { name } => What::Disable { name },
            Self::Enable { name } => What::Enable { name },
            Self::Role { name, role } => What::Role { name, role },
            Self::Link { name } => What::Link { name },
            Self::NoTotp { name } => What::NoTotp { name },
        }
    }
}
