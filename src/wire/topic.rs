//! MQTT topics under `wardwatch/v1`. Built from validated names only, and parsed strictly: what others publish is input.

use crate::base::types::{CameraId, is_name};

/// The first two levels of every topic.
pub const ROOT: &str = "wardwatch/v1";

/// Topics of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTopics {
    base: String,
    ward: String,
}

impl NodeTopics {
    /// Topics of `node` in `ward`; both are validated names.
    pub fn new(ward: &str, node: &str) -> Self {
        Self { base: format!("{ROOT}/{ward}/{node}"), ward: ward.to_owned() }
    }

    /// Retained; last will.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// Retained.
    pub fn camera_status(&self, camera: &CameraId) -> String {
        format!("{}/camera/{camera}/status", self.base)
    }

    /// Event revisions of a camera.
    pub fn event(&self, camera: &CameraId) -> String {
        format!("{}/camera/{camera}/event", self.base)
    }

    /// Events of the node itself.
    pub fn system_event(&self) -> String {
        format!("{}/event", self.base)
    }

    /// The picture of an event.
    pub fn snapshot(&self, camera: &CameraId, event: &str) -> String {
        format!("{}/camera/{camera}/snapshot/{event}", self.base)
    }

    /// Receipts from the centre to this node.
    pub fn receipt(&self) -> String {
        format!("{}/receipt", self.base)
    }

    /// What the centre asks of this node.
    pub fn command(&self) -> String {
        format!("{}/command", self.base)
    }

    /// What this node answers.
    pub fn answer(&self) -> String {
        format!("{}/answer", self.base)
    }

    /// The centre of the node's ward; retained, last will.
    pub fn centre_status(&self) -> String {
        centre_status(&self.ward)
    }
}

/// Retained; last will of the centre.
pub fn centre_status(ward: &str) -> String {
    format!("{ROOT}/{ward}/centre/status")
}

/// What the centre subscribes to: everything of its ward's nodes.
pub fn ward_filters(ward: &str) -> [String; 6] {
    [
        format!("{ROOT}/{ward}/+/status"),
        format!("{ROOT}/{ward}/+/event"),
        format!("{ROOT}/{ward}/+/answer"),
        format!("{ROOT}/{ward}/+/camera/+/status"),
        format!("{ROOT}/{ward}/+/camera/+/event"),
        format!("{ROOT}/{ward}/+/camera/+/snapshot/+"),
    ]
}

/// A topic of a node, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    NodeStatus {
        node: String,
    },
    Answer {
        node: String,
    },
    CameraStatus {
        node: String,
        camera: CameraId,
    },
    /// `camera` is none for events of the node itself.
    Event {
        node: String,
        camera: Option<CameraId>,
    },
    Snapshot {
        node: String,
        camera: CameraId,
        event: String,
    },
}

/// Takes a topic of `ward` apart; `None` for anything that is not exactly one of ours.
pub fn parse(ward: &str, topic: &str) -> Option<Topic> {
    let rest = topic.strip_prefix(ROOT)?.strip_prefix('/')?.strip_prefix(ward)?.strip_prefix('/')?;
    let parts: Vec<&str> = rest.split('/').collect();
    let node = (*parts.first()?).to_owned();
    if !is_name(&node) || node == "centre" {
        return None;
    }
    let camera = |name: &str| name.parse::<CameraId>().ok();
    match parts[1..] {
        ["status"] => Some(Topic::NodeStatus { node }),
        ["answer"] => Some(Topic::Answer { node }),
        ["camera", c, "status"] => Some(Topic::CameraStatus { node, camera: camera(c)? }),
        ["event"] => Some(Topic::Event { node, camera: None }),
        ["camera", c, "event"] => Some(Topic::Event { node, camera: Some(camera(c)?) }),
        ["camera", c, "snapshot", event] if is_event_id(event) => {
            Some(Topic::Snapshot { node, camera: camera(c)?, event: event.to_owned() })
        }
        _ => None,
    }
}

/// Whether `id` is a UUID in its usual lower-case form.
pub fn is_event_id(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_come_apart_as_they_were_built() {
        let topics = NodeTopics::new("o-cho-dua", "node-1");
        let camera: CameraId = "ngo-12-a".parse().expect("valid");
        let id = "01980000-0000-7000-8000-000000000000";
        let node = || "node-1".to_owned();
        assert_eq!(parse("o-cho-dua", &topics.status()), Some(Topic::NodeStatus { node: node() }));
        assert_eq!(
            parse("o-cho-dua", &topics.event(&camera)),
            Some(Topic::Event { node: node(), camera: Some(camera.clone()) })
        );
        assert_eq!(parse("o-cho-dua", &topics.system_event()), Some(Topic::Event { node: node(), camera: None }));
        assert_eq!(
            parse("o-cho-dua", &topics.snapshot(&camera, id)),
            Some(Topic::Snapshot { node: node(), camera, event: id.into() })
        );
    }

    #[test]
    fn foreign_and_hostile_topics_are_nobody() {
        for topic in [
            "wardwatch/v1/other/node-1/status",
            "wardwatch/v1/o-cho-dua/centre/status",
            "wardwatch/v1/o-cho-dua/node-1/camera/../event",
            "wardwatch/v1/o-cho-dua/node-1/camera/a/snapshot/../../etc/passwd",
            "wardwatch/v1/o-cho-dua/node-1/camera/a/snapshot/ZZ",
            "wardwatch/v1/o-cho-duax/node-1/status",
            "",
        ] {
            assert_eq!(parse("o-cho-dua", topic), None, "{topic}");
        }
    }
}
