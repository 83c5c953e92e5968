//! What the centre knows of its cameras by heart: names, places, terms, and how each stands. Filled from the store and
//! from what nodes tell; asked for every decision, so it is in memory. Nothing here is the truth: the store is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use super::account::CameraKey;
use super::account::can::Lent;
use super::store::{StoredCamera, StoredNode};
use crate::config::Sharing;
use crate::wire::channel::{CameraInfo, Emergency};
use crate::wire::status::{CameraStatus, PeerState, PeerStatus};

/// What is known of one camera.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// As its node described it; none until it did.
    pub info: Option<CameraInfo>,
    /// The revision of the document that the description is from.
    pub revision: u64,
    /// What its node last said of it.
    pub status: Option<CameraStatus>,
}

/// An emergency in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub id: String,
    /// Who declared it, for the node.
    pub who: String,
    pub reason: String,
    /// UTC milliseconds.
    pub until_ms: i64,
    /// `None`: all cameras.
    pub cameras: Option<Vec<CameraKey>>,
}

impl InForce {
    fn reaches(&self, key: &CameraKey, now_ms: i64) -> bool {
        self.until_ms > now_ms && self.cameras.as_ref().is_none_or(|c| c.contains(key))
    }
}

#[derive(Default)]
struct Inner {
    cameras: BTreeMap<CameraKey, Known>,
    nodes: BTreeMap<String, PeerStatus>,
    emergencies: Vec<InForce>,
}

/// All cameras and nodes.
#[derive(Default)]
pub struct Directory(RwLock<Inner>);

impl Directory {
    fn read<T>(&self, ask: impl FnOnce(&Inner) -> T) -> T {
        ask(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the store has.
    pub fn fill(&self, nodes: Vec<StoredNode>, cameras: Vec<StoredCamera>) {
        self.write(|inner| {
            inner.nodes = nodes.into_iter().map(|n| (n.node, n.status)).collect();
            for c in cameras {
                inner.cameras.entry((c.node, c.camera)).or_default().status = Some(c.status);
            }
        });
    }

    /// A node described its cameras: any other of it has no description any more.
    pub fn describe(&self, node: &str, revision: u64, cameras: Vec<CameraInfo>) {
        self.write(|inner| {
            let named: HashSet<String> = cameras.iter().map(|c| c.id.to_string()).collect();
            for ((of, id), known) in &mut inner.cameras {
                if of == node && !named.contains(id) {
                    known.info = None;
                }
            }
            for info in cameras {
                let known = inner.cameras.entry((node.to_owned(), info.id.to_string())).or_default();
                known.info = Some(info);
                known.revision = revision;
            }
            inner.cameras.retain(|_, known| known.info.is_some() || known.status.is_some());
        });
    }

    /// A camera's status was committed; `None`: it is gone.
    pub fn camera(&self, node: &str, camera: &str, status: Option<CameraStatus>) {
        let key = (node.to_owned(), camera.to_owned());
        self.write(|inner| match status {
            Some(status) => inner.cameras.entry(key).or_default().status = Some(status),
            None => {
                inner.cameras.remove(&key);
            }
        });
    }

    /// A node's status was committed.
    pub fn node(&self, node: &str, status: Option<PeerStatus>) {
        self.write(|inner| match status {
            Some(status) => {
                inner.nodes.insert(node.to_owned(), status);
            }
            None => {
                inner.nodes.remove(node);
            }
        });
    }

    /// The emergencies that are declared.
    pub fn emergencies(&self, emergencies: Vec<InForce>) {
        self.write(|inner| inner.emergencies = emergencies);
    }

    /// One camera.
    pub fn get(&self, node: &str, camera: &str) -> Option<Known> {
        self.read(|inner| inner.cameras.get(&(node.to_owned(), camera.to_owned())).cloned())
    }

    /// All cameras.
    pub fn cameras(&self) -> Vec<(CameraKey, Known)> {
        self.read(|inner| inner.cameras.iter().map(|(key, known)| (key.clone(), known.clone())).collect())
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<(String, PeerStatus)> {
        self.read(|inner| inner.nodes.iter().map(|(node, status)| (node.clone(), status.clone())).collect())
    }

    /// Whether what the camera said last counts now: its node is online, in the run that said it.
    pub fn is_current(&self, node: &str, status: &CameraStatus) -> bool {
        self.read(|inner| {
            inner.nodes.get(node).is_some_and(|n| n.state == PeerState::Online && n.boot_id == status.boot_id)
        })
    }

    /// What people call cameras, and the alleys where they are.
    pub fn names(&self) -> HashMap<CameraKey, String> {
        let named = |(key, known): (&CameraKey, &Known)| {
            known.info.as_ref().map(|info| (key.clone(), format!("{}\n{}", info.name, info.area)))
        };
        self.read(|inner| inner.cameras.iter().filter_map(named).collect())
    }

    /// The cameras of these alleys.
    pub fn in_areas(&self, areas: &[String]) -> Vec<CameraKey> {
        let within = |known: &Known| known.info.as_ref().is_some_and(|i| areas.contains(&i.area));
        self.read(|inner| inner.cameras.iter().filter(|(_, known)| within(known)).map(|(key, _)| key.clone()).collect())
    }

    /// Asks `decide` about a camera on the terms that are in force at `now_ms`.
    pub fn lent<T>(&self, node: &str, camera: &str, now_ms: i64, decide: impl FnOnce(Lent<'_>) -> T) -> T {
        let key = (node.to_owned(), camera.to_owned());
        let (sharing, emergency) = self.read(|inner| {
            let sharing = inner.cameras.get(&key).and_then(|k| k.info.as_ref()).map(|i| i.sharing);
            (sharing, inner.emergencies.iter().any(|e| e.reaches(&key, now_ms)))
        });
        decide(Lent { node, camera, sharing, emergency })
    }

    /// The emergency by which a camera may be watched that its owner does not share live.
    pub fn emergency(&self, node: &str, camera: &str, now_ms: i64) -> Option<Emergency> {
        let key = (node.to_owned(), camera.to_owned());
        self.read(|inner| {
            let sharing = inner.cameras.get(&key).and_then(|k| k.info.as_ref()).map(|i| i.sharing);
            if sharing == Some(Sharing::ScheduledLive) {
                return None;
            }
            let found = inner.emergencies.iter().find(|e| e.reaches(&key, now_ms))?;
            let InForce { id, who, reason, until_ms, .. } = found.clone();
            Some(Emergency { id, who, reason, until_ms })
        })
    }

    /// How far two cameras are from each other, where both places are known. Equirectangular: right within a ward.
    pub fn metres(&self, a: (&str, &str), b: (&str, &str)) -> Option<u32> {
        let place = |key: (&str, &str)| self.get(key.0, key.1)?.info?.position;
        let ([lat_a, lon_a], [lat_b, lon_b]) = (place(a)?, place(b)?);
        let metres_a_degree = 111_320.0;
        let north = (lat_b - lat_a) * metres_a_degree;
        let east = (lon_b - lon_a) * metres_a_degree * ((lat_a + lat_b) / 2.0).to_radians().cos();
        Some(north.hypot(east).round() as u32)
    }
}
