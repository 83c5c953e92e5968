//! `wardwatch ask`: a person at the centre's machine asks something of a node, and looks what came of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

use super::clip::meaning;
use super::enrol::{ask, ask_running, say};
use super::hold::issuer;
use crate::base::clock::SystemClock;
use crate::base::types::CameraId;
use crate::base::{Clock, Error, ErrorKind, Result};
use crate::centre::control::{Question, Reply};
use crate::centre::store::Asked;
use crate::config::{CentreConfig, ClipStore, load_site};
use crate::wire::command::{Ask, MissingJson};
use crate::wire::event::{parse_rfc3339, rfc3339};

/// How often a running centre is asked again.
const LOOK: Duration = Duration::from_secs(1);
/// How a person writes a time.
const TIME: &str = "%d/%m/%Y %H:%M:%S";

/// The arguments of `wardwatch ask`.
pub struct AskCommand {
    pub config: PathBuf,
    pub what: What,
    /// Wait so long for the answer, and for a clip until it is here.
    pub wait: Option<Duration>,
}

/// What is to be asked. Times as RFC 3339, or as dd/MM/yyyy HH:mm:ss by the site's clock.
pub enum What {
    Clip { range: Range, why: Why },
    Hold { range: Range, why: Why },
    Release { hold: String, why: Why },
    Status { id: Option<String> },
}

/// Of which camera, from when to when.
pub struct Range {
    pub node: String,
    pub camera: CameraId,
    pub from: String,
    pub to: String,
}

/// For the record.
pub struct Why {
    pub reason: String,
    /// Who asks, beside the user of this machine.
    pub issuer: Option<String>,
}

/// Asks and prints how it stands; false when it was waited for and was not done.
///
/// # Errors
/// `Config` without a `[centre]` or for times that are none, `Invalid` for what cannot be asked, `Unavailable` when a
/// running centre cannot be asked.
pub fn run(command: AskCommand, out: &mut impl Write) -> Result<bool> {
    let AskCommand { config, what, wait } = command;
    let site = load_site(&config)?;
    let centre = site.centre.as_ref().ok_or_else(|| no_centre(&config))?;
    let timezone = TimeZone::get(&site.timezone).unwrap_or(TimeZone::UTC);
    let list = matches!(what, What::Status { id: None });
    let mut commands = commands_of(ask(centre, question(what, &timezone)?)?)?;
    if list {
        for asked in &commands {
            say(out, &line(asked, &timezone))?;
        }
        return Ok(true);
    }
    let one = |commands: &mut Vec<Asked>| {
        commands.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "the centre answered nothing"))
    };
    let mut asked = one(&mut commands)?;
    let until = wait.map(|wait| SystemClock.now().mono + wait);
    while until.is_some_and(|until| SystemClock.now().mono < until) && !is_settled(&asked) {
        std::thread::sleep(LOOK);
        // A centre that does not run is left alone: whoever holds its database keeps it from starting.
        let question = Question::Status { id: Some(asked.command.id.clone()) };
        if let Some(reply) = ask_running(centre, &question)? {
            asked = one(&mut commands_of(reply)?)?;
        }
    }
    describe(&asked, centre, &timezone, out)?;
    let done = ["held", "released", "done", "delivered"].contains(&standing(&asked));
    Ok(wait.is_none() || done)
}

pub(super) fn no_centre(config: &Path) -> Error {
    Error::new(ErrorKind::Config, "there is no [centre] here")
        .at(config.display())
        .hint("run this on the machine of the centre")
}

fn commands_of(reply: Reply) -> Result<Vec<Asked>> {
    match reply {
        Reply::Asked { commands } => Ok(commands),
        Reply::Failed { message } => Err(Error::new(ErrorKind::Invalid, message)),
        _ => Err(Error::new(ErrorKind::Internal, "the centre answered something else")),
    }
}

