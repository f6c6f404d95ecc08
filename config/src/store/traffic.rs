//! Samples of recent requests, and when routes were last used. Gateways write both behind, in batches; neither is part of the
//! configuration.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::LazyLock;

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use crate::model::{Id, Route, Sample, Timestamp};

use super::Result;
use super::database::Database;
use super::session::{Cell, Purpose, Session};
use super::table::Holds;
use super::write::json;

/// Rows in one statement, the largest first: a statement's text must be known beforehand.
static ADD: LazyLock<[(usize, String); 3]> = LazyLock::new(|| [50, 10, 1].map(|rows| (rows, add_of(rows))));
static USE: LazyLock<[(usize, String); 3]> = LazyLock::new(|| [500, 25, 1].map(|rows| (rows, use_of(rows))));

/// Each writer clears up after itself; after others only what they left behind for good, or all would delete the same rows.
const FORGET: &str = "DELETE FROM gateway_traffic_sample WHERE at < $1 AND (node = $2 OR at < $3)";
const LIST: &str = "SELECT sample FROM gateway_traffic_sample WHERE (at, id) < ($1, $2) AND at >= $3 \
    AND ($4 IS NULL OR route = $4) AND ($5 IS NULL OR application = $5) AND ($6 IS NULL OR status = $6) \
    AND ($7 IS NULL OR code = $7) ORDER BY at DESC, id DESC LIMIT $8";
const BEGIN: &str =
    "INSERT INTO gateway_route_usage (route_id, last_used_at) VALUES ($1, $2) ON CONFLICT (route_id) DO NOTHING";
const ROUTES: &str = "SELECT route_id, last_used_at FROM gateway_route_usage";

/// What is left of nodes that are gone is deleted after so much more.
const LEFT_BEHIND_MICROS: i64 = 60 * 1_000_000;

/// Which samples are asked for, the newest first.
#[derive(Clone, Debug, Default)]
pub struct TrafficQuery {
    pub limit: u32,
    /// Not older than this.
    pub since: Timestamp,
    /// Only those before this one.
    pub before: Option<(Timestamp, Uuid)>,
    pub route: Option<String>,
    pub application: Option<String>,
    pub status: Option<u16>,
    pub code: Option<String>,
}

/// When routes were last used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteUsage {
    /// Since when it is written down at all; `None`: no gateway did yet.
    pub since: Option<Timestamp>,
    pub last_used: HashMap<Id<Route>, Timestamp>,
}

/// What came by lately.
#[async_trait]
pub trait Traffic {
    /// Adds a node's samples and deletes its own from before `keep`.
    async fn record_traffic(&self, node: Uuid, samples: &[Sample], keep: Timestamp) -> Result<()>;

    /// A sample that can't be read is left out.
    async fn traffic(&self, query: &TrafficQuery) -> Result<Vec<Sample>>;

    /// Notes at `now` when routes were used. A time before the one that is known changes nothing.
    async fn record_route_usage(&self, uses: &[(Id<Route>, Timestamp)], now: Timestamp) -> Result<()>;

    async fn route_usage(&self) -> Result<RouteUsage>;
}

