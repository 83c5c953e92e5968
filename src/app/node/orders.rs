//! Does what the centre asks of this node. Holds and releases at once, clips one after the other beside everything else.
//!
//! What is not allowed or too late is answered and not remembered; what is done is remembered with its answer. Where
//! store or disk are in trouble nothing is answered, and the centre asks again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::clips::Clips;
use crate::base::types::{CameraId, ClipInfo};
use crate::base::{Clock, Error, ErrorKind, Result, Stamp};
use crate::config::{CamerasDocument, NodeConfig, Sharing};
use crate::publish::command::{Office, count};
use crate::record::clip::{ClipReport, Hole, Request, uncovered};
use crate::store::Store;
use crate::store::command::Kept;
use crate::store::hold::{Hold, Holding};
use crate::wire::command::{Answer, AnswerState, Ask, Command, HoldState, MissingJson, SKEW_MS};
use crate::wire::event::{ClipJson, Origin, rfc3339};

/// Clips that may wait; the centre asks again for more.
const QUEUE: usize = 16;
/// A clip that fails for its own reasons, or takes far too long, is given up after so many tries.
const TRIES: u32 = 3;
/// Of a camera whose owner shares events, so much may be asked for before and after one.
const AROUND_MS: i64 = 60_000;
/// A range that ends so soon is waited for: clocks differ a little.
const SOON_MS: i64 = 5_000;

const NOT_AN_EVENT: &str = "chủ camera chỉ chia sẻ sự kiện: chỉ yêu cầu được khoảng thời gian từ 60 giây trước đến 60 giây sau một sự kiện / the camera's owner \
     shares events: only from 60 s before to 60 s after one can be asked for";

/// What each camera's owner shares; the cameras of the document in force.
type Shared = HashMap<CameraId, Sharing>;

fn shared(document: &CamerasDocument) -> Shared {
    document.cameras.iter().map(|c| (c.id.clone(), c.sharing)).collect()
}

/// Cloneable; what an order needs.
#[derive(Clone)]
pub(super) struct Orders {
    store: Store,
    clips: Clips,
    clock: Arc<dyn Clock>,
    timezone: TimeZone,
    /// Clips can be delivered.
    link: bool,
    cameras: watch::Receiver<Shared>,
}

/// At work.
pub(super) struct Obeying {
    cameras: watch::Sender<Shared>,
    pub(super) task: JoinHandle<()>,
}

impl Obeying {
    /// Takes over a cameras document.
    pub(super) fn apply(&self, document: &CamerasDocument) {
        self.cameras.send_replace(shared(document));
    }
}

/// What becomes of an order now.
enum Course {
    /// JSON.
    Answered(String),
    /// It takes its turn.
    Clip,
}

impl Orders {
    /// Does what comes through `office` from now on.
    pub(super) fn start(
        node: &NodeConfig,
        origin: &Origin,
        store: Store,
        clips: Clips,
        clock: Arc<dyn Clock>,
        document: &CamerasDocument,
        office: Office,
    ) -> Obeying {
        let (shares, cameras) = watch::channel(shared(document));
        let timezone = origin.timezone.clone();
        let orders = Self { store, clips, clock, timezone, link: node.link.is_some(), cameras };
        Obeying { cameras: shares, task: tokio::spawn(orders.run(office)) }
    }

    /// Does orders until the publisher is gone, or until it is aborted: what is being made then is asked for again.
    async fn run(self, office: Office) {
        let Office { mut orders, answers } = office;
        let mut waiting: VecDeque<Command> = VecDeque::new();
        let mut at_work: Option<Command> = None;
        let mut tries: HashMap<String, u32> = HashMap::new();
        let mut jobs = JoinSet::new();
        loop {
            if at_work.is_none()
                && let Some(command) = waiting.pop_front()
            {
                at_work = Some(command.clone());
                let me = self.clone();
                jobs.spawn(async move { me.clip(&command).await });
            }
            tokio::select! {
                order = orders.recv() => {
                    let Some(command) = order else { return };
                    if at_work.iter().chain(&waiting).any(|c| c.id == command.id) {
                        continue;
                    }
                    match self.consider(&command).await {
                        Ok(Course::Answered(answer)) => offer(&answers, answer),
                        Ok(Course::Clip) if waiting.len() < QUEUE => waiting.push_back(command),
                        Ok(Course::Clip) => count("put_off"),
                        Err(e) => put_off(&command, &e),
                    }
                }
                Some(ended) = jobs.join_next() => {
                    let Some(command) = at_work.take() else { continue };
                    let made = ended.unwrap_or_else(|e| {
                        Err(Error::new(ErrorKind::Internal, "making the clip failed").source(e))
                    });
                    match self.settle(&command, made, &mut tries).await {
                        Ok(answer) => offer(&answers, answer),
                        Err(e) => put_off(&command, &e),
                    }
                }
            }
        }
    }

