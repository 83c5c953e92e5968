//! What the node has to tell of itself, as events of kind `system`: a disk that is full, a database made anew, a worker
//! that died, a clock that jumped. [`Conditions`] is pure; [`SystemEvents`] puts what it says into the store, in order,
//! and tries for as long as the store refuses. It never makes its callers wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::base::geometry::RelativeBox;
use crate::base::types::{CameraId, EventReport, Phase, Severity, Text};
use crate::base::{Clock, ErrorKind, Stamp};
use crate::store::{Rebuilt, Store};

/// Pictures that are dropped one after another are one event.
const SNAPSHOTS_QUIET: Duration = Duration::from_secs(600);
/// The wall clock ran this much faster or slower than time passed: somebody set it.
const JUMP_MS: i64 = 2_000;
const LOOK: Duration = Duration::from_secs(1);
/// Between tries while the store refuses.
const RETRY: Duration = Duration::from_secs(1);
/// More than a node in deep trouble has to tell; beyond it the oldest are dropped.
const ROOM: usize = 256;

/// Something that lasts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// Recording stopped: the disk has no room, or refuses to write.
    DiskFull,
    /// The disk is so full that events are kept in the room held back for them.
    ReserveInUse,
    /// The disk is at its floor and every recording left is held or being written.
    NothingToDelete,
    /// The clock leapt so far ahead that nothing is deleted for its age.
    ClockDoubtful,
    /// Pictures that the centre did not take leave, the oldest first.
    SnapshotsDropped,
    /// A worker died and its successor is not ready yet.
    WorkerDown(usize),
    /// A camera that ends its workers is not read for a time.
    CameraQuarantined { camera: CameraId, deaths: usize, retry_at: String },
}

/// Something that is over when it is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The database was damaged and made anew.
    DatabaseRebuilt { aside: String, salvaged: u64 },
    /// Somebody set the wall clock.
    ClockJumped { by_ms: i64 },
}

impl Condition {
    fn name(&self) -> &'static str {
        match self {
            Self::DiskFull => "disk-full",
            Self::ReserveInUse => "reserve-in-use",
            Self::NothingToDelete => "nothing-to-delete",
            Self::ClockDoubtful => "clock-doubtful",
            Self::SnapshotsDropped => "snapshots-dropped",
            Self::WorkerDown(_) => "worker-down",
            Self::CameraQuarantined { .. } => "camera-quarantined",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::DiskFull | Self::ReserveInUse | Self::NothingToDelete | Self::CameraQuarantined { .. } => {
                Severity::Alert
            }
            Self::ClockDoubtful | Self::SnapshotsDropped | Self::WorkerDown(_) => Severity::Notice,
        }
    }

    fn text(&self) -> Text {
        let (vi, en) = match self {
            Self::DiskFull => (
                "Ổ đĩa đầy hoặc không ghi được: đã ngừng ghi hình, sự kiện vẫn được lưu. Cần kiểm tra ổ đĩa.".into(),
                "The disk is full or refuses to write: recording has stopped, events are still kept. Look at the disk."
                    .into(),
            ),
            Self::ReserveInUse => (
                "Ổ đĩa đầy: sự kiện đang được lưu vào phần dự trữ cuối cùng. Cần dọn ổ đĩa ngay.".into(),
                "The disk is full: events are kept in the last reserve. Make room at once.".into(),
            ),
            Self::NothingToDelete => (
                "Ổ đĩa sắp đầy và mọi bản ghi còn lại đều đang được lưu giữ: sắp phải ngừng ghi hình. Cần thêm ổ đĩa hoặc thôi giữ."
                    .into(),
                "The disk is nearly full and every recording left is held: recording will have to stop. Add a disk or release holds."
                    .into(),
            ),
            Self::ClockDoubtful => (
                "Đồng hồ của máy trạm có vẻ sai (nhảy quá một tháng): tạm thời không xóa bản ghi cũ. Cần chỉnh giờ và kiểm tra pin đồng hồ."
                    .into(),
                "The node's clock seems wrong (it leapt by more than a month): old recordings are not deleted for now. Set the clock and look at its battery."
                    .into(),
            ),
            Self::SnapshotsDropped => (
                "Mất kết nối với trung tâm quá lâu: đang xóa bớt ảnh cũ nhất, sự kiện vẫn còn.".into(),
                "The centre has been away for long: the oldest pictures are dropped, events are kept.".into(),
            ),
            Self::WorkerDown(index) => (
                format!("Tiến trình đọc camera số {index} bị dừng và đang được khởi động lại."),
                format!("Worker {index}, which reads cameras, died and is started again."),
            ),
            Self::CameraQuarantined { camera, deaths, retry_at } => (
                format!(
                    "Camera {camera} làm tiến trình đọc camera bị dừng {}: tạm ngừng đọc và ghi hình camera này, thử lại lúc \
                     {retry_at}. Cần cập nhật phần mềm camera hoặc đổi cách nén.",
                    if *deaths == 1 { "thêm một lần".into() } else { format!("{deaths} lần trong 10 phút") }
                ),
                format!(
                    "Camera {camera} made its worker die {}: it is neither read nor recorded, and tried again at \
                     {retry_at}. Update its software or change its codec.",
                    if *deaths == 1 { "once more".into() } else { format!("{deaths} times within ten minutes") }
                ),
            ),
        };
        Text { vi, en }
    }
}

