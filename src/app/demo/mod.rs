//! `wardwatch demo`: the main job on one machine. Sample cameras loop real footage over RTSP; broker, node, workers and
//! centre are the real ones, started from configuration files that the demo writes and a person can read.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{broadcast, oneshot, watch};

use super::run::{Heard, Services, runtime, serve, signals};
use super::{Shutdown, join, stopped, thread, write_private};
use crate::base::types::{Codec, EventReport};
use crate::base::{Error, ErrorKind, Result};
use crate::centre::account::{self, Accounts, LinkKind};
use crate::centre::store::SqliteStore;
use crate::centre::{CommittedEvent, Notice};
use crate::config::load_site;
use crate::ingest::sample::{Footage, SampleCamera, SampleOptions};
use crate::link::observe;
use crate::publish::broker::{Broker, Role};
use crate::rules;
use crate::wire::event::{Event, PhaseJson, SeverityJson, parse_rfc3339};

const FOOTAGE_DIR: &str = ".cache/footage";
const RUNTIME: &str = ".cache/onnxruntime/libonnxruntime.so.1.32.0";
/// An event line waits this long for its picture.
const PICTURE_WAIT: Duration = Duration::from_secs(2);

/// How to run the demo.
pub struct DemoOptions {
    /// `None`: until a signal.
    pub seconds: Option<u64>,
    /// Emptied at every start.
    pub state_dir: PathBuf,
    /// The wardwatch binary, for workers.
    pub program: PathBuf,
}

/// Runs the demo; true if at least one event made the whole trip with its snapshot.
///
/// # Errors
/// When something it needs is missing (`make setup` fetches it) or cannot be started.
pub fn demo(options: &DemoOptions) -> Result<bool> {
    let screen = Screen::new();
    screen.say("wardwatch: chạy thử với bốn camera mẫu / demo with four sample cameras");
    let cameras = sample_cameras()?;
    let state_dir = fresh_dir(&options.state_dir)?;
    let config = write_config(&state_dir, &cameras)?;
    screen.say(&format!("cấu hình / configuration: {}", config.display()));
    let site = load_site(&config)?;
    let timezone = TimeZone::get(&site.timezone)
        .map_err(|e| Error::new(ErrorKind::Config, "the site's time zone is unknown").source(e))?;
    let metrics = observe::install_metrics()?;
    let seen = runtime()?.block_on(async {
        let (stop, shutdown) = watch::channel(false);
        let (reread, reload) = watch::channel(0);
        tokio::spawn(signals(stop.clone(), reread));
        if let Some(seconds) = options.seconds {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                stop.send_replace(true);
            });
        }
        let page = site.centre.as_ref().and_then(|c| c.web.as_ref()).map(|w| format!("http://{}", w.listen));
        let page = page.unwrap_or_default();
        let (on_centre, heard) = oneshot::channel();
        let printing = tokio::spawn(print_events(heard, page, screen.clone(), timezone, shutdown.clone()));
        let watching = screen.clone();
        let services = Services {
            site,
            program: options.program.clone(),
            metrics,
            on_centre: Some(on_centre),
            on_broker: Some(Box::new(move |broker| how_to_watch(broker, &watching))),
        };
        serve(services, reload, shutdown).await?;
        printing.await.map_err(|e| Error::new(ErrorKind::Internal, "the event printer failed").source(e))
    })?;
    for (camera, served) in cameras {
        camera.stop();
        join(served);
    }
    screen.say(&format!(
        "đã dừng / stopped: {} sự kiện, {} đủ ảnh / {} events, {} of them with their snapshot",
        seen.events, seen.with_snapshot, seen.events, seen.with_snapshot
    ));
    Ok(seen.with_snapshot > 0)
}

type Sample = (SampleCamera, JoinHandle<()>);

/// Says that a directory is the demo's own and may be emptied.
const MARKER: &str = "made-by-wardwatch-demo";

/// An empty directory. One that the demo has not made itself is never emptied.
fn fresh_dir(dir: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io("the demo's directory cannot be used", dir, e).hint("choose another with --state-dir");
    if dir.join(MARKER).exists() {
        std::fs::remove_dir_all(dir).map_err(failed)?;
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(Error::new(ErrorKind::Invalid, "this directory is not empty and not the demo's")
            .at(dir.display())
            .hint("choose another with --state-dir"));
    }
    std::fs::write(dir.join(MARKER), "").map_err(failed)?;
    std::fs::canonicalize(dir).map_err(failed)
}