    /// Answers at once if it can.
    async fn consider(&self, command: &Command) -> Result<Course> {
        if let Some(answer) = self.store.command_answer(command.id.clone()).await? {
            count("repeated");
            return Ok(Course::Answered(answer));
        }
        let now = self.clock.now();
        if let Some(answer) = self.objection(command, now).await? {
            return self.told(command, &answer).map(Course::Answered);
        }
        let id = command.id.clone();
        let kept = match &command.ask {
            Ask::Clip { .. } => return Ok(Course::Clip),
            Ask::Release { hold } => {
                let tell = move |was: Option<Hold>| {
                    let detail = match was {
                        Some(_) => "lại bị xóa theo thời hạn thông thường / it may leave again",
                        None => {
                            "không có lệnh lưu giữ này, và sẽ không thực hiện / there was no such hold, and there will be none"
                        }
                    };
                    Answer { hold: Some(HoldState::Released), ..Answer::new(id, AnswerState::Done, detail) }
                };
                self.store.obey_release(command.clone(), hold.clone(), now, tell).await
            }
            Ask::Hold { .. } => {
                let Request { camera, from_ms, to_ms } = request(command)?;
                let (reason, issuer) = (command.reason.clone(), command.issuer.clone());
                let hold = Hold { id: id.clone(), camera, from_ms, to_ms, reason, issuer };
                let timezone = self.timezone.clone();
                let tell = move |kept| held(id, kept, (from_ms, to_ms.min(now.wall_ms)), &timezone);
                self.store.obey_hold(command.clone(), hold, now, tell).await
            }
        };
        let kept = match kept {
            Err(e) if e.kind() == ErrorKind::Invalid => {
                let answer = Answer::new(command.id.clone(), AnswerState::Failed, e.to_string());
                self.store.answer_command(command.clone(), answer, now).await
            }
            other => other,
        }?;
        self.kept(command, kept).map(Course::Answered)
    }

    /// The answer to what is not to be done.
    async fn objection(&self, command: &Command, now: Stamp) -> Result<Option<Answer>> {
        let sharing = match command.ask.range()? {
            Some((camera, ..)) => self.cameras.borrow().get(camera).copied(),
            None => None,
        };
        let mut objection = objection(command, now.wall_ms, sharing, self.link)?;
        let of_events = matches!(sharing, Some(Sharing::EventsOnly | Sharing::ScheduledLive));
        if objection.is_none() && of_events && matches!(command.ask, Ask::Clip { .. }) {
            let Request { camera, from_ms, to_ms } = request(command)?;
            if !self.store.is_about_events(camera, (from_ms, to_ms), AROUND_MS).await? {
                objection = Some((AnswerState::Refused, NOT_AN_EVENT));
            }
        }
        Ok(objection.map(|(state, why)| Answer::new(command.id.clone(), state, why)))
    }

    /// Makes a clip, when its turn has come. The answer as JSON, which is kept.
    async fn clip(&self, command: &Command) -> Result<String> {
        if let Some(answer) = self.objection(command, self.clock.now()).await? {
            return answer.to_json();
        }
        let timezone = &self.timezone;
        let tell = |info: &ClipInfo, report: &ClipReport| made(command, info, report, timezone);
        self.clips.obey(command, request(command)?, tell).await
    }

