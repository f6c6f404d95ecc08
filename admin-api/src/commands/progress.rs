//! A line on the terminal for work that takes its time, so that nobody thinks it hangs. Nothing is shown to a file or a pipe.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use super::is_watched;

/// What is done sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(250);

/// The line is taken away when this goes.
#[derive(Debug)]
pub(super) struct Progress(Arc<Mutex<Shown>>);

#[derive(Debug, PartialEq, Eq)]
enum Shown {
    NotYet,
    Yes,
    Over,
}

impl Progress {
    pub(super) fn begin(what: &'static str) -> Self {
        let progress = Arc::new(Mutex::new(Shown::NotYet));
        if is_watched() {
            tokio::spawn(tick(what, progress.clone()));
        }
        Self(progress)
    }
}

async fn tick(what: &'static str, progress: Arc<Mutex<Shown>>) {
    let start = Instant::now();
    let mut ticks = interval_at(start + PATIENCE, BETWEEN);
    loop {
        ticks.tick().await;
        let mut shown = progress.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown == Shown::Over {
            return;
        }
        *shown = Shown::Yes;
        let mut stderr = std::io::stderr().lock();
        // With the terminal gone there is nobody to tell.
        let _ = write!(stderr, "\r{what} … {} s ", start.elapsed().as_secs()).and_then(|()| stderr.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *shown, Shown::Over) == Shown::Yes {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
