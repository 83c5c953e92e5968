//! All parts of the node that go by the cameras document, in the order in which they are given a new one.

use tokio::sync::watch;

use super::clips;
use super::fleet::Fleet;
use super::live::Live;
use super::orders::Obeying;
use super::shelf::{self, Policies};
use crate::config::CamerasDocument;

/// Who goes by the document.
pub(super) struct Force {
    pub(super) clipping: clips::Running,
    pub(super) obeying: Obeying,
    pub(super) live: Live,
    pub(super) fleet: Fleet,
    pub(super) policies: watch::Sender<Policies>,
}

impl Force {
    /// First: what is covered from now on is on disk before anybody is given the document. False: it must not be applied.
    pub(super) async fn masks(&mut self, document: &CamerasDocument) -> bool {
        self.clipping.apply(document).await
    }

    /// Then all the others.
    pub(super) fn rest(&mut self, document: &CamerasDocument) {
        self.obeying.apply(document);
        self.live.apply(document);
        self.fleet.apply(document);
        self.policies.send_replace(shelf::policies(document));
    }
}
