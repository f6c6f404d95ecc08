//! The old application that does everything; here it keeps orders. An order's state moves one way only, and `/headers` shows what a
//! request brought along, which is how one sees what a gateway adds and removes.

use std::sync::Arc;

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderName, StatusCode, header::LOCATION},
    routing::{any, get},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::{FromRow, SqlitePool, types::Json as Stored};
use uuid::Uuid;

use super::{Service, Surroundings};
use crate::{
    clock::{Clock, new_id, shown},
    database,
    exchange::{self, Body, Parameters, Refusal, Segments, introduction},
};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS orders (
    id BLOB PRIMARY KEY,
    customer TEXT NOT NULL,
    items TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;
";

const LIST: &str = "SELECT * FROM orders WHERE id < $1 ORDER BY id DESC LIMIT $2";
const FIND: &str = "SELECT * FROM orders WHERE id = $1";
const CREATE: &str = "
INSERT INTO orders (id, customer, items, state, created_at_ms, updated_at_ms) VALUES ($1, $2, $3, $4, $5, $5) RETURNING *";
/// The state read before is asked for again, or two callers could take one order two ways.
const CHANGE: &str = "
UPDATE orders SET customer = $3, state = $4, updated_at_ms = $5 WHERE id = $1 AND state = $2 RETURNING *";
const MAX_PAGE: u32 = 100;
const MAX_ITEMS: usize = 100;
const MAX_CUSTOMER_BYTES: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(rename_all = "lowercase")]
enum OrderState {
    Open,
    Paid,
    Shipped,
    Cancelled,
}

impl OrderState {
    fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Open, Self::Paid | Self::Cancelled) | (Self::Paid, Self::Shipped | Self::Cancelled)
        ) || self == next
    }

    fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OrderItem {
    sku: String,
    quantity: u32,
    #[serde(default)]
    unit_price_cents: u32,
}

