//! Clients of a queue that lose nothing: each sends one order after the other, and each order again until it is taken. Afterwards
//! what they were told is held against what was received.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Answer, Connection, Failure, Request};
use crate::eventually::eventually_within;
use crate::proof;

const KEPT_WRONGS: usize = 10;
/// Between two attempts: less than `Retry-After` asks for, so that much happens while something is away.
const PAUSE: Duration = Duration::from_millis(50);

/// What the clients were told so far.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The orders that were answered 202, with their ids.
    pub taken: HashMap<String, String>,
    /// Answers 503 `queue_unavailable`, by how long they took.
    pub refused: Vec<Duration>,
    /// Requests without an answer.
    pub broken: u64,
    /// Ids that refusals named, of orders with an `Idempotency-Key`.
    named: HashMap<String, String>,
    /// What no client should ever be told.
    pub wrong: Vec<String>,
}

/// What became of the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub accepted: usize,
    pub received: usize,
    /// Received more than once, under one id.
    pub duplicates: usize,
    /// Received, and not accepted as far as their clients know.
    pub unknown: usize,
}

impl Told {
    pub fn ids(&self) -> BTreeSet<String> {
        self.taken.values().cloned().collect()
    }

    /// As [`Self::check_unordered`], and the orders of each client came in their order.
    #[track_caller]
    pub fn check(&self, received: &[(String, Vec<u8>)]) -> Tally {
        let tally = self.check_unordered(received);
        let mut first_seen = HashMap::new();
        for (place, (id, _)) in received.iter().enumerate() {
            first_seen.entry(id.as_str()).or_insert(place);
        }
        self.check_order(&first_seen);
        tally
    }

    /// Nothing that was accepted is lost, and what comes twice has the same id.
    #[track_caller]
    pub fn check_unordered(&self, received: &[(String, Vec<u8>)]) -> Tally {
        assert!(self.wrong.is_empty(), "{self}");
        let mut seen: HashMap<&str, String> = HashMap::new();
        let mut orders: HashMap<String, HashSet<&str>> = HashMap::new();
        for (id, event) in received {
            let event: Value = serde_json::from_slice(event).expect("an event is JSON");
            assert_eq!(event["id"], **id, "the id of the message is the event's");
            let order = event["data"]["order"].as_str().unwrap_or_else(|| panic!("no order in {event}")).to_owned();
            let before = seen.entry(id).or_insert_with(|| order.clone());
            assert_eq!(*before, order, "{id} was given to two orders");
            orders.entry(order).or_default().insert(id);
        }
        let lost = self.taken.iter().filter(|(_, id)| !seen.contains_key(id.as_str()));
        let lost: Vec<_> = lost.map(|(order, _)| order).collect();
        assert!(
            lost.is_empty(),
            "{} of {} accepted are lost, among them {:?}",
            lost.len(),
            self.taken.len(),
            lost.first()
        );
        assert_eq!(self.ids().len(), self.taken.len(), "two orders have one id");
        for (order, ids) in orders.iter().filter(|(order, _)| has_key(order)) {
            let named = self.taken.get(order).or(self.named.get(order));
            let is_same = ids.len() == 1 && named.is_none_or(|id| ids.contains(id.as_str()));
            assert!(is_same, "order {order} was {named:?} and came as {ids:?}");
        }
        let accepted = self.ids();
        let unknown = seen.keys().filter(|id| !accepted.contains(**id)).count();
        let tally = Tally {
            accepted: accepted.len(),
            received: received.len(),
            duplicates: received.len() - seen.len(),
            unknown,
        };
        eprintln!("{tally:?}; {self}");
        tally
    }

    /// A client sends an order when the one before it was taken, so it comes behind that.
    #[track_caller]
    fn check_order(&self, first_seen: &HashMap<&str, usize>) {
        let mut places: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for (order, id) in &self.taken {
            let (client, number) = order.split_once('-').expect("an order is of a client");
            let place = first_seen[id.as_str()];
            places.entry(client).or_default().push((number.parse().expect("and has a number"), place));
        }
        for (client, mut places) in places {
            places.sort_unstable();
            let overtaken = places.windows(2).find(|pair| pair[0].1 > pair[1].1);
            assert!(overtaken.is_none(), "of client {client} an order overtook the one before it: {overtaken:?}");
        }
    }

    /// The longest that a client waited for a refusal, of all but the slowest hundredth.
    pub fn refused_within(&self) -> Duration {
        let mut sorted = self.refused.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} taken, {} refused, {} broken, ", self.taken.len(), self.refused.len(), self.broken)?;
        write!(f, "p99 of refusals {:?}, slowest {:?}", self.refused_within(), self.refused.iter().max())?;
        self.wrong.iter().try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}

/// A whole proof takes long.
fn patience() -> Duration {
    Duration::from_mins(u64::try_from(proof::count(2, 60)).unwrap_or_default())
}

/// Every other order has an `Idempotency-Key`; the others are new requests each time they are sent.
fn has_key(order: &str) -> bool {
    order.bytes().next_back().is_some_and(|digit| digit % 2 == 0)
}

/// Clients at work; stopped on drop.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Clone, Debug)]
pub struct CrowdBuilder {
    address: SocketAddr,
    path: String,
    first: usize,
    clients: usize,
    orders: usize,
    padding: usize,
    may_break: bool,
}