impl Moment {
    fn name(&self) -> &'static str {
        match self {
            Self::DatabaseRebuilt { .. } => "database-rebuilt",
            Self::ClockJumped { .. } => "clock-jumped",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::DatabaseRebuilt { .. } => Severity::Alert,
            Self::ClockJumped { .. } => Severity::Notice,
        }
    }

    fn text(&self) -> Text {
        match self {
            Self::DatabaseRebuilt { aside, salvaged } => Text {
                vi: format!(
                    "Cơ sở dữ liệu của máy trạm bị hỏng và đã được tạo lại; bản hỏng được lưu tại {aside}. Khôi phục được \
                     {salvaged} tin chưa gửi; các tin chưa gửi khác có thể đã mất."
                ),
                en: format!(
                    "The node's database was damaged and made anew; the damaged one is kept as {aside}. {salvaged} \
                     unsent messages were saved; others that were unsent may be lost."
                ),
            },
            Self::ClockJumped { by_ms } => {
                let seconds = *by_ms as f64 / 1000.0;
                Text {
                    vi: format!(
                        "Đồng hồ của máy trạm lệch đột ngột {} giây; thời gian của các sự kiện gần đây có thể sai.",
                        format!("{seconds:+.1}").replace('.', ",")
                    ),
                    en: format!(
                        "The node's clock jumped by {seconds:+.1} seconds; judge the times around it with care."
                    ),
                }
            }
        }
    }
}

/// What holds at a node, as events. Pure.
#[derive(Debug, Default)]
struct Conditions {
    open: BTreeMap<Condition, Open>,
    /// Wall minus monotonic time when last looked at, in milliseconds.
    offset_ms: Option<i64>,
}

#[derive(Debug)]
struct Open {
    /// Who says so: it holds until none of them does.
    holders: BTreeSet<String>,
    report: EventReport,
    last: Stamp,
}

impl Conditions {
    /// `holder` says that `condition` holds: the event, if it is new.
    fn begin(&mut self, condition: Condition, holder: &str, now: Stamp) -> Option<EventReport> {
        if let Some(open) = self.open.get_mut(&condition) {
            open.holders.insert(holder.to_owned());
            open.last = now;
            return None;
        }
        let report = report(condition.name(), condition.severity(), condition.text(), now);
        let holders = BTreeSet::from([holder.to_owned()]);
        self.open.insert(condition, Open { holders, report: report.clone(), last: now });
        Some(report)
    }

    /// `holder` says it no more: the event's end, if nobody else does.
    fn end(&mut self, condition: &Condition, holder: &str, now: Stamp) -> Option<EventReport> {
        let open = self.open.get_mut(condition)?;
        open.holders.remove(holder);
        if !open.holders.is_empty() {
            return None;
        }
        self.open.remove(condition).map(|open| ended(open.report, now))
    }

    fn end_all(&mut self, now: Stamp) -> Vec<EventReport> {
        std::mem::take(&mut self.open).into_values().map(|open| ended(open.report, now)).collect()
    }

