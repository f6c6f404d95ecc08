//! Bringing changes in: store moved → load the change → apply → swap. The last good snapshot serves whatever happens.

mod disk;
mod identity;
mod keeper;
mod status;

use std::sync::Arc;
use std::time::Duration;

use gateway_config::clock::Clock;
use gateway_config::model::{Change, Edit, FORMAT_VERSION, Kind, Problem};
use gateway_config::snapshot::{Snapshot, compile};
use gateway_config::store::{Head, Loaded, Since, Store, StoreError, Survey};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::live::{Current, Live};
use crate::observe::metrics::{Metrics, Reload, RouteSeries};
use crate::tls::Certificates;
use crate::upstream::{Clusters, Endpoints, resolve_new};

pub(crate) use disk::DiskSnapshot;
pub(crate) use identity::NodeIdentity;
pub(crate) use keeper::{keep_on_disk, report};
pub(crate) use status::{Degraded, Reason, Source, Status};

/// How long a start waits for the database before it serves from disk. R4 wants traffic served within 2 s of the start.
const START_PATIENCE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(500);

/// Keeps what is served in step with the store.
pub(crate) struct Sync {
    pub(crate) store: Arc<dyn Store>,
    /// This node's id and the address of its traffic.
    pub(crate) me: (Uuid, String),
    pub(crate) current: Arc<Current>,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: Arc<Status>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: DiskSnapshot,
    pub(crate) reconcile_every: Duration,
}

