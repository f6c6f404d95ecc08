//! How messages of embedded queues are delivered: claimed under a lease and ahead of their push, extended, settled many at once.
//!
//! A queue's `concurrency` is shared out in slots, one for each push at the same time. A worker that wants some leaves a row that says how
//! many it has and how many it would use; the sum of what workers have never exceeds the concurrency. Who has more than its part while
//! others want some gets fewer with its next claim, and what it gave up is there for others with the one after that.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::model::Timestamp;

use super::Result;
use super::message::{Claim, ClaimedMessage, Fields, MessageClaim, Settlement, text, time};
use super::session::{Backend, Cell, Record, Session};
use super::table::Holds;

const SHARES: &str = "SELECT slots, wanted, ends_at <= $3 FROM gateway_queue_share WHERE queue = $1 AND worker <> $2";
const EXPIRE: &str = "DELETE FROM gateway_queue_share WHERE queue = $1 AND worker <> $2 AND ends_at <= $3";
const SHARE: &str = "INSERT INTO gateway_queue_share (queue, worker, slots, wanted, ends_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (queue, worker) DO UPDATE \
    SET slots = excluded.slots, wanted = excluded.wanted, ends_at = excluded.ends_at";
const LEAVE: &str = "DELETE FROM gateway_queue_share WHERE queue = $1 AND worker = $2";
const EXTEND_SHARES: &str = "UPDATE gateway_queue_share SET ends_at = $2 WHERE worker = $1";
const RETRY: &str = "UPDATE gateway_message SET lease_owner = NULL, due_at = $3, last_error = $4 WHERE number = $1 AND lease_owner = $2";
const BURY: &str = "UPDATE gateway_message SET lease_owner = NULL, dead_at = $3, last_error = $4 WHERE number = $1 AND lease_owner = $2";

const CLAIMED: [Holds; 7] =
    [Holds::Integer, Holds::Text, Holds::Text, Holds::Text, Holds::Integer, Holds::Time, Holds::Text];

/// What another worker has of a queue's concurrency, and would use.
#[derive(Clone, Copy, Debug)]
struct Share {
    slots: u32,
    wanted: u32,
}

pub(super) async fn claim(session: &mut dyn Session, backend: &dyn Backend, claim: &MessageClaim<'_>) -> Result<Claim> {
    if let Some(lock) = backend.lock_queue() {
        // Two that count at once would both find room.
        session.execute(lock, vec![Cell::text(claim.queue)]).await?;
    }
    let others = others(session, claim).await?;
    let MessageClaim { limit, concurrency, here, .. } = *claim;
    let part = part_of(concurrency, &others);
    let usable = part.min(here.held.saturating_add(limit));
    let room = if usable == 0 { 0 } else { usable.saturating_add(here.ahead).saturating_sub(here.held).min(limit) };
    let mut messages = Vec::new();
    if room > 0 {
        let cells = vec![
            Cell::text(claim.queue),
            time(claim.now),
            Cell::Id(Some(claim.worker)),
            time(claim.until),
            Cell::Integer(Some(i64::from(room))),
        ];
        let rows = session.fetch(backend.claim_messages(), cells, &CLAIMED).await?;
        messages = rows.into_iter().filter_map(claimed_of).collect();
        messages.sort_by_key(|message| message.number);
    }
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let has = here.held.saturating_add(count);
    let slots = part.min(has);
    let is_drained = count < room;
    let wanted = if is_drained { has } else { here.held.saturating_add(limit) }.min(concurrency);
    let cells = vec![
        Cell::text(claim.queue),
        Cell::Id(Some(claim.worker)),
        // What is being pushed at this moment can't be taken back.
        Cell::Integer(Some(i64::from(slots.max(here.slots)))),
        Cell::Integer(Some(i64::from(wanted))),
        time(claim.until),
    ];
    session.execute(SHARE, cells).await?;
    Ok(Claim { messages, slots, is_drained })
}

async fn others(session: &mut dyn Session, claim: &MessageClaim<'_>) -> Result<Vec<Share>> {
    let asked = vec![Cell::text(claim.queue), Cell::Id(Some(claim.worker)), time(claim.now)];
    let rows = session.fetch(SHARES, asked.clone(), &[Holds::Integer, Holds::Integer, Holds::Boolean]).await?;
    let (mut alive, mut is_any_over) = (Vec::new(), false);
    for row in rows {
        let mut fields = Fields::of(row);
        let (slots, wanted, is_over) = (fields.next(), fields.next(), fields.next().unwrap_or(false));
        is_any_over |= is_over;
        if !is_over {
            alive.push(Share { slots: slots.unwrap_or(0), wanted: wanted.unwrap_or(0) });
        }
    }
    if is_any_over {
        session.execute(EXPIRE, asked).await?;
    }
    Ok(alive)
}