    /// Time passes.
    fn tick(&mut self, now: Stamp) -> Vec<EventReport> {
        let mut told = Vec::new();
        let quiet = |open: &Open| now.since(open.last) >= SNAPSHOTS_QUIET;
        if self.open.get(&Condition::SnapshotsDropped).is_some_and(quiet) {
            let over = self.open.remove(&Condition::SnapshotsDropped);
            told.extend(over.map(|open| ended(open.report, now)));
        }
        let offset_ms = now.wall_ms - now.mono.as_millis() as i64;
        let by_ms = self.offset_ms.replace(offset_ms).map_or(0, |before| offset_ms - before);
        if by_ms.abs() >= JUMP_MS {
            told.extend(moment(&Moment::ClockJumped { by_ms }, now));
        }
        told
    }
}

fn moment(moment: &Moment, now: Stamp) -> [EventReport; 2] {
    let mut report = report(moment.name(), moment.severity(), moment.text(), now);
    report.clock_suspect = matches!(moment, Moment::ClockJumped { .. });
    [report.clone(), ended(report, now)]
}

fn ended(report: EventReport, now: Stamp) -> EventReport {
    EventReport { phase: Phase::Ended, updated_at: now, ended_at: Some(now), arrived_at: now, ..report }
}

fn report(name: &str, severity: Severity, message: Text, now: Stamp) -> EventReport {
    EventReport {
        id: Uuid::now_v7().to_string(),
        camera: None,
        model: String::new(),
        rule: name.into(),
        kind: EventReport::SYSTEM.into(),
        message: Some(message),
        phase: Phase::Started,
        severity,
        started_at: now,
        updated_at: now,
        ended_at: None,
        best_at: now,
        arrived_at: now,
        camera_time_ms: None,
        clock_suspect: false,
        zones: Vec::new(),
        line: None,
        direction: None,
        label: "".into(),
        score: 0.0,
        count: 0,
        tracks: Vec::new(),
        bbox: RelativeBox { left: 0.0, top: 0.0, right: 0.0, bottom: 0.0 },
        path: Vec::new(),
        snapshot: None,
        clip: None,
        config_revision: 0,
    }
}

/// Cloneable; whoever in the node notices something tells it here.
#[derive(Clone)]
pub(super) struct SystemEvents(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    wake: Notify,
    config_revision: AtomicU64,
}

#[derive(Default)]
struct State {
    conditions: Conditions,
    waiting: VecDeque<EventReport>,
}