    /// The answer to a clip that was made, or will not be.
    ///
    /// # Errors
    /// What may pass.
    async fn settle(
        &self,
        command: &Command,
        made: Result<String>,
        tries: &mut HashMap<String, u32>,
    ) -> Result<String> {
        let error = match made {
            Ok(answer) => {
                tries.remove(&command.id);
                return self.kept(command, answer);
            }
            Err(e) => e,
        };
        match error.kind() {
            ErrorKind::Exhausted | ErrorKind::Io | ErrorKind::Corrupt => return Err(error),
            ErrorKind::NotFound => {}
            _ => {
                if tries.len() > 10 * QUEUE {
                    tries.clear();
                }
                let tried = tries.entry(command.id.clone()).or_default();
                *tried += 1;
                if *tried < TRIES {
                    return Err(error);
                }
            }
        }
        tries.remove(&command.id);
        let missing = match error.kind() {
            ErrorKind::NotFound => self.clips.missing(&request(command)?).await?,
            _ => Vec::new(),
        };
        let answer = Answer::new(command.id.clone(), AnswerState::Failed, error.to_string())
            .without(gone(&missing, &self.timezone));
        let kept = self.store.answer_command(command.clone(), answer, self.clock.now()).await?;
        self.kept(command, kept)
    }

    fn kept(&self, command: &Command, json: String) -> Result<String> {
        let answer: Answer = serde_json::from_str(&json)
            .map_err(|e| Error::new(ErrorKind::Internal, "a kept answer cannot be read").source(e))?;
        self.told(command, &answer)?;
        Ok(json)
    }

    fn told(&self, command: &Command, answer: &Answer) -> Result<String> {
        let (state, kind) = (answer.state.as_str(), command.ask.kind());
        count(state);
        tracing::info!(
            id = command.id,
            issuer = command.issuer,
            kind,
            state,
            detail = answer.detail,
            "the centre asked"
        );
        answer.to_json()
    }
}

/// Why a command is not to be done, if so. `sharing` is that of its camera, `None` when the document has no such.
fn objection(
    command: &Command,
    now_ms: i64,
    sharing: Option<Sharing>,
    link: bool,
) -> Result<Option<(AnswerState, &'static str)>> {
    let (issued_ms, expires_ms) = command.life()?;
    let refused = |why| Ok(Some((AnswerState::Refused, why)));
    if now_ms >= expires_ms {
        return Ok(Some((AnswerState::Expired, "đến sau khi hết hạn / it came after it had expired")));
    }
    if issued_ms > now_ms + SKEW_MS {
        return refused(
            "lệnh ghi thời gian ở tương lai: hãy kiểm tra đồng hồ các máy / it was issued in the future by this node's clock: check the clocks",
        );
    }
    let Some((_, _, to_ms)) = command.ask.range()? else { return Ok(None) };
    match sharing {
        None => return refused("máy trạm không có camera này / this node has no such camera"),
        Some(Sharing::Listed) => {
            return refused(
                "chủ camera không chia sẻ hình (`listed`) / the camera's owner shares no pictures (`listed`)",
            );
        }
        Some(_) => {}
    }
    if matches!(command.ask, Ask::Hold { .. }) {
        return Ok(None);
    }
    if !link {
        return refused(
            "máy trạm chưa cấu hình [node.link] để gửi đoạn phim / this node has no [node.link] to deliver a clip over",
        );
    }
    if to_ms > now_ms + SOON_MS {
        return refused("khoảng thời gian chưa kết thúc / the range is not over yet");
    }
    Ok(None)
}

fn request(command: &Command) -> Result<Request> {
    let (camera, from_ms, to_ms) =
        command.ask.range()?.ok_or_else(|| Error::new(ErrorKind::Internal, "this command has no range"))?;
    Ok(Request { camera: camera.clone(), from_ms, to_ms })
}

fn held(id: String, kept: Kept, (from_ms, until_ms): (i64, i64), timezone: &TimeZone) -> Answer {
    let holes = |segments: &[_], gaps: &[_]| gone(&uncovered(from_ms, until_ms, segments, gaps), timezone);
    let (state, detail, missing) = match kept {
        Kept::ReleasedBefore => {
            (HoldState::Released, "đã có lệnh thôi giữ / its release came first".to_owned(), vec![])
        }
        Kept::Holding(Holding::Held { segments, gaps, clips }) => {
            let (n, bytes) = (segments.len(), segments.iter().map(|s| s.bytes).sum::<u64>());
            let detail = format!(
                "{n} bản ghi ({bytes} byte), {clips} đoạn phim / {n} recordings ({bytes} bytes), {clips} clips"
            );
            (HoldState::Held, detail, holes(&segments, &gaps))
        }
        Kept::Holding(Holding::TooLate { gaps }) => {
            (HoldState::TooLate, "không còn gì để giữ / nothing of the range is left".to_owned(), holes(&[], &gaps))
        }
    };
    Answer { hold: Some(state), ..Answer::new(id, AnswerState::Done, detail).without(missing) }
}

