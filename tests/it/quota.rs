//! The pictures' quota of the node's store: the oldest leave, events never, and nothing leaves that need not.

use wardwatch::base::types::Phase;
use wardwatch::store::Body;
use wardwatch::wire::event::PhaseJson;
use wardwatch::wire::receipt::Receipt;

use crate::store::{parsed, pending};
use crate::support::post::{new_id, now, open_store, picture, report, with_picture};

#[tokio::test]
async fn pictures_beyond_the_quota_go_oldest_first_and_their_events_say_so() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), 2500);
    let ids = [new_id(), new_id(), new_id()];
    for id in &ids {
        let snapshot = picture(1000);
        store
            .commit(with_picture(report(id, Phase::Started), &snapshot), Some(snapshot), now())
            .await
            .expect("commits");
    }
    assert_eq!(store.depths().await.expect("readable").snapshot_bytes, 2000);
    let rows = pending(&store, now()).await;
    let first: Vec<_> = rows.iter().filter(|r| r.event == ids[0]).filter_map(parsed).collect();
    assert_eq!(first.len(), 2, "its start and the loss");
    assert!(first[0].snapshot.is_some() && first[1].snapshot.is_none());
    assert_eq!(first[1].phase, PhaseJson::Updated);
    // The worker does not know and still names the picture: the store does.
    let lost = first[0].snapshot.clone().expect("named");
    let mut goes_on = report(&ids[0], Phase::Updated);
    goes_on.snapshot = Some(wardwatch::base::types::SnapshotInfo {
        sha256: lost.sha256,
        bytes: lost.bytes,
        width: lost.width,
        height: lost.height,
    });
    store.commit(goes_on, None, now()).await.expect("commits");
    let last = pending(&store, now()).await.iter().filter(|r| r.event == ids[0]).filter_map(parsed).next_back();
    assert_eq!(last.expect("there").snapshot, None);
}

#[tokio::test]
async fn the_quota_counts_what_waits_and_spares_what_is_on_its_way() {
    let directory = tempfile::tempdir().expect("dir");
    let (store, _) = open_store(directory.path(), 2500);
    let commit = async || {
        let (id, snapshot) = (new_id(), picture(1000));
        let r = with_picture(report(&id, Phase::Started), &snapshot);
        let done = store.commit(r, Some(snapshot.clone()), now()).await.expect("commits");
        (id, snapshot.info.sha256, done.snapshots_dropped)
    };
    let waiting = async || {
        let rows = pending(&store, now()).await;
        rows.into_iter().filter(|r| matches!(r.body, Body::Snapshot { .. })).map(|r| r.event).collect::<Vec<_>>()
    };
    let (_, sha256, _) = commit().await;
    let (second, ..) = commit().await;
    let receipt = Receipt { snapshots: vec![sha256], ..Receipt::default() };
    store.receipt(receipt, now()).await.expect("applied");
    let (third, _, dropped) = commit().await;
    assert_eq!((dropped, waiting().await), (0, vec![second.clone(), third.clone()]), "a receipt made room");

    // The second is on its way: the third is the oldest that may go.
    let rows = pending(&store, now()).await;
    let sent: Vec<i64> = rows.iter().filter(|r| r.event == second).map(|r| r.id).collect();
    store.mark_sent(sent, now()).await.expect("marked");
    let (fourth, _, dropped) = commit().await;
    assert_eq!((dropped, waiting().await), (1, vec![fourth.clone()]));
    // It comes back, and is the oldest again.
    store.reset_sent().await.expect("taken back");
    let (fifth, _, dropped) = commit().await;
    assert_eq!((dropped, waiting().await), (1, vec![fourth, fifth]));
    assert_eq!(store.depths().await.expect("readable").snapshot_bytes, 2000);
}