fn question(what: What, timezone: &TimeZone) -> Result<Question> {
    let order = |node, what, why: Why| {
        let user = issuer();
        let issuer = why.issuer.map_or_else(|| user.clone(), |name| format!("{name} ({user})"));
        Question::Order { node, what, reason: why.reason, issuer }
    };
    let times = |range: &Range| -> Result<(String, String)> {
        Ok((time("--from", &range.from, timezone)?, time("--to", &range.to, timezone)?))
    };
    Ok(match what {
        What::Clip { range, why } => {
            let (from, to) = times(&range)?;
            order(Some(range.node), Ask::Clip { camera: range.camera, from, to }, why)
        }
        What::Hold { range, why } => {
            let (from, to) = times(&range)?;
            order(Some(range.node), Ask::Hold { camera: range.camera, from, to }, why)
        }
        What::Release { hold, why } => order(None, Ask::Release { hold }, why),
        What::Status { id } => Question::Status { id },
    })
}

/// RFC 3339 of a time as a person writes it.
fn time(argument: &str, text: &str, timezone: &TimeZone) -> Result<String> {
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let local = DateTime::strptime(TIME, text).ok()?;
        timezone.to_ambiguous_timestamp(local).compatible().ok()
    });
    let at = at.ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("{argument}: `{}` is no time", text.escape_debug()))
            .hint("for example \"24/11/2026 02:10:00\" or 2026-11-24T02:10:00+07:00")
    })?;
    Ok(rfc3339(at.as_millisecond(), timezone))
}

/// One word for how it stands; a script may rely on it.
fn standing(asked: &Asked) -> &str {
    match (asked.state.as_str(), asked.hold.as_deref(), &asked.command.ask) {
        (_, Some("released"), _) => "released",
        ("done", Some(hold), _) => hold,
        ("done", None, Ask::Clip { .. }) if asked.delivered.is_some() => "delivered",
        ("done", None, Ask::Clip { .. }) => "made",
        (state, ..) => state,
    }
}

fn is_settled(asked: &Asked) -> bool {
    !["pending", "made"].contains(&standing(asked))
}

fn in_vietnamese(standing: &str) -> &'static str {
    match standing {
        "pending" => "đang chờ máy trạm trả lời",
        "held" => "đang lưu giữ",
        "too_late" => "quá muộn, không còn gì để giữ",
        "released" => "đã thôi giữ",
        "done" => "xong",
        "made" => "đã cắt, đang gửi",
        "delivered" => "đã nhận",
        "refused" => "bị từ chối",
        "expired" => "hết hạn, không làm",
        _ => "không làm được",
    }
}

fn kind(ask: &Ask) -> &'static str {
    match ask {
        Ask::Clip { .. } => "cắt đoạn phim / clip",
        Ask::Hold { .. } => "lưu giữ / hold",
        Ask::Release { .. } => "thôi giữ / release",
    }
}

/// As an officer reads it.
pub(super) fn shown(ms: i64, timezone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned_datetime(timezone.clone());
    let minutes = at.offset().seconds() / 60;
    let (hours, rest) = (minutes / 60, minutes.abs() % 60);
    let offset = if rest == 0 { format!("{hours:+}") } else { format!("{hours:+}:{rest:02}") };
    format!("{} UTC{offset}", at.strftime(TIME))
}

fn shown_text(time: &str, timezone: &TimeZone) -> String {
    parse_rfc3339(time).map_or_else(|_| time.to_owned(), |ms| shown(ms, timezone))
}

fn subject(asked: &Asked, timezone: &TimeZone) -> String {
    match &asked.command.ask {
        Ask::Clip { camera, from, to } | Ask::Hold { camera, from, to } => {
            let (from, to) = (shown_text(from, timezone), shown_text(to, timezone));
            format!("{camera}  {from} – {to}")
        }
        Ask::Release { hold } => hold.clone(),
    }
}

fn line(asked: &Asked, timezone: &TimeZone) -> String {
    let (command, standing) = (&asked.command, standing(asked));
    format!(
        "{}  {}  {}  {} / {standing}  {}  {}  {}: {}",
        command.id,
        shown(asked.issued_ms, timezone),
        kind(&command.ask),
        in_vietnamese(standing),
        asked.node,
        subject(asked, timezone),
        command.issuer,
        command.reason,
    )
}

