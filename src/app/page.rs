//! Wiring of the page: threads that read the store, the task that tells the page what was committed, the door.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::centre::Ward;
use super::{Shutdown, stopped, thread};
use crate::base::{Clock, Result};
use crate::centre::account::{Accounts, password};
use crate::centre::api::v1::{self, Api, Parts};
use crate::centre::directory::Directory;
use crate::centre::feed::Feed;
use crate::centre::live::Hub;
use crate::centre::objects::Objects;
use crate::centre::store::SqliteStore;
use crate::centre::thumbnail;
use crate::centre::{Health, Notice};
use crate::config::{CentreConfig, WebConfig};

/// Questions answered at the same time.
const READERS: usize = 2;
/// No question takes longer.
const LIMIT: Duration = Duration::from_secs(5);

/// What the page is joined to.
pub(super) struct Joined<'a> {
    pub(super) store: &'a SqliteStore,
    pub(super) hub: &'a Hub,
    pub(super) notices: &'a broadcast::Sender<Arc<Notice>>,
    pub(super) health: &'a watch::Receiver<Health>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) shutdown: &'a Shutdown,
}

/// The running page.
pub(super) struct Page {
    /// Each ends at the shutdown.
    pub(super) tasks: Vec<JoinHandle<Result<()>>>,
    pub(super) accounts: Accounts<SqliteStore>,
    /// End when nobody asks any more.
    pub(super) threads: Vec<std::thread::JoinHandle<()>>,
}

/// Starts the page of `[centre.web]`.
///
/// # Errors
/// A port in use, a store of clips that cannot be opened.
pub(super) fn start(
    config: &CentreConfig,
    web: WebConfig,
    ward: Ward<'_>,
    run: String,
    joined: Joined<'_>,
) -> Result<Page> {
    let Joined { store, hub, notices, health, clock, shutdown } = joined;
    let listener = v1::bind(web.listen)?;
    let (events, loops) = store.reading(READERS, LIMIT, clock.clone());
    let mut threads =
        loops.into_iter().map(|reader| thread("centre-reader", move || reader.run())).collect::<Result<Vec<_>>>()?;
    let (passwords, hasher) = password::pair();
    threads.push(thread("centre-passwords", move || hasher.run())?);
    let (thumbnails, maker) = thumbnail::pair();
    threads.push(thread("centre-thumbnails", move || maker.run())?);
    let accounts = Accounts::new(store.clone(), passwords, clock.clone())?;
    let api = Arc::new(Api::new(Parts {
        ward: ward.id.to_owned(),
        ward_name: ward.name.to_owned(),
        timezone_name: ward.timezone.to_owned(),
        web,
        store: store.clone(),
        events,
        objects: Objects::open(&config.clips)?,
        accounts: accounts.clone(),
        thumbnails,
        hub: hub.clone(),
        directory: Arc::new(Directory::default()),
        feed: Arc::new(Feed::new(run)),
        health: health.clone(),
        notices: notices.clone(),
        clock: clock.clone(),
        shutdown: shutdown.clone(),
    })?);
    let telling = tokio::spawn(tell(api.clone(), notices.subscribe(), health.clone(), shutdown.clone()));
    let mut until = shutdown.clone();
    let door = tokio::spawn(v1::serve(listener, api, async move { stopped(&mut until).await }));
    Ok(Page { tasks: vec![telling, door], accounts, threads })
}

/// Tells the page what was committed, until `shutdown`.
async fn tell(
    api: Arc<Api>,
    mut notices: broadcast::Receiver<Arc<Notice>>,
    mut health: watch::Receiver<Health>,
    mut shutdown: Shutdown,
) -> Result<()> {
    if let Err(error) = api.learn().await {
        tracing::error!(%error, "the page does not know how the cameras stand until they say so again");
    }
    loop {
        tokio::select! {
            notice = notices.recv() => match notice {
                Ok(notice) => api.tell(&notice).await,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "the page was not told of everything; it reads its lists again");
                    api.learn().await.ok();
                    api.break_off();
                }
                Err(RecvError::Closed) => break,
            },
            changed = health.changed() => match changed {
                Ok(()) => { let now = health.borrow_and_update().clone(); api.tell_health(&now) }
                Err(_) => break,
            },
            () = stopped(&mut shutdown) => break,
        }
    }
    Ok(())
}
