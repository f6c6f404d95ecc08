//! A connection that is kept: made in the background, watched, and made again when it is lost. Nobody who publishes waits for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use prometheus::IntGauge;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::PublishError;

/// For one attempt to connect, greetings included.
const DIAL_PATIENCE: Duration = Duration::from_secs(5);
/// So long a doubted connection may take to prove that it lives.
const PROOF_PATIENCE: Duration = Duration::from_millis(1500);
/// How often a connection that nobody doubts proves it all the same: a cut cable says nothing.
const PROVE_EVERY: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Whoever comes before the first attempt is over waits so long: less than a client notices.
const FIRST_ATTEMPT: Duration = Duration::from_millis(150);

/// How one kind of broker is connected to.
#[async_trait]
pub(super) trait Dial: Send + Sync + 'static {
    type Link: Send + Sync + 'static;

    /// The text says why not, and holds no secret.
    async fn dial(&self) -> Result<Self::Link, String>;

    /// Asks the other side.
    async fn is_alive(&self, link: &Self::Link) -> bool;

    /// Whether it is known to be lost, without asking.
    fn is_lost(&self, _link: &Self::Link) -> bool {
        false
    }

    /// Rung when the client itself notices that something is wrong.
    fn doubted(&self) -> Arc<Notify> {
        Arc::default()
    }

    /// Ends a connection that is given up, with all that waits on it.
    fn hang_up(&self, _link: &Self::Link) {}
}

#[derive(Clone, Debug)]
enum State {
    /// The first attempt is under way.
    New,
    Up,
    Away(Arc<str>),
}

/// Connected until it is dropped.
pub(super) struct Keeper<D: Dial> {
    kept: Arc<Kept<D>>,
    _guard: DropGuard,
}

struct Kept<D: Dial> {
    dial: D,
    /// For logs.
    name: String,
    link: ArcSwapOption<D::Link>,
    state: watch::Sender<State>,
    doubt: Arc<Notify>,
    up: IntGauge,
}

impl<D: Dial> fmt::Debug for Keeper<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.kept.state.borrow().clone();
        f.debug_struct("Keeper").field("name", &self.kept.name).field("state", &state).finish_non_exhaustive()
    }
}

impl<D: Dial> Keeper<D> {
    /// Begins to connect at once, on the current runtime.
    pub(super) fn start(dial: D, name: String, up: IntGauge) -> Self {
        up.set(0);
        let kept = Arc::new(Kept {
            doubt: dial.doubted(),
            dial,
            name,
            link: ArcSwapOption::empty(),
            state: watch::Sender::new(State::New),
            up,
        });
        let stop = CancellationToken::new();
        let (keeping, stopped) = (kept.clone(), stop.clone());
        tokio::spawn(async move {
            let _ = stopped.run_until_cancelled(keeping.keep()).await;
            keeping.give_up("the gateway stops");
        });
        Self { kept, _guard: stop.drop_guard() }
    }

    pub(super) fn is_up(&self) -> bool {
        self.kept.link.load().is_some()
    }

    /// The connection, or at once why there is none.
    pub(super) async fn link(&self) -> Result<Arc<D::Link>, PublishError> {
        if let Some(link) = self.kept.link.load_full() {
            return Ok(link);
        }
        if matches!(*self.kept.state.borrow(), State::New) {
            return self.reach(FIRST_ATTEMPT).await;
        }
        Err(self.away())
    }

    /// Waits for the outcome of an attempt.
    pub(super) async fn reach(&self, patience: Duration) -> Result<Arc<D::Link>, PublishError> {
        let mut states = self.kept.state.subscribe();
        let _ = timeout(patience, states.wait_for(|state| !matches!(state, State::New))).await;
        self.kept.link.load_full().ok_or_else(|| self.away())
    }

    fn away(&self) -> PublishError {
        let why = match &*self.kept.state.borrow() {
            State::Away(why) => why.to_string(),
            State::New | State::Up => "still connecting".to_owned(),
        };
        PublishError::Unavailable(why)
    }

    /// Something went wrong on the connection: it is looked at soon.
    pub(super) fn doubt(&self) {
        self.kept.doubt.notify_one();
    }
}

impl<D: Dial> Kept<D> {
    async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match timeout(DIAL_PATIENCE, self.dial.dial()).await {
                Ok(Ok(link)) => {
                    pause = FIRST_PAUSE;
                    self.watch(&self.take_up(link)).await;
                    self.give_up("the connection was lost");
                }
                Ok(Err(why)) => self.give_up(&why),
                Err(_) => self.give_up("no answer in time"),
            }
            // A fleet that lost its broker does not come back in one wave.
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn take_up(&self, link: D::Link) -> Arc<D::Link> {
        let link = Arc::new(link);
        self.link.store(Some(link.clone()));
        self.state.send_replace(State::Up);
        self.up.set(1);
        tracing::info!(broker = self.name, "connected to {}", self.name);
        link
    }

    /// Until the connection is lost.
    async fn watch(&self, link: &D::Link) {
        loop {
            tokio::select! {
                () = self.doubt.notified() => {}
                () = sleep(PROVE_EVERY) => {}
            }
            let is_lost = self.dial.is_lost(link);
            if is_lost || !timeout(PROOF_PATIENCE, self.dial.is_alive(link)).await.unwrap_or(false) {
                return;
            }
        }
    }

    fn give_up(&self, why: &str) {
        self.up.set(0);
        if let Some(link) = self.link.swap(None) {
            self.dial.hang_up(&link);
        }
        let before = self.state.send_replace(State::Away(why.into()));
        // What lasts is told once.
        if !matches!(before, State::Away(same) if *same == *why) {
            tracing::warn!(broker = self.name, why, "{} is away", self.name);
        }
    }
}
