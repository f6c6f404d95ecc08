//! Jobs that take a while: they wait, run and succeed in the background, and whoever cares polls them or follows their events. A job that
//! was running when the process ended starts anew at the next start.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode, header::LOCATION},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{FromRow, SqlitePool, types::Json as Stored};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tracing::error;
use uuid::Uuid;

use super::{Service, Surroundings};
use crate::{
    clock::{Clock, new_id, shown},
    database,
    exchange::{self, Body, Refusal, Segments, introduction},
};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS jobs (
    id BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    input TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, id);
";

const CREATE: &str = "
INSERT INTO jobs (id, kind, input, state, created_at_ms, updated_at_ms) VALUES ($1, $2, $3, $4, $5, $5) RETURNING *";
const FIND: &str = "SELECT * FROM jobs WHERE id = $1";
const UNFINISHED: &str = "SELECT id FROM jobs WHERE state = $1 ORDER BY id";
const ADVANCE: &str = "UPDATE jobs SET state = $3, updated_at_ms = $4 WHERE id = $1 AND state = $2 RETURNING *";
const RESUME: &str = "UPDATE jobs SET state = $2 WHERE state = $1";

const MAX_KIND_BYTES: usize = 100;
/// How many events a slow follower may be behind before it is told only the newest.
const EVENTS_KEPT: usize = 256;
const STEP: Duration = Duration::from_millis(500);
/// After a failed write: the file may be locked by another process, or the disk full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How fast jobs advance.
#[derive(Clone, Debug)]
pub enum Pace {
    /// Each step takes this long.
    Every(Duration),
    /// Each step waits for a permit and uses it up.
    Permits(Arc<Semaphore>),
}

impl Default for Pace {
    fn default() -> Self {
        Self::Every(STEP)
    }
}

impl Pace {
    async fn step(&self) {
        match self {
            Self::Every(duration) => tokio::time::sleep(*duration).await,
            // A closed semaphore holds nothing back any more.
            Self::Permits(permits) => permits.acquire().await.map_or((), tokio::sync::SemaphorePermit::forget),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(rename_all = "lowercase")]
enum JobState {
    Queued,
    Running,
    Succeeded,
}

#[derive(Clone, FromRow)]
struct Job {
    id: Uuid,
    kind: String,
    input: Stored<Value>,
    state: JobState,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl Job {
    fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "kind": self.kind,
            "input": *self.input,
            "state": self.state,
            "createdAt": shown(self.created_at_ms),
            "updatedAt": shown(self.updated_at_ms),
        })
    }
}

struct Pipeline {
    instance: Uuid,
    database: SqlitePool,
    clock: Clock,
    pace: Pace,
    stop: CancellationToken,
    /// Each job as it is after a change.
    events: broadcast::Sender<Job>,
}

pub(super) async fn open(surroundings: &Surroundings) -> Result<Service> {
    let database = database::open(&surroundings.data_dir, "pipeline.db", SCHEMA).await?;
    let pipeline = Arc::new(Pipeline {
        instance: new_id(),
        database: database.clone(),
        clock: surroundings.clock.clone(),
        pace: surroundings.pace.clone(),
        stop: surroundings.stop.clone(),
        events: broadcast::Sender::new(EVENTS_KEPT),
    });
    sqlx::query(RESUME).bind(JobState::Running).bind(JobState::Queued).execute(&pipeline.database).await?;
    let unfinished: Vec<(Uuid,)> =
        sqlx::query_as(UNFINISHED).bind(JobState::Queued).fetch_all(&pipeline.database).await?;
    for (id,) in unfinished {
        pipeline.carry_out(id);
    }
    let routes = Router::new()
        .route("/jobs", post(create))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/events", get(follow))
        .route("/info", get(introduce))
        .with_state(pipeline);
    Ok(Service { router: exchange::finish(routes, "pipeline"), database: Some(database) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewJob {
    kind: String,
    #[serde(default)]
    input: Value,
}

async fn create(
    State(pipeline): State<Arc<Pipeline>>,
    Body(new): Body<NewJob>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Value>), Refusal> {
    if new.kind.trim().is_empty() || new.kind.len() > MAX_KIND_BYTES {
        return Err(Refusal::unprocessable(format!("kind must have 1 to {MAX_KIND_BYTES} bytes")));
    }
    let job: Job = sqlx::query_as(CREATE)
        .bind(new_id())
        .bind(new.kind)
        .bind(Stored(new.input))
        .bind(JobState::Queued)
        .bind(pipeline.clock.now_ms())
        .fetch_one(&pipeline.database)
        .await?;
    pipeline.carry_out(job.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, format!("/jobs/{}", job.id))], Json(job.shown())))
}