fn sample_cameras() -> Result<Vec<Sample>> {
    let load = |name: &str, codec| {
        let path = Path::new(FOOTAGE_DIR).join(name);
        if !path.is_file() {
            return Err(Error::new(ErrorKind::NotFound, "the sample footage is not there")
                .at(path.display())
                .hint("run `make setup` (or `make demo`) in the directory of the project"));
        }
        Footage::load(&path, codec)
    };
    let street = load("street-h264.mp4", Codec::H264)?;
    let small = load("street-360p.mp4", Codec::H264)?;
    let hevc = load("street-h265.mp4", Codec::H265)?;
    // Four cameras of one street that do not all show the same moment.
    let quarter = street.len() / 4;
    let password = uuid::Uuid::new_v4().simple().to_string();
    let start = |footage: &Footage, quarters: usize, credentials: Option<(String, String)>| -> Result<Sample> {
        let options = SampleOptions { credentials, start_at: quarters * quarter, ..SampleOptions::default() };
        let (camera, serving) = SampleCamera::start(footage.clone(), options)?;
        let served = thread("sample camera", move || serving.run())?;
        Ok((camera, served))
    };
    Ok(vec![
        start(&street, 0, None)?,
        start(&small, 1, None)?,
        start(&hevc, 2, None)?,
        start(&street, 3, Some(("chu-ho".into(), password)))?,
    ])
}

fn write_config(state_dir: &Path, cameras: &[Sample]) -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(|e| Error::io("there is no current directory", ".", e))?;
    let password_file = state_dir.join("nha-ba-hoa.password");
    let password = cameras.last().and_then(|(camera, _)| camera.password()).unwrap_or_default();
    write_private(&password_file, password)?;
    let mut document = include_str!("cameras.toml").replace("{password_file}", &password_file.display().to_string());
    for (index, (camera, _)) in cameras.iter().enumerate() {
        document = document.replace(&format!("{{port_{index}}}"), &camera.port().to_string());
    }
    write_private(&state_dir.join("cameras.toml"), &document)?;
    let site = include_str!("wardwatch.toml")
        .replace("{models_dir}", &here.join("models").display().to_string())
        .replace("{runtime}", &here.join(RUNTIME).display().to_string())
        .replace("{web_port}", &web_port()?.to_string())
        .replace("{link_port}", &free_port()?.to_string())
        .replace("{state_dir}", &state_dir.display().to_string());
    let path = state_dir.join("wardwatch.toml");
    write_private(&path, &site)?;
    Ok(path)
}

/// 8080 if nobody uses it, so that the address can be remembered.
fn web_port() -> Result<u16> {
    match std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 8080)) {
        Ok(_) => Ok(8080),
        Err(_) => free_port(),
    }
}

/// A port that nobody uses now.
fn free_port() -> Result<u16> {
    let bound = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    bound.map(|address| address.port()).map_err(|e| Error::new(ErrorKind::Io, "no port is free").source(e))
}

fn how_to_watch(broker: &Broker, screen: &Screen) {
    screen.say("xem cùng sự kiện từ bên ngoài / watch the same events from outside:");
    screen.say(&format!(
        "  mosquitto_sub -V mqttv5 -h 127.0.0.1 -p {} -u {user} -P \"$(sed -n s/^{user}://p {})\" -t 'wardwatch/v1/+/+/camera/+/event'",
        broker.port(),
        broker.credentials_file().display(),
        user = Role::Watch.user(),
    ));
    screen.say("  (ảnh / pictures: -t 'wardwatch/v1/+/+/camera/+/snapshot/+' -C 1 -N > shot.jpg)");
    screen.say("mỗi dòng EVENT: … độ trễ từ khi khung hình đến máy trạm đến khi trung tâm lưu xong (ms)");
    screen.say("each EVENT line: … ms from the frame's arrival at the node to the centre's commit");
    screen.say("Ctrl-C để dừng / to stop");
}

/// Makes two people for the page, and says how to be either.
async fn invite(accounts: Accounts<SqliteStore>, page: &str, screen: &Screen) -> Result<()> {
    let people = [
        ("truc-ban", "Cán bộ trực ban (thử)", account::Role::DutyOfficer, "cán bộ trực ban / duty officer"),
        ("chi-huy", "Chỉ huy (thử)", account::Role::Commander, "chỉ huy / commander"),
    ];
    screen.say("trang trực ban, mỗi đường dẫn dùng một lần / the page, each link opens it once:");
    for (name, display_name, role, what) in people {
        let (user, _, _) = accounts.add(name, display_name, role, None, None).await?;
        let (token, _) = accounts.link(&user.id, LinkKind::Login, None).await?;
        screen.say(&format!("  {page}/#/link/{token}  ({what})"));
    }
    Ok(())
}

/// What came through.
#[derive(Default)]
struct Seen {
    events: u64,
    with_snapshot: u64,
}