#[async_trait]
impl Traffic for Database {
    async fn record_traffic(&self, node: Uuid, samples: &[Sample], keep: Timestamp) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let mut rest = samples;
        for (size, sql) in &*ADD {
            while let Some((now, later)) = rest.split_at_checked(*size) {
                let mut cells = Vec::with_capacity(size * COLUMNS);
                for sample in now {
                    cells.extend(row(sample)?);
                }
                session.execute(sql, cells).await?;
                rest = later;
            }
        }
        let left_behind = keep.micros().saturating_sub(LEFT_BEHIND_MICROS);
        let cells = vec![Cell::Integer(Some(keep.micros())), Cell::Id(Some(node)), Cell::Integer(Some(left_behind))];
        session.execute(FORGET, cells).await?;
        session.commit(None).await
    }

    async fn traffic(&self, query: &TrafficQuery) -> Result<Vec<Sample>> {
        let (at, id) = query.before.unwrap_or((Timestamp::from_micros(i64::MAX), Uuid::max()));
        let cells = vec![
            Cell::Integer(Some(at.micros())),
            Cell::Id(Some(id)),
            Cell::Integer(Some(query.since.micros())),
            Cell::Text(query.route.clone()),
            Cell::Text(query.application.clone()),
            Cell::Integer(query.status.map(i64::from)),
            Cell::Text(query.code.clone()),
            Cell::Integer(Some(i64::from(query.limit))),
        ];
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let rows = session.fetch(LIST, cells, &[Holds::Json]).await?;
        session.commit(None).await?;
        let read = |value: Value| {
            serde_json::from_value(value)
                .inspect_err(|error| tracing::warn!(%error, "a row of gateway_traffic_sample can't be read"))
                .ok()
        };
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?.ok().and_then(read)).collect())
    }

    async fn record_route_usage(&self, uses: &[(Id<Route>, Timestamp)], now: Timestamp) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        session.execute(BEGIN, vec![Cell::Id(Some(Uuid::nil())), Cell::Integer(Some(now.micros()))]).await?;
        record(&mut *session, uses).await?;
        session.commit(None).await
    }

    async fn route_usage(&self) -> Result<RouteUsage> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let rows = session.fetch(ROUTES, Vec::new(), &[Holds::Id, Holds::Time]).await?;
        session.commit(None).await?;
        let mut usage = RouteUsage::default();
        for row in rows {
            // A row that can't be read is as good as none: the next use replaces it.
            let mut fields = row.into_iter().filter_map(std::result::Result::ok);
            let route = fields.next().and_then(|route| serde_json::from_value::<Id<Route>>(route).ok());
            let moment = fields.next().and_then(|moment| serde_json::from_value(moment).ok());
            let (Some(route), Some(moment)) = (route, moment) else { continue };
            if route.is_nil() {
                usage.since = Some(moment);
            } else {
                usage.last_used.insert(route, moment);
            }
        }
        Ok(usage)
    }
}

async fn record(session: &mut dyn Session, uses: &[(Id<Route>, Timestamp)]) -> Result<()> {
    // Each route once, as the upsert demands, and in one order for all gateways, or two of them could wait for each other's rows.
    let mut latest: BTreeMap<Uuid, Timestamp> = BTreeMap::new();
    for (route, moment) in uses.iter().filter(|(route, _)| !route.is_nil()) {
        let known = latest.entry(route.uuid()).or_insert(*moment);
        *known = (*known).max(*moment);
    }
    let rows: Vec<(Uuid, Timestamp)> = latest.into_iter().collect();
    let mut rest = rows.as_slice();
    for (size, sql) in &*USE {
        while let Some((now, later)) = rest.split_at_checked(*size) {
            let cells =
                now.iter().flat_map(|(route, moment)| [Cell::Id(Some(*route)), Cell::Integer(Some(moment.micros()))]);
            session.execute(sql, cells.collect()).await?;
            rest = later;
        }
    }
    Ok(())
}

const COLUMNS: usize = 8;

fn row(sample: &Sample) -> Result<[Cell; COLUMNS]> {
    let outcome = &sample.outcome;
    Ok([
        Cell::Id(Some(sample.id)),
        Cell::Integer(Some(sample.at.micros())),
        Cell::Id(Some(sample.node)),
        Cell::Text(outcome.route.clone()),
        Cell::Text(sample.application().map(str::to_owned)),
        Cell::Integer(Some(i64::from(outcome.status))),
        Cell::Text(outcome.code.clone()),
        json("sample", sample)?,
    ])
}

fn add_of(rows: usize) -> String {
    let columns = "id, at, node, route, application, status, code, sample";
    format!("INSERT INTO gateway_traffic_sample ({columns}) VALUES {}", values(rows, COLUMNS))
}

/// Gateways report in any order, so a use only moves its route's time forward.
fn use_of(rows: usize) -> String {
    format!(
        "INSERT INTO gateway_route_usage (route_id, last_used_at) VALUES {} ON CONFLICT (route_id) DO UPDATE SET \
         last_used_at = excluded.last_used_at WHERE gateway_route_usage.last_used_at < excluded.last_used_at",
        values(rows, 2)
    )
}

/// `($1, $2), ($3, …`
fn values(rows: usize, columns: usize) -> String {
    let mut list = String::new();
    for row in 0..rows {
        list.push_str(if row == 0 { "(" } else { "), (" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a string can't fail.
            let _ = write!(list, "{comma}${}", row * columns + column + 1);
        }
    }
    list + ")"
}