fn describe(asked: &Asked, centre: &CentreConfig, timezone: &TimeZone, out: &mut impl Write) -> Result<()> {
    let (command, standing) = (&asked.command, standing(asked));
    let mut row = |label: &str, text: &str| say(out, &format!("{label:<24}{text}"));
    row("mã / id", &command.id)?;
    row("trạng thái / state", &format!("{} / {standing}", in_vietnamese(standing)))?;
    row("việc / what", kind(&command.ask))?;
    row("máy trạm / node", &asked.node)?;
    row(if command.ask.kind() == "release" { "lệnh lưu giữ / hold" } else { "camera" }, &subject(asked, timezone))?;
    row("người yêu cầu / by", &command.issuer)?;
    row("lý do / reason", &command.reason)?;
    row("yêu cầu lúc / asked", &shown(asked.issued_ms, timezone))?;
    row("hết hạn / expires", &shown(asked.expires_ms, timezone))?;
    if let Some(at) = asked.answered_ms {
        row("trả lời lúc / answered", &shown(at, timezone))?;
    }
    let Some(answer) = &asked.answer else { return Ok(()) };
    row("chi tiết / detail", &answer.detail)?;
    if let Some(clip) = &answer.clip {
        let span = format!("{} – {}", shown_text(&clip.from, timezone), shown_text(&clip.to, timezone));
        let masked = if clip.masked { ", đã che vùng riêng tư / masks burned in" } else { "" };
        row("clip", &format!("{span}, {} byte, {}{masked}", clip.bytes, clip.codec))?;
        row("sha256", &clip.sha256)?;
        let name = |sha256: &str| format!("{}/{sha256}.mp4", &sha256[..2]);
        let file = match (&asked.delivered, &centre.clips) {
            (None, _) => "chưa tới / not here yet".to_owned(),
            (Some(sha256), ClipStore::Directory(directory)) => directory.join(name(sha256)).display().to_string(),
            (Some(sha256), ClipStore::S3(_)) => name(sha256),
        };
        row("tệp / file", &file)?;
    }
    if let Some(at) = &answer.changed_at {
        row("kết thúc sớm / ends early", &shown_text(at, timezone))?;
    }
    for MissingJson { from, to, why } in &answer.missing {
        let span = format!("{} – {}", shown_text(from, timezone), shown_text(to, timezone));
        row("thiếu / missing", &format!("{span}: {}", absent(why)))?;
    }
    if answer.missing_more > 0 {
        row("thiếu / missing", &format!("và {0} đoạn nữa / and {0} more", answer.missing_more))?;
    }
    Ok(())
}

/// Why a stretch is missing, in both languages.
fn absent(why: &str) -> String {
    let all = crate::record::clip::Why::ALL;
    let Some(known) = all.into_iter().find(|w| w.as_str() == why) else { return why.to_owned() };
    let vietnamese = match why {
        "offline" => "camera mất kết nối",
        "paused" => "ghi hình bị tạm ngừng",
        "disk_full" => "hết dung lượng đĩa",
        "node_down" => "máy trạm không chạy",
        "schedule" => "ngoài giờ ghi hình",
        "codec_change" => "camera đổi kiểu nén",
        "off" => "ghi hình đã tắt",
        "damaged" => "tệp hỏng hoặc đã mất",
        _ => "chưa từng ghi, hoặc đã xóa theo thời hạn",
    };
    format!("{vietnamese} / {}", meaning(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_and_shown_by_the_sites_clock() {
        let timezone = TimeZone::get("Asia/Ho_Chi_Minh").expect("bundled");
        for text in ["24/11/2026 02:10:00", "2026-11-24T02:10:00+07:00", "2026-11-23T19:10:00Z"] {
            let at = time("--from", text, &timezone).expect("a time");
            assert_eq!(at, "2026-11-24T02:10:00.000+07:00", "{text}");
            assert_eq!(shown_text(&at, &timezone), "24/11/2026 02:10:00 UTC+7");
        }
        for wrong in ["", "now", "2026-11-24", "31/02/2026 02:10:00", "24/11/26 02:10"] {
            assert!(time("--from", wrong, &timezone).is_err(), "{wrong}");
        }
    }
}