/// Prints a line for every event revision the centre commits, with its picture's path when that is there.
async fn print_events(
    heard: oneshot::Receiver<Heard>,
    page: String,
    screen: Screen,
    timezone: TimeZone,
    mut shutdown: Shutdown,
) -> Seen {
    let mut seen = Seen::default();
    // A centre that did not start says why itself.
    let Ok(Heard { notices: mut heard, accounts }) = heard.await else { return seen };
    if let Some(accounts) = accounts
        && let Err(e) = invite(accounts, &page, &screen).await
    {
        screen.say(&format!("không có đường dẫn vào trang / no link to the page: {e}"));
    }
    let mut pictures: HashMap<String, PathBuf> = HashMap::new();
    let mut waiting: Vec<(tokio::time::Instant, Box<CommittedEvent>)> = Vec::new();
    let mut stopping = false;
    loop {
        let due = waiting.first().map(|(at, _)| *at);
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            notice = heard.recv() => match notice.as_deref() {
                Ok(Notice::Event(event)) => waiting.push((tokio::time::Instant::now() + PICTURE_WAIT, event.clone())),
                Ok(Notice::Snapshot { sha256, path, .. }) => {
                    pictures.insert(sha256.clone(), path.clone());
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(n)) => screen.say(&format!("({n} lines left out)")),
                Err(broadcast::error::RecvError::Closed) => break,
            },
            () = timer => {}
            () = stopped(&mut shutdown), if !stopping => {
                stopping = true;
                screen.say("đang dừng / stopping …");
            }
        }
        let now = tokio::time::Instant::now();
        let (ready, rest) = std::mem::take(&mut waiting).into_iter().partition(|(until, event)| {
            *until <= now
                || event.snapshot.is_some()
                || picture(event, &pictures).is_some()
                || event.event.snapshot.is_none()
        });
        waiting = rest;
        for (_, event) in ready {
            tell(&event, &pictures, &screen, &timezone, &mut seen);
        }
    }
    for (_, event) in waiting {
        tell(&event, &pictures, &screen, &timezone, &mut seen);
    }
    seen
}

fn picture<'a>(event: &'a CommittedEvent, pictures: &'a HashMap<String, PathBuf>) -> Option<&'a PathBuf> {
    let named = event.event.snapshot.as_ref().and_then(|s| pictures.get(&s.sha256));
    event.snapshot.as_ref().or(named)
}

fn tell(
    committed: &CommittedEvent,
    pictures: &HashMap<String, PathBuf>,
    screen: &Screen,
    timezone: &TimeZone,
    seen: &mut Seen,
) {
    let picture = picture(committed, pictures);
    if committed.event.phase == PhaseJson::Started {
        seen.events += 1;
        seen.with_snapshot += u64::from(picture.is_some());
    }
    screen.event(committed, picture, timezone);
}

/// Who took part, or what the node says.
fn what(event: &Event) -> String {
    match (&event.label, &event.message) {
        (Some(label), _) => format!("{label}×{} {:.2}", event.count, event.score),
        (None, Some(message)) => format!("{} / {}", message.vi, message.en),
        (None, None) => "-".into(),
    }
}

/// Standard output, with colours only on a terminal.
#[derive(Clone)]
struct Screen {
    colours: bool,
}

impl Screen {
    fn new() -> Self {
        Self { colours: std::io::stdout().is_terminal() }
    }

    fn say(&self, text: &str) {
        // Nobody reads a closed terminal; the demo goes on for its exit code.
        writeln!(std::io::stdout(), "{text}").ok();
    }

    fn event(&self, committed: &CommittedEvent, picture: Option<&PathBuf>, timezone: &TimeZone) {
        let e = &committed.event;
        let updated = parse_rfc3339(&e.updated_at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let time = updated
            .map(|t| t.to_zoned_datetime(timezone.clone()).strftime("%d/%m/%Y %H:%M:%S").to_string())
            .unwrap_or_default();
        let (vietnamese, english) = match rules::kind(&e.kind) {
            Some(kind) => (kind.vietnamese, kind.english),
            None if e.kind == EventReport::SYSTEM => ("hệ thống", "system"),
            None => ("?", "?"),
        };
        let phase = match e.phase {
            PhaseJson::Started => "bắt đầu/started",
            PhaseJson::Updated => "cập nhật/updated",
            PhaseJson::Ended => "kết thúc/ended",
        };
        let (severity, colour) = match e.severity {
            SeverityJson::Alert => ("cảnh báo/alert", "\x1b[31m"),
            SeverityJson::Notice => ("lưu ý/notice", "\x1b[33m"),
        };
        let severity = if self.colours { format!("{colour}{severity}\x1b[0m") } else { severity.to_owned() };
        self.say(&format!(
            "EVENT {time} {} {} ({vietnamese}/{english}) {phase} {severity} {} {} ms {}",
            e.camera.as_deref().unwrap_or("-"),
            e.rule,
            what(e),
            committed.latency_ms,
            picture.map_or("-".into(), |p| p.display().to_string()),
        ));
    }
}