impl SystemEvents {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        let (state, wake, config_revision) = (Mutex::default(), Notify::new(), AtomicU64::new(0));
        Self(Arc::new(Inner { store, clock, state, wake, config_revision }))
    }

    /// `holder` says that `condition` holds.
    pub(super) fn begin(&self, condition: Condition, holder: &str) {
        self.change(|conditions, now| conditions.begin(condition, holder, now));
    }

    /// `holder` says it no more.
    pub(super) fn end(&self, condition: &Condition, holder: &str) {
        self.change(|conditions, now| conditions.end(condition, holder, now));
    }

    /// `holder` says whether `condition` holds.
    pub(super) fn set(&self, condition: Condition, holder: &str, holds: bool) {
        match holds {
            true => self.begin(condition, holder),
            false => self.end(&condition, holder),
        }
    }

    /// Something happened.
    pub(super) fn tell(&self, what: &Moment) {
        self.change(|_, now| moment(what, now));
    }

    pub(super) fn set_config_revision(&self, revision: u64) {
        self.0.config_revision.store(revision, Ordering::Relaxed);
    }

    /// Puts into the store what is told, until `stop`; then ends what holds.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(LOOK);
        let mut reserve = self.0.store.reserve_in_use();
        let mut rebuilt = self.0.store.rebuilt();
        while !*stop.borrow() {
            tokio::select! {
                () = self.0.wake.notified() => {}
                changed = reserve.changed() => match changed {
                    Ok(()) if *reserve.borrow_and_update() => self.begin(Condition::ReserveInUse, "store"),
                    Ok(()) => self.end(&Condition::ReserveInUse, "store"),
                    // The store has gone; it is told at the next start what was open.
                    Err(_) => return,
                },
                Ok(()) = rebuilt.changed() => {
                    let new = rebuilt.borrow_and_update().clone();
                    if let Some(Rebuilt { aside, salvaged }) = new {
                        self.tell(&Moment::DatabaseRebuilt { aside: aside.display().to_string(), salvaged });
                    }
                }
                _ = looks.tick() => self.change(Conditions::tick),
                _ = stop.wait_for(|stop| *stop) => {}
            }
            self.commit_waiting(&stop).await;
        }
        self.change(Conditions::end_all);
        self.commit_waiting(&stop).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what a change has to tell.
    fn change<T: IntoIterator<Item = EventReport>>(&self, step: impl FnOnce(&mut Conditions, Stamp) -> T) {
        let now = self.0.clock.now();
        let mut state = self.state();
        for report in step(&mut state.conditions, now) {
            let message = report.message.as_ref().map(|m| m.en.as_str()).unwrap_or_default();
            tracing::warn!(condition = report.rule, phase = report.phase.as_str(), "{message}");
            state.waiting.push_back(report);
        }
        while state.waiting.len() > ROOM {
            let lost = state.waiting.pop_front();
            tracing::error!(condition = lost.map(|l| l.rule), "a system event is dropped: the store takes none");
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// Commits in order; with `stop` only what the store takes at once.
    async fn commit_waiting(&self, stop: &watch::Receiver<bool>) {
        loop {
            let Some(mut report) = self.state().waiting.front().cloned() else { return };
            report.config_revision = self.0.config_revision.load(Ordering::Relaxed);
            match self.0.store.commit(report.clone(), None, self.0.clock.now()).await {
                Err(e) if matches!(e.kind(), ErrorKind::Exhausted | ErrorKind::Io | ErrorKind::Timeout) => {
                    if *stop.borrow() {
                        return;
                    }
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Err(e) => tracing::error!(condition = report.rule, "a system event is refused: {e}"),
                Ok(_) => {}
            }
            let mut state = self.state();
            if state.waiting.front().is_some_and(|f| (&f.id, f.phase) == (&report.id, report.phase)) {
                state.waiting.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_condition_is_one_event_until_its_last_holder_lets_go() {
        let mut conditions = Conditions::default();
        let began = conditions.begin(Condition::DiskFull, "a", at(1)).expect("is new");
        assert_eq!((began.phase, began.severity, began.camera.is_none()), (Phase::Started, Severity::Alert, true));
        assert_eq!(conditions.begin(Condition::DiskFull, "b", at(2)), None);
        assert_eq!(conditions.end(&Condition::DiskFull, "a", at(3)), None, "b goes on");
        assert_eq!(conditions.end(&Condition::DiskFull, "a", at(4)), None, "said before");
        let over = conditions.end(&Condition::DiskFull, "b", at(5)).expect("is over");
        assert_eq!((over.id, over.phase, over.ended_at), (began.id.clone(), Phase::Ended, Some(at(5))));
        assert_eq!(conditions.end(&Condition::DiskFull, "b", at(6)), None);
        assert_ne!(conditions.begin(Condition::DiskFull, "b", at(7)).expect("is new").id, began.id);
        assert!(conditions.begin(Condition::WorkerDown(1), "", at(8)).is_some());
        assert!(conditions.begin(Condition::WorkerDown(2), "", at(8)).is_some());
        assert_eq!(conditions.end_all(at(9)).len(), 3);
    }

    #[test]
    fn pictures_dropped_in_a_row_are_one_event_that_ends_by_itself() {
        let mut conditions = Conditions::default();
        assert!(conditions.begin(Condition::SnapshotsDropped, "", at(0)).is_some());
        assert_eq!(conditions.begin(Condition::SnapshotsDropped, "", at(500)), None);
        assert!(conditions.tick(at(1000)).is_empty());
        assert_eq!(conditions.tick(at(1100)).len(), 1);
        assert!(conditions.tick(at(1200)).is_empty());
    }

    #[test]
    fn a_clock_that_is_set_is_told_once_with_its_step() {
        let mut conditions = Conditions::default();
        assert!(conditions.tick(at(0)).is_empty());
        assert!(conditions.tick(Stamp { wall_ms: 61_500, ..at(60) }).is_empty(), "it is drifting, not set");
        let back = Stamp { wall_ms: 61_000 - 3_600_000, ..at(61) };
        let told = conditions.tick(back);
        assert_eq!(told.iter().map(|r| r.phase).collect::<Vec<_>>(), [Phase::Started, Phase::Ended]);
        assert!(told[0].clock_suspect && told[0].message.as_ref().is_some_and(|m| m.en.contains("by -3601.5 seconds")));
        assert!(conditions.tick(Stamp { wall_ms: 62_000 - 3_600_000, ..at(62) }).is_empty());
    }
}
