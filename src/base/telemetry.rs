//! Names of metrics in one place, so that code, tests and `docs/metrics.md` agree. Cameras are labelled by id only.

/// Access units received on the detect stream. Label `camera`.
pub const FRAMES_IN: &str = "wardwatch_frames_in_total";
/// Frames the detector looked at. Label `camera`.
pub const FRAMES_INFERRED: &str = "wardwatch_frames_inferred_total";
/// Frames overwritten in the mailbox before the detector came round. Label `camera`.
pub const FRAMES_REPLACED: &str = "wardwatch_frames_replaced_total";
/// Detection results dropped because the camera's task was behind. Label `camera`.
pub const RESULTS_DROPPED: &str = "wardwatch_results_dropped_total";
/// Access units that left the ring before the decoder had read them. Label `camera`.
pub const UNITS_SKIPPED: &str = "wardwatch_units_skipped_total";
/// Groups of pictures that left the ring to stay within its bytes. Label `camera`.
pub const GOPS_EVICTED: &str = "wardwatch_gops_evicted_total";
/// Objects found. Label `camera`.
pub const DETECTIONS: &str = "wardwatch_detections_total";
/// Events started. Label `camera`.
pub const EVENTS: &str = "wardwatch_events_total";
/// Connections to the camera that were made again. Label `camera`.
pub const RECONNECTS: &str = "wardwatch_reconnects_total";
/// Bytes of recordings that were ended. Label `camera`.
pub const RECORD_BYTES: &str = "wardwatch_record_bytes_total";
/// Recordings (files) that were ended. Label `camera`.
pub const RECORD_SEGMENTS: &str = "wardwatch_record_segments_total";
/// Times without recording that began. Labels `camera`, `reason`.
pub const RECORD_GAPS: &str = "wardwatch_record_gaps_total";
/// 1 while the machine's clock seems to have leapt ahead, and recordings are not deleted for their age.
pub const CLOCK_DOUBTFUL: &str = "wardwatch_clock_doubtful";
/// Clips made. Labels `camera`, `kind` (`final`, `interim`, `asked`).
pub const CLIPS: &str = "wardwatch_clips_total";
/// Tries to make an event's clip that failed. Label `camera`.
pub const CLIPS_FAILED: &str = "wardwatch_clips_failed_total";
/// Clips that left the disk before the centre had them, because it was full. Label `camera`.
pub const CLIPS_LOST: &str = "wardwatch_clips_lost_total";
/// Seconds from the end of an event's post-roll to the revision that tells of its clip.
pub const CLIP_SECONDS: &str = "wardwatch_clip_seconds";
/// Pieces of tracks that were not kept, because the disk is full or the store failed.
pub const TRACKS_DROPPED: &str = "wardwatch_tracks_dropped_total";
/// 1 for the state a camera is in, 0 for the others. Labels `camera`, `state`.
pub const CAMERA_STATE: &str = "wardwatch_camera_state";
/// Workers started again after they died.
pub const WORKER_RESTARTS: &str = "wardwatch_worker_restarts_total";
/// Workers ended by the node. Label `reason` (`hang`, `memory`, `disk`).
pub const WORKER_KILLS: &str = "wardwatch_worker_kills_total";
/// Resident memory of a worker. Label `worker`.
pub const WORKER_MEMORY: &str = "wardwatch_worker_memory_bytes";
/// 1 for each layer of the sandbox that a worker has. Labels `worker`, `layer`.
pub const WORKER_SANDBOX: &str = "wardwatch_worker_sandbox";
/// Cameras that are not read because they ended their workers.
pub const CAMERAS_QUARANTINED: &str = "wardwatch_cameras_quarantined";
/// Seconds of one inference.
pub const INFERENCE_SECONDS: &str = "wardwatch_inference_seconds";
/// Rows that the centre has not receipted. Label `state` (`pending`, `sent`, `parked`).
pub const OUTBOX_DEPTH: &str = "wardwatch_outbox_depth";
/// Snapshots dropped to stay within the disk quota.
pub const SNAPSHOTS_DROPPED: &str = "wardwatch_snapshots_dropped_total";
/// Seconds from a frame's arrival to the centre's receipt for its event.
pub const RECEIPT_SECONDS: &str = "wardwatch_arrival_to_receipt_seconds";
/// Commands of the centre. Label `state` (`done`, `failed`, `expired`, `refused`, `repeated`; not answered: `put_off`,
/// `malformed`).
pub const COMMANDS: &str = "wardwatch_commands_total";
/// 1 while the node is connected to the broker.
pub const BROKER_CONNECTED: &str = "wardwatch_broker_connected";
/// Messages the centre committed. Label `kind` (`event`, `snapshot`).
pub const CENTRE_COMMITTED: &str = "wardwatch_centre_committed_total";
/// Messages the centre had already. Label `kind`.
pub const CENTRE_DUPLICATES: &str = "wardwatch_centre_duplicates_total";
/// Messages the centre refused. Label `reason` (`topic`, `oversized`, `malformed`, `mismatch`,
/// `conflict`, `store`).
pub const CENTRE_REFUSED: &str = "wardwatch_centre_refused_total";
/// Seconds from a frame's arrival at its node to the centre's commit.
pub const COMMIT_SECONDS: &str = "wardwatch_arrival_to_commit_seconds";
/// Messages kept aside because the broker or the centre would not take them.
pub const PARKED: &str = "wardwatch_outbox_parked_total";
/// Times another node was seen under this node's name.
pub const NAME_CONFLICTS: &str = "wardwatch_node_name_conflicts_total";
/// Times the mosquitto child was started again after it ended.
pub const BROKER_RESTARTS: &str = "wardwatch_broker_restarts_total";
/// Clips that were delivered whole.
pub const CENTRE_CLIPS: &str = "wardwatch_centre_clips_total";
/// Bytes of clips that came, those sent again included.
pub const CENTRE_CLIP_BYTES: &str = "wardwatch_centre_clip_bytes_total";
/// Requests of nodes, or of strangers, that were refused. Label `reason` (see docs/metrics.md).
pub const CENTRE_LINK_REFUSED: &str = "wardwatch_centre_link_refused_total";
/// Connections that a door of the centre had no place for.
pub const CENTRE_CONNECTIONS_REFUSED: &str = "wardwatch_centre_connections_refused_total";
/// Clips that wait to be delivered to the centre.
pub const CLIPS_WAITING: &str = "wardwatch_clips_waiting";
/// Clips that the centre has.
pub const CLIPS_DELIVERED: &str = "wardwatch_clips_delivered_total";
/// Clips that cannot be delivered and were put aside until the next start.
pub const CLIPS_PARKED: &str = "wardwatch_clips_parked_total";
/// Bytes of clips that the centre has taken.
pub const CLIP_BYTES_SENT: &str = "wardwatch_clip_bytes_sent_total";
/// 1 while the channel to the centre stands.
pub const CHANNEL_CONNECTED: &str = "wardwatch_channel_connected";
/// Cameras of which pictures are shown, and streams that are sent, now.
pub const LIVE_WATCHES: &str = "wardwatch_live_watches";
/// Live pictures that were made. Label `camera`.
pub const LIVE_PICTURES: &str = "wardwatch_live_pictures_total";
/// Bytes of live pictures and streams that were sent.
pub const LIVE_BYTES: &str = "wardwatch_live_bytes_total";
/// Watches of the centre that this node refused. Label `reason` (`sharing`, `emergency`, `camera`, `busy`).
pub const LIVE_REFUSED: &str = "wardwatch_live_refused_total";
/// Messages that a webhook's receiver took. Label `webhook`.
pub const WEBHOOKS_TAKEN: &str = "wardwatch_webhooks_taken_total";
/// Attempts to tell a webhook's receiver that failed. Label `webhook`.
pub const WEBHOOKS_FAILED: &str = "wardwatch_webhooks_failed_total";
/// Messages that a webhook's receiver did not take in time, and that were given up. Label `webhook`.
pub const WEBHOOKS_GIVEN_UP: &str = "wardwatch_webhooks_given_up_total";
/// Messages that wait for a webhook's receiver. Label `webhook`.
pub const WEBHOOKS_WAITING: &str = "wardwatch_webhooks_waiting";
/// Nodes whose channel stands.
pub const CENTRE_CHANNELS: &str = "wardwatch_centre_channels";