/// How many slots are left for one more worker: others keep theirs, and each may come to an equal part if it wants to.
fn part_of(concurrency: u32, others: &[Share]) -> u32 {
    let count = u32::try_from(others.len()).unwrap_or(u32::MAX).saturating_add(1);
    let equal = concurrency / count;
    let theirs = others.iter().map(|share| share.slots.max(share.wanted.min(equal)));
    concurrency.saturating_sub(theirs.fold(0, u32::saturating_add))
}

pub(super) async fn extend(
    session: &mut dyn Session,
    backend: &dyn Backend,
    worker: Uuid,
    numbers: &[i64],
    until: Timestamp,
) -> Result<Vec<i64>> {
    let worker = Cell::Id(Some(worker));
    let cells = vec![worker.clone(), list(numbers), time(until)];
    let rows = session.fetch(backend.extend_messages(), cells, &[Holds::Integer]).await?;
    // After the messages, as everywhere: transactions that take rows in one order don't wait for each other in a circle.
    session.execute(EXTEND_SHARES, vec![worker, time(until)]).await?;
    Ok(rows.into_iter().filter_map(|row| Fields::of(row).next()).collect())
}

/// What ends well, which is most, is one statement however much it is.
pub(super) async fn settle(
    session: &mut dyn Session,
    backend: &dyn Backend,
    worker: Uuid,
    settled: &[(i64, Settlement)],
) -> Result<()> {
    let (mut done, mut given_back) = (Vec::new(), BTreeMap::<_, Vec<i64>>::new());
    for (number, settlement) in settled {
        let (sql, at, error) = match settlement {
            Settlement::Done => {
                done.push(*number);
                continue;
            }
            Settlement::GiveBack { at } => {
                given_back.entry(*at).or_default().push(*number);
                continue;
            }
            Settlement::Retry { at, error } => (RETRY, at, error),
            Settlement::Dead { at, error } => (BURY, at, error),
        };
        let cells = vec![Cell::Integer(Some(*number)), Cell::Id(Some(worker)), time(*at), text(error)];
        session.execute(sql, cells).await?;
    }
    if !done.is_empty() {
        session.execute(backend.delete_messages(), vec![Cell::Id(Some(worker)), list(&done)]).await?;
    }
    for (at, numbers) in given_back {
        let cells = vec![Cell::Id(Some(worker)), list(&numbers), time(at)];
        session.execute(backend.give_back_messages(), cells).await?;
    }
    Ok(())
}

pub(super) async fn leave(session: &mut dyn Session, worker: Uuid, queues: &[String]) -> Result<()> {
    for queue in queues {
        session.execute(LEAVE, vec![Cell::text(queue), Cell::Id(Some(worker))]).await?;
    }
    Ok(())
}

/// One parameter however many there are: a statement's text must be known beforehand.
fn list(numbers: &[i64]) -> Cell {
    Cell::Json(Some(Value::from(numbers).to_string()))
}

fn claimed_of(row: Record) -> Option<ClaimedMessage> {
    let mut fields = Fields::of(row);
    Some(ClaimedMessage {
        number: fields.next()?,
        id: fields.next()?,
        queue: fields.next()?,
        event: fields.next()?,
        attempts: fields.next()?,
        accepted_at: fields.next()?,
        last_error: fields.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(concurrency: u32, others: &[(u32, u32)]) -> u32 {
        let others: Vec<_> = others.iter().map(|&(slots, wanted)| Share { slots, wanted }).collect();
        part_of(concurrency, &others)
    }

    #[test]
    fn a_workers_part_is_what_others_neither_have_nor_may_come_to() {
        assert_eq!(part(8, &[]), 8);
        assert_eq!(part(8, &[(1, 1)]), 7, "the other wants no more");
        assert_eq!(part(8, &[(0, 8)]), 4, "the other may come to its half");
        assert_eq!(part(8, &[(8, 8)]), 0, "what the other has is its own until it gives it up");
        assert_eq!(part(8, &[(0, 8), (5, 8)]), 1);
        assert_eq!(part(1, &[(0, 1)]), 1, "one slot is not handed to and fro");
        assert_eq!(part(4, &[(9, 9)]), 0, "the queue was given less meanwhile");
    }
}