fn made(command: &Command, info: &ClipInfo, report: &ClipReport, timezone: &TimeZone) -> Answer {
    let (bytes, seconds) = (info.bytes, report.duration_ms / 1000);
    let mut detail = format!("đoạn phim dài {seconds} giây, {bytes} byte / a clip of {seconds} s, {bytes} bytes");
    if !report.holes.is_empty() {
        detail.push_str("; thiếu một số đoạn / parts are missing");
    }
    if report.changed_at_ms.is_some() {
        detail.push_str(
            "; camera đổi luồng, hãy yêu cầu tiếp phần sau / the camera changed its stream, ask for the rest",
        );
    }
    Answer {
        clip: Some(ClipJson::new(info, timezone)),
        changed_at: report.changed_at_ms.map(|at| rfc3339(at, timezone)),
        ..Answer::new(command.id.clone(), AnswerState::Done, detail).without(gone(&report.holes, timezone))
    }
}

fn gone(holes: &[Hole], timezone: &TimeZone) -> Vec<MissingJson> {
    let time = |ms| rfc3339(ms, timezone);
    let json = |h: &Hole| MissingJson { from: time(h.start_ms), to: time(h.end_ms), why: h.why.as_str().to_owned() };
    holes.iter().map(json).collect()
}

/// One that finds no room is given when the centre asks again.
fn offer(answers: &mpsc::Sender<String>, answer: String) {
    answers.try_send(answer).ok();
}

fn put_off(command: &Command, error: &Error) {
    count("put_off");
    tracing::warn!(id = command.id, kind = command.ask.kind(), %error, "the centre asked; not done yet, it asks again");
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_521_600_000;

    fn command(kind: &str, issued: i64, expires: i64, to: i64) -> Command {
        let time = |ms| rfc3339(ms, &TimeZone::UTC);
        let ask = match kind {
            "release" => Ask::Release { hold: "01980000-0000-7000-8000-000000000001".into() },
            "hold" => Ask::Hold { camera: "ngo-1".parse().expect("valid"), from: time(to - 1000), to: time(to) },
            _ => Ask::Clip { camera: "ngo-1".parse().expect("valid"), from: time(to - 1000), to: time(to) },
        };
        Command {
            schema: crate::wire::command::SCHEMA.into(),
            id: "01980000-0000-7000-8000-000000000000".into(),
            issuer: "an".into(),
            reason: "case 7".into(),
            issued_at: time(issued),
            expires_at: time(expires),
            ask,
        }
    }

    #[test]
    fn what_is_not_to_be_done_is_told_why() {
        let all = Some(Sharing::EventsOnly);
        let says = |c: &Command, sharing, link| objection(c, NOW, sharing, link).expect("times").map(|(s, _)| s);
        let usual = |kind| command(kind, NOW - 1000, NOW + 60_000, NOW - 10_000);
        for kind in ["clip", "hold", "release"] {
            assert_eq!(says(&usual(kind), all, true), None, "{kind}");
            let late = command(kind, NOW - 60_000, NOW, NOW - 90_000);
            assert_eq!(says(&late, all, true), Some(AnswerState::Expired), "{kind}");
            let ahead = command(kind, NOW + SKEW_MS + 1, NOW + SKEW_MS + 1000, NOW - 10_000);
            assert_eq!(says(&ahead, all, true), Some(AnswerState::Refused), "{kind}");
        }
        for kind in ["clip", "hold"] {
            assert_eq!(says(&usual(kind), None, true), Some(AnswerState::Refused), "{kind}: unknown");
            assert_eq!(says(&usual(kind), Some(Sharing::Listed), true), Some(AnswerState::Refused), "{kind}: listed");
            assert_eq!(says(&usual(kind), Some(Sharing::OnRequest), true), None, "{kind}: on request");
        }
        let coming = |kind| command(kind, NOW - 1000, NOW + 60_000, NOW + SOON_MS + 1);
        assert_eq!(says(&coming("clip"), all, true), Some(AnswerState::Refused));
        assert_eq!(says(&coming("hold"), all, true), None, "what is still to come can be held");
        assert_eq!(says(&usual("clip"), all, false), Some(AnswerState::Refused), "no link");
        assert_eq!(says(&usual("release"), None, false), None, "a release is always taken");
    }
}