impl Sync {
    /// The first snapshot, from the database or, when that is away or spoilt, from disk; then every change, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let began = timeout(START_PATIENCE, async {
            self.announce().await;
            self.load_all().await;
        })
        .await;
        if began.is_err() {
            self.status.degrade(Reason::DatabaseAway, "the database did not answer in time".to_owned());
        }
        if self.current.get().is_none() {
            self.start_from_disk().await;
        }
        while self.current.get().is_none() {
            sleep(RETRY).await;
            self.load_all().await;
        }
        loop {
            match self.store.watch().await {
                Ok(mut watch) => self.follow_watch(&mut *watch).await,
                Err(error) => self.lost_database(&error),
            }
            sleep(RETRY).await;
        }
    }

    /// Joins the fleet before anything is loaded: a write that does not know of this node yet is in what is loaded, and
    /// every later one waits for it.
    async fn announce(&self) {
        let (id, address) = self.me.clone();
        let node = keeper::describe(id, address, None, &self.status, &*self.clock);
        if let Err(error) = self.store.report_node(&node).await {
            tracing::debug!(%error, "could not join the fleet yet");
        }
    }

    /// Looks whenever the store hints, and reads everything again from time to time. Returns when hints can't be had.
    async fn follow_watch(&self, watch: &mut dyn gateway_config::store::Watch) {
        let mut reconcile_at = Instant::now() + self.reconcile_every;
        // Whatever happened before this watch began.
        self.catch_up().await;
        loop {
            tokio::select! {
                hint = watch.changed() => match hint {
                    Ok(()) => self.catch_up().await,
                    Err(error) => self.lost_database(&error),
                },
                () = tokio::time::sleep_until(reconcile_at) => {
                    self.reconcile().await;
                    reconcile_at = Instant::now() + self.reconcile_every;
                }
            }
        }
    }

    /// Loads what happened since the served generation, as a change.
    async fn catch_up(&self) {
        let Some(live) = self.current.get() else { return };
        if self.status.source() == Source::Disk {
            // The file was the last good one of this node; only everything tells whether it is the database's, too.
            return self.load_all().await;
        }
        match self.store.load_since(live.snapshot.generation()).await {
            Ok(since) => self.follow_up(&live, since).await,
            Err(error) => self.lost_database(&error),
        }
    }

    /// Takes over what happened since `live`.
    async fn follow_up(&self, live: &Live, since: Since) {
        match since {
            Since::UpToDate => self.status.mend(Reason::DatabaseAway),
            Since::Reload => self.load_all().await,
            Since::Changed { head, change, spoilt } => {
                self.status.mend(Reason::DatabaseAway);
                if self.refuses(head.format, &spoilt) {
                    return;
                }
                match live.snapshot.apply(&change) {
                    Ok(snapshot) => {
                        self.swap_changed(live, snapshot, &change).await;
                        if self.status.is_degraded(Reason::ConfigurationRefused) {
                            // Whether this change mended what was refused, only everything tells.
                            self.load_all().await;
                        }
                    }
                    // It was valid when it was written, so it is what is served here that differs: read everything.
                    Err(_) => self.load_all().await,
                }
            }
        }
    }

    /// Rows that were edited by hand made no generation: looks at all of them, and loads everything where it is not what is served. Most
    /// looks find nothing, and a second configuration beside the served one would take as much memory as that.
    async fn reconcile(&self) {
        let live = self.current.get().filter(|_| self.status.source() == Source::Database);
        let Some(live) = live else { return self.load_all().await };
        let (head, since, survey) = match self.look(live.snapshot.generation()).await {
            Ok(seen) => seen,
            Err(error) => return self.lost_database(&error),
        };
        self.follow_up(&live, since).await;
        let served = self.current.get().map(|live| (live.snapshot.generation(), live.snapshot.digest()));
        let is_sound = survey.spoilt.is_empty() && head.format <= FORMAT_VERSION;
        if is_sound && served == Some((head.generation, survey.digest)) {
            self.status.mend(Reason::ConfigurationRefused);
        } else {
            self.load_all().await;
        }
    }

    /// What happened since `generation`, and all rows as they stand then.
    async fn look(&self, generation: u64) -> Result<(Head, Since, Survey), StoreError> {
        let mut reading = self.store.read().await?;
        let (since, survey) = (reading.load_since(generation).await?, reading.survey().await?);
        let head = reading.head();
        reading.end().await?;
        Ok((head, since, survey))
    }

    /// Loads everything, and swaps if that differs from what is served: a start, a restored database, rows edited by hand.
    async fn load_all(&self) {
        let Loaded { head, configuration, spoilt } = match self.store.load().await {
            Ok(loaded) => loaded,
            Err(error) => return self.lost_database(&error),
        };
        self.status.mend(Reason::DatabaseAway);
        if self.refuses(head.format, &spoilt) {
            return;
        }
        let live = self.current.get();
        let before = live.as_ref().map(|live| (live.snapshot.generation(), live.snapshot.digest()));
        // Compiling ten thousand routes takes a while, and this runtime also answers health checks. What is served already is not compiled
        // once more: that would hold it twice.
        let compiled = tokio::task::spawn_blocking(move || {
            let is_served = before == Some((head.generation, configuration.digest()));
            (!is_served).then(|| compile(&configuration, head.generation))
        });
        match compiled.await {
            Ok(Some(Ok(snapshot))) => {
                self.status.mend(Reason::ConfigurationRefused);
                self.swap_whole(live.as_deref(), snapshot, Source::Database).await;
            }
            Ok(Some(Err(problems))) => self.refuse(&problems),
            Ok(None) => {
                self.status.mend(Reason::ConfigurationRefused);
                self.status.set_source(Source::Database);
            }
            Err(error) => tracing::error!(%error, "compiling the configuration failed"),
        }
    }

    async fn start_from_disk(&self) {
        match self.disk.read() {
            Ok(Some((configuration, generation))) => match compile(&configuration, generation) {
                Ok(snapshot) => {
                    tracing::warn!(generation, "serving generation {generation} from the snapshot on disk");
                    self.swap_whole(None, snapshot, Source::Disk).await;
                }
                Err(problems) => tracing::error!(problems = problems.len(), "the snapshot on disk does not compile"),
            },
            Ok(None) => tracing::warn!("there is no snapshot on disk; waiting for the database"),
            Err(error) => {
                let text = format!("the snapshot on disk {} was refused: {error}", self.disk.path().display());
                tracing::error!("{text}");
                self.status.degrade(Reason::SnapshotFile, text);
            }
        }
    }

    async fn swap_changed(&self, live: &Live, snapshot: Snapshot, change: &Change) {
        let mut clusters = live.clusters.clone();
        let mut series = live.series.clone();
        for edit in &change.edits {
            match edit.kind() {
                Kind::Service => {
                    let (old, new) = (live.snapshot.service(edit.name()), snapshot.service(edit.name()));
                    clusters = clusters.with_service(old.map(AsRef::as_ref), new.map(AsRef::as_ref), &self.endpoints);
                }
                Kind::Route => {
                    let exists = matches!(edit, Edit::Put(_));
                    series = series.with_route(edit.name(), exists, &self.metrics);
                }
                Kind::Queue | Kind::Application | Kind::Issuer | Kind::Certificate | Kind::Defaults => {}
            }
        }
        self.swap(Live { snapshot: Arc::new(snapshot), clusters, series }, Source::Database, Reload::Change).await;
    }

    async fn swap_whole(&self, before: Option<&Live>, snapshot: Snapshot, source: Source) {
        let (clusters, series) = before.map(|live| (live.clusters.clone(), live.series.clone())).unwrap_or_default();
        let clusters = Clusters::for_snapshot(&snapshot, &clusters, &self.endpoints);
        let series = RouteSeries::for_snapshot(&snapshot, &series, &self.metrics);
        self.swap(Live { snapshot: Arc::new(snapshot), clusters, series }, source, Reload::Full).await;
    }

    async fn swap(&self, live: Live, source: Source, how: Reload) {
        resolve_new(&self.endpoints).await;
        self.certificates.prepare(&live.snapshot).await;
        let generation = live.snapshot.generation();
        self.metrics.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.metrics.applied_at.set(self.clock.now().micros() / 1_000_000);
        self.metrics.reloaded(how);
        self.current.swap(Arc::new(live));
        self.status.applied(generation, source);
        tracing::debug!(generation, "serving generation {generation}");
    }

    /// Rows that can't be read, or a format that this build does not know: what is served stays.
    fn refuses(&self, format: i32, spoilt: &[Problem]) -> bool {
        if format > FORMAT_VERSION {
            let needs =
                format!("the database holds configuration format {format}, this program reads {FORMAT_VERSION}");
            self.refuse(&[Problem::new("", needs)]);
            return true;
        }
        if !spoilt.is_empty() {
            self.refuse(spoilt);
        }
        !spoilt.is_empty()
    }

    fn refuse(&self, problems: &[Problem]) {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let text = match problems.len() {
            0 | 1 => first,
            more => format!("{first}, and {} more", more - 1),
        };
        if self.status.degrade(Reason::ConfigurationRefused, text.clone()) {
            tracing::error!("the configuration in the database was refused, the last good one serves on: {text}");
        }
        self.metrics.reloaded(Reload::Refused);
    }

    fn lost_database(&self, error: &StoreError) {
        if self.status.degrade(Reason::DatabaseAway, error.to_string()) {
            tracing::warn!(%error, "lost the database; serving on");
        }
    }
}