async fn show(State(pipeline): State<Arc<Pipeline>>, Segments(id): Segments<Uuid>) -> Result<Json<Value>, Refusal> {
    Ok(Json(pipeline.find(id).await?.shown()))
}

/// The job as it is, then each change of its state, until it has ended.
async fn follow(
    State(pipeline): State<Arc<Pipeline>>,
    Segments(id): Segments<Uuid>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    // Subscribed before reading, so that no change falls between the two.
    let events = pipeline.events.subscribe();
    let follower = Follower { id, told: None, events, pipeline: Arc::clone(&pipeline) };
    pipeline.find(id).await?;
    let told = stream::unfold(follower, async |mut follower| {
        let job = follower.next().await?;
        let event = Event::default().event("state").json_data(job.shown()).unwrap_or_default();
        Some((Ok(event), follower))
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::default()))
}

struct Follower {
    id: Uuid,
    /// The state that the follower was told last.
    told: Option<JobState>,
    events: broadcast::Receiver<Job>,
    pipeline: Arc<Pipeline>,
}

impl Follower {
    /// The next state, or nothing once the job has ended or the process ends.
    async fn next(&mut self) -> Option<Job> {
        let job = match self.told {
            Some(JobState::Succeeded) => return None,
            None => self.pipeline.find(self.id).await.ok()?,
            Some(_) => self.next_change().await?,
        };
        self.told = Some(job.state);
        Some(job)
    }

    async fn next_change(&mut self) -> Option<Job> {
        loop {
            let event = self.pipeline.stop.run_until_cancelled(self.events.recv()).await?;
            let job = match event {
                Ok(job) if job.id == self.id => job,
                Ok(_) => continue,
                // Too slow for the events: the job itself still tells where it is.
                Err(broadcast::error::RecvError::Lagged(_)) => self.pipeline.find(self.id).await.ok()?,
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            if Some(job.state) != self.told {
                return Some(job);
            }
        }
    }
}

async fn introduce(State(pipeline): State<Arc<Pipeline>>) -> Json<Value> {
    Json(introduction("pipeline", "v1", pipeline.instance))
}

impl Pipeline {
    async fn find(&self, id: Uuid) -> Result<Job, Refusal> {
        let found = sqlx::query_as(FIND).bind(id).fetch_optional(&self.database).await?;
        found.ok_or_else(|| Refusal::not_found(format!("there is no job {id}")))
    }

    /// Takes a queued job through its states in the background.
    fn carry_out(self: &Arc<Self>, id: Uuid) {
        let pipeline = Arc::clone(self);
        tokio::spawn(async move {
            let steps = async {
                for (from, to) in [(JobState::Queued, JobState::Running), (JobState::Running, JobState::Succeeded)] {
                    pipeline.pace.step().await;
                    if !pipeline.advance(id, from, to).await {
                        break;
                    }
                }
            };
            pipeline.stop.run_until_cancelled(steps).await;
        });
    }

    /// Says whether the job is now in the state `to`; it is not when another process took it.
    async fn advance(&self, id: Uuid, from: JobState, to: JobState) -> bool {
        loop {
            let update = sqlx::query_as(ADVANCE).bind(id).bind(from).bind(to).bind(self.clock.now_ms());
            match update.fetch_optional(&self.database).await {
                Ok(None) => return false,
                Ok(Some(job)) => {
                    // Nobody follows: that is no fault.
                    let _ = self.events.send(job);
                    return true;
                }
                Err(cause) => {
                    error!(job.id = %id, cause = %cause, "could not advance a job");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}