impl Crowd {
    /// Posts to this path.
    pub fn at(address: SocketAddr, path: &str) -> CrowdBuilder {
        CrowdBuilder { address, path: path.to_owned(), first: 0, clients: 8, orders: 0, padding: 0, may_break: false }
    }

    pub fn taken(&self) -> usize {
        self.shared.told.lock().unwrap().taken.len()
    }

    pub fn refused(&self) -> usize {
        self.shared.told.lock().unwrap().refused.len()
    }

    /// Ends also when all orders are taken.
    pub async fn wait_taken(&self, count: usize) {
        self.wait(&format!("{count} orders to be taken"), |told| told.taken.len() >= count).await;
    }

    /// Ends also when all orders are taken.
    pub async fn wait_refused(&self, count: usize) {
        self.wait(&format!("{count} orders to be refused"), |told| told.refused.len() >= count).await;
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    async fn wait(&self, what: &str, holds: impl Fn(&Told) -> bool) {
        let look = async || {
            let told = self.shared.told.lock().unwrap();
            if holds(&told) || self.is_over() { Ok(()) } else { Err(told.to_string()) }
        };
        eventually_within(patience(), what, look).await;
    }

    /// When all orders are taken.
    pub async fn over(self) -> Told {
        self.wait("all orders to be taken", |_| false).await;
        self.stop().await
    }

    /// Lets the requests in flight end.
    pub async fn stop(mut self) -> Told {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("the clients work until they are stopped");
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().expect("the clients do not panic");
        self.shared.told.lock().unwrap().clone()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl CrowdBuilder {
    /// In all, each client as many.
    pub fn orders(mut self, orders: usize) -> Self {
        self.orders = orders;
        self
    }

    /// Each client's first order has this number, so that no other crowd sent it before.
    pub fn from(mut self, number: usize) -> Self {
        self.first = number;
        self
    }

    pub fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// So many bytes more in each order.
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// The gateway may die, so that a request may stay without an answer.
    pub fn may_break(mut self) -> Self {
        self.may_break = true;
        self
    }

    pub fn start(self) -> Crowd {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                futures::future::join_all((0..self.clients).map(|client| self.work(client, &theirs))).await;
            });
        });
        Crowd { shared, thread: Some(thread) }
    }

    async fn work(&self, client: usize, shared: &Shared) {
        let mut connection = None;
        for number in self.first..self.first + self.orders / self.clients {
            let order = format!("{client}-{number}");
            let request = self.request(&order);
            loop {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let start = Instant::now();
                let outcome = send(&mut connection, self.address, &request).await;
                if shared.told.lock().unwrap().hear(&order, outcome, start.elapsed(), self.may_break) {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn request(&self, order: &str) -> Request {
        let body = format!(r#"{{"order": "{order}", "padding": "{}"}}"#, "x".repeat(self.padding));
        let request = Request::post(&self.path, body).header("Content-Type", "application/json");
        if has_key(order) { request.header("Idempotency-Key", &format!("order-{order}")) } else { request }
    }
}

async fn send(kept: &mut Option<Connection>, address: SocketAddr, request: &Request) -> Result<Answer, Failure> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let answer = connection.send(request).await?;
    if connection.is_open() {
        *kept = Some(connection);
    }
    Ok(answer)
}

impl Told {
    /// Whether the order was taken.
    fn hear(&mut self, order: &str, outcome: Result<Answer, Failure>, took: Duration, may_break: bool) -> bool {
        match outcome {
            Ok(answer) if answer.status == 202 => {
                let id = answer.json()["taskId"].as_str().unwrap_or_default().to_owned();
                self.name(order, &id);
                self.taken.insert(order.to_owned(), id);
                return true;
            }
            Ok(answer) if answer.status == 503 && answer.header("retry-after").is_some() => {
                match answer.code() {
                    Some("queue_unavailable") => self.refused.push(took),
                    // It has just been started.
                    _ if may_break => self.broken += 1,
                    _ => self.is_wrong(format!("{order}: {answer}")),
                }
                match task_in(&answer) {
                    Some(id) => self.name(order, &id),
                    None if may_break => {}
                    None => self.is_wrong(format!("{order}: no task is named by {answer}")),
                }
            }
            Ok(answer) => self.is_wrong(format!("{order}: {answer}")),
            Err(Failure::TimedOut(limit)) => self.is_wrong(format!("{order}: a hang of {limit:?}")),
            Err(_) if may_break => self.broken += 1,
            Err(failure) => self.is_wrong(format!("{order}: {failure}")),
        }
        false
    }

    fn name(&mut self, order: &str, id: &str) {
        if !has_key(order) {
            return;
        }
        let named = self.named.entry(order.to_owned()).or_insert_with(|| id.to_owned());
        if named != id {
            let wrong = format!("{order}: it was {named} and is {id}");
            self.is_wrong(wrong);
        }
    }

    fn is_wrong(&mut self, wrong: String) {
        if self.wrong.len() < KEPT_WRONGS {
            self.wrong.push(wrong);
        }
    }
}

/// The task that a refusal names.
pub fn task_in(refusal: &Answer) -> Option<String> {
    let body = refusal.json();
    let (_, rest) = body["message"].as_str()?.split_once("task ")?;
    Some(rest.split([';', ' ']).next()?.to_owned())
}