#[derive(FromRow)]
struct Order {
    id: Uuid,
    customer: String,
    items: Stored<Vec<OrderItem>>,
    state: OrderState,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl Order {
    fn shown(&self) -> Value {
        let prices = self.items.iter().map(|item| u64::from(item.quantity) * u64::from(item.unit_price_cents));
        let total = prices.fold(0, u64::saturating_add);
        json!({
            "id": self.id,
            "customer": self.customer,
            "items": *self.items,
            "totalCents": total,
            "state": self.state,
            "createdAt": shown(self.created_at_ms),
            "updatedAt": shown(self.updated_at_ms),
        })
    }
}

struct Monolith {
    instance: Uuid,
    database: SqlitePool,
    clock: Clock,
}

pub(super) async fn open(surroundings: &Surroundings) -> Result<Service> {
    let database = database::open(&surroundings.data_dir, "monolith.db", SCHEMA).await?;
    let monolith = Monolith { instance: new_id(), database: database.clone(), clock: surroundings.clock.clone() };
    let routes = Router::new()
        .route("/orders", get(list).post(create))
        .route("/orders/{id}", get(show).patch(change))
        .route("/headers", any(echo))
        .route("/headers/{*rest}", any(echo))
        .route("/info", get(introduce))
        .with_state(Arc::new(monolith));
    Ok(Service { router: exchange::finish(routes, "monolith"), database: Some(database) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default = "Page::usual_limit")]
    limit: u32,
    cursor: Option<Uuid>,
}

impl Page {
    fn usual_limit() -> u32 {
        20
    }
}

/// The newest first; the cursor is the last order of the page before.
async fn list(
    State(monolith): State<Arc<Monolith>>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Value>, Refusal> {
    if !(1..=MAX_PAGE).contains(&page.limit) {
        return Err(Refusal::unprocessable(format!("limit must be 1 to {MAX_PAGE}")));
    }
    // One more than asked for tells whether there is a next page.
    let mut found: Vec<Order> = sqlx::query_as(LIST)
        .bind(page.cursor.unwrap_or(Uuid::max()))
        .bind(i64::from(page.limit) + 1)
        .fetch_all(&monolith.database)
        .await?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|order| order.id);
    let items: Vec<Value> = found.iter().map(Order::shown).collect();
    Ok(Json(json!({"items": items, "nextCursor": next_cursor})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    customer: String,
    items: Vec<OrderItem>,
}

async fn create(
    State(monolith): State<Arc<Monolith>>,
    Body(new): Body<NewOrder>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Value>), Refusal> {
    check_customer(&new.customer)?;
    if new.items.is_empty() || new.items.len() > MAX_ITEMS {
        return Err(Refusal::unprocessable(format!("items must hold 1 to {MAX_ITEMS} entries")));
    }
    if let Some(nothing) = new.items.iter().position(|item| item.sku.is_empty() || item.quantity == 0) {
        return Err(Refusal::unprocessable(format!("items[{nothing}] needs a sku and a quantity of at least 1")));
    }
    let order: Order = sqlx::query_as(CREATE)
        .bind(new_id())
        .bind(new.customer)
        .bind(Stored(new.items))
        .bind(OrderState::Open)
        .bind(monolith.clock.now_ms())
        .fetch_one(&monolith.database)
        .await?;
    Ok((StatusCode::CREATED, [(LOCATION, format!("/orders/{}", order.id))], Json(order.shown())))
}

async fn show(State(monolith): State<Arc<Monolith>>, Segments(id): Segments<Uuid>) -> Result<Json<Value>, Refusal> {
    Ok(Json(monolith.find(id).await?.shown()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderChange {
    customer: Option<String>,
    state: Option<OrderState>,
}

async fn change(
    State(monolith): State<Arc<Monolith>>,
    Segments(id): Segments<Uuid>,
    Body(wanted): Body<OrderChange>,
) -> Result<Json<Value>, Refusal> {
    let order = monolith.find(id).await?;
    let state = wanted.state.unwrap_or(order.state);
    if !order.state.may_become(state) {
        let (from, to) = (order.state.word(), state.word());
        return Err(Refusal::conflict(format!("an order that is {from} can't become {to}")));
    }
    let customer = wanted.customer.unwrap_or(order.customer);
    check_customer(&customer)?;
    let changed: Option<Order> = sqlx::query_as(CHANGE)
        .bind(id)
        .bind(order.state)
        .bind(customer)
        .bind(state)
        .bind(monolith.clock.now_ms())
        .fetch_optional(&monolith.database)
        .await?;
    let changed = changed.ok_or_else(|| Refusal::conflict("the order was changed at the same time"))?;
    Ok(Json(changed.shown()))
}

async fn introduce(State(monolith): State<Arc<Monolith>>) -> Json<Value> {
    Json(introduction("monolith", "v1", monolith.instance))
}

/// Shows the request as it arrived. A field that came several times is shown as one list, as HTTP allows.
async fn echo(request: Request) -> Json<Value> {
    let mut headers = Map::new();
    for name in request.headers().keys() {
        let values: Vec<_> =
            request.headers().get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.to_string(), json!(values.join(", ")));
    }
    Json(json!({
        "requestLine": format!("{} {} {:?}", request.method(), request.uri(), request.version()),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": headers,
    }))
}

impl Monolith {
    async fn find(&self, id: Uuid) -> Result<Order, Refusal> {
        let found = sqlx::query_as(FIND).bind(id).fetch_optional(&self.database).await?;
        found.ok_or_else(|| Refusal::not_found(format!("there is no order {id}")))
    }
}

fn check_customer(customer: &str) -> Result<(), Refusal> {
    if customer.trim().is_empty() || customer.len() > MAX_CUSTOMER_BYTES {
        return Err(Refusal::unprocessable(format!("customer must have 1 to {MAX_CUSTOMER_BYTES} bytes")));
    }
    Ok(())
}
