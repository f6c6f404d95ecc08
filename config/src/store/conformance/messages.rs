//! Checks of the messages of embedded queues.

use std::collections::HashSet;

use uuid::Uuid;

use crate::clock::new_id;
use crate::model::Timestamp;
use crate::store::{Claim, ClaimedMessage, Here, MessageClaim, NewMessage, QueueDepth, Result, Settlement, Store};

use super::Subject;

const MANY: u32 = 1000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn message(queue: &str, id: &str, micros: i64) -> NewMessage {
    let event = format!(r#"{{"id": "{id}", "data": "grüß\u0000"}}"#);
    NewMessage { id: id.to_owned(), queue: queue.to_owned(), event, accepted_at: at(micros) }
}

fn numbered(queue: &str, count: usize) -> Vec<NewMessage> {
    (0..count).map(|number| message(queue, &format!("{queue}{number:04}"), 5)).collect()
}

/// Claims for ten microseconds.
async fn claim(store: &dyn Store, queue: &str, worker: Uuid, now: i64, most: u32) -> Result<Vec<ClaimedMessage>> {
    let (now, until) = (at(now), at(now + 10));
    let here = Here::default();
    let claim = MessageClaim { queue, worker, now, until, limit: most, concurrency: MANY, here };
    Ok(store.claim_messages(&claim).await?.messages)
}

fn ids(claimed: &[ClaimedMessage]) -> Vec<&str> {
    claimed.iter().map(|message| message.id.as_str()).collect()
}

async fn settle(store: &dyn Store, worker: Uuid, message: &ClaimedMessage, settlement: Settlement) -> Result<()> {
    store.settle_messages(worker, &[(message.number, settlement)], &[]).await
}

pub(super) async fn messages_are_claimed_in_the_order_in_which_they_are_due(subject: &dyn Subject) -> Result<()> {
    let (store, worker) = (subject.open().await, new_id());
    store.accept_messages(&[message("q", "late", 9), message("q", "b", 3), message("q", "a", 3)]).await?;
    store.accept_messages(&[message("other", "x", 1)]).await?;
    store.accept_messages(&[]).await?;
    assert_eq!(claim(&*store, "q", worker, 2, MANY).await?, []);
    let first = claim(&*store, "q", worker, 3, 1).await?;
    assert_eq!(ids(&first), ["b"]);
    let expected = message("q", "b", 3);
    assert_eq!((&first[0].event, first[0].attempts, first[0].accepted_at), (&expected.event, 1, at(3)));
    assert_eq!(ids(&claim(&*store, "q", worker, 4, MANY).await?), ["a"], "what is claimed is claimed by nobody else");
    assert_eq!(ids(&claim(&*store, "q", worker, 9, MANY).await?), ["late"]);
    assert_eq!(store.due_queues(at(9)).await?, ["other"]);
    Ok(())
}

pub(super) async fn a_message_is_accepted_once_by_its_id(subject: &dyn Subject) -> Result<()> {
    let (store, worker) = (subject.open().await, new_id());
    // More than one statement of each size.
    let messages = numbered("q", 257);
    store.accept_messages(&messages).await?;
    let again: Vec<_> =
        messages.iter().rev().cloned().chain([message("q", "new", 5), message("q", "new", 5)]).collect();
    subject.open().await.accept_messages(&again).await?;
    let claimed = claim(&*store, "q", worker, 5, MANY).await?;
    let expected: Vec<&str> = messages.iter().map(|message| message.id.as_str()).chain(["new"]).collect();
    assert_eq!(ids(&claimed), expected);
    Ok(())
}

pub(super) async fn workers_claim_disjoint_messages(subject: &dyn Subject) -> Result<()> {
    let (one, other) = (subject.open().await, subject.open().await);
    one.accept_messages(&numbered("q", 400)).await?;
    let (mine, theirs) = (new_id(), new_id());
    let mut seen = Vec::new();
    for _ in 0..20 {
        let (first, second) = futures::join!(claim(&*one, "q", mine, 5, 10), claim(&*other, "q", theirs, 5, 10));
        let (first, second) = (first?, second?);
        assert!(!first.is_empty() && !second.is_empty(), "both get some");
        seen.extend(first.into_iter().chain(second).map(|message| message.id));
    }
    assert_eq!((seen.len(), seen.iter().collect::<HashSet<_>>().len()), (400, 400));
    Ok(())
}

pub(super) async fn a_queues_concurrency_holds_over_all_workers(subject: &dyn Subject) -> Result<()> {
    let (one, other) = (subject.open().await, subject.open().await);
    one.accept_messages(&numbered("q", 100)).await?;
    let (mine, theirs) = (new_id(), new_id());
    let of = |worker, held| {
        let here = Here { held, slots: held, ahead: 0 };
        MessageClaim { queue: "q", worker, now: at(5), until: at(15), limit: 3, concurrency: 4, here }
    };
    let (my_claim, their_claim) = (of(mine, 0), of(theirs, 0));
    let (first, second) = futures::join!(one.claim_messages(&my_claim), other.claim_messages(&their_claim));
    let (first, second) = (first?, second?);
    assert_eq!(first.slots + second.slots, 4, "{first:?} {second:?}");
    assert_eq!(first.messages.len() + second.messages.len(), 4, "{first:?} {second:?}");
    assert_eq!(one.claim_messages(&of(mine, first.slots)).await?.messages, []);
    let (worker, claimed) = if first.messages.is_empty() { (theirs, &second) } else { (mine, &first) };
    settle(&*one, worker, &claimed.messages[0], Settlement::Done).await?;
    let held = |who: Uuid, claim: &Claim| claim.slots - u32::from(who == worker);
    let mut again = one.claim_messages(&of(mine, held(mine, &first))).await?.messages;
    again.extend(other.claim_messages(&of(theirs, held(theirs, &second))).await?.messages);
    assert_eq!(again.len(), 1, "one is done, so there is room for one");
    Ok(())
}

pub(super) async fn what_is_claimed_ahead_takes_no_slots(subject: &dyn Subject) -> Result<()> {
    let (one, other) = (subject.open().await, subject.open().await);
    one.accept_messages(&numbered("q", 100)).await?;
    let (mine, theirs) = (new_id(), new_id());
    let of = |worker, now, limit, here| MessageClaim {
        queue: "q",
        worker,
        now: at(now),
        until: at(now + 10),
        limit,
        concurrency: 4,
        here,
    };
    let alone = one.claim_messages(&of(mine, 5, 20, Here { ahead: 10, ..Here::default() })).await?;
    assert_eq!((alone.messages.len(), alone.slots, alone.is_drained), (14, 4, false));
    let late = other.claim_messages(&of(theirs, 5, 20, Here { ahead: 10, ..Here::default() })).await?;
    assert_eq!((late.messages.len(), late.slots), (0, 0), "all slots are taken");
    // Four are being pushed: that they are too many from now on is said, and they stay counted.
    let less = one.claim_messages(&of(mine, 6, 1, Here { held: 14, slots: 4, ahead: 10 })).await?;
    assert_eq!((less.messages.len(), less.slots), (0, 2), "another wants its half");
    assert_eq!(other.claim_messages(&of(theirs, 6, 20, Here::default())).await?.slots, 0, "they are not given up yet");
    let fewer = one.claim_messages(&of(mine, 6, 1, Here { held: 11, slots: 2, ahead: 10 })).await?;
    assert_eq!((fewer.messages.len(), fewer.slots), (1, 2));
    let half = other.claim_messages(&of(theirs, 6, 20, Here::default())).await?;
    assert_eq!((half.messages.len(), half.slots), (2, 2));
    // Who leaves, or whose lease runs out, leaves its slots to others.
    other.settle_messages(theirs, &[], &["q".to_owned()]).await?;
    let grown = one.claim_messages(&of(mine, 7, 20, Here { held: 10, slots: 2, ahead: 10 })).await?;
    assert_eq!(grown.slots, 4);
    let heir = other.claim_messages(&of(theirs, 17, 4, Here::default())).await?;
    assert_eq!((heir.messages.len(), heir.slots), (4, 4));
    Ok(())
}

pub(super) async fn what_is_drained_is_said(subject: &dyn Subject) -> Result<()> {
    let (store, worker) = (subject.open().await, new_id());
    store.accept_messages(&numbered("q", 3)).await?;
    let of = |held, limit| MessageClaim {
        queue: "q",
        worker,
        now: at(5),
        until: at(15),
        limit,
        concurrency: 9,
        here: Here { held, slots: held, ahead: 0 },
    };
    let claimed = store.claim_messages(&of(0, 2)).await?;
    assert_eq!((claimed.messages.len(), claimed.slots, claimed.is_drained), (2, 2, false));
    let rest = store.claim_messages(&of(2, 2)).await?;
    assert_eq!((rest.messages.len(), rest.slots, rest.is_drained), (1, 3, true));
    let nothing = Claim { messages: Vec::new(), slots: 3, is_drained: true };
    assert_eq!(store.claim_messages(&of(3, 2)).await?, nothing);
    Ok(())
}

pub(super) async fn of_many_that_are_settled_only_what_is_lost_is_passed_over(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (first, heir) = (new_id(), new_id());
    store.accept_messages(&numbered("q", 300)).await?;
    let held = claim(&*store, "q", first, 5, MANY).await?;
    let lost = &held[250];
    let others: Vec<i64> = held.iter().map(|message| message.number).filter(|number| *number != lost.number).collect();
    let extended = store.extend_messages(first, &others, at(50)).await?;
    assert_eq!(extended.len(), 299);
    assert_eq!(ids(&claim(&*store, "q", heir, 15, MANY).await?), [lost.id.as_str()], "its lease ran out");
    let all: Vec<i64> = held.iter().map(|message| message.number).collect();
    let mut still = store.extend_messages(first, &all, at(60)).await?;
    still.sort_unstable();
    assert_eq!(still, others, "what is somebody else's is not extended, and that is said");
    let settled: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(place, number)| match place % 10 {
            7 => (*number, Settlement::GiveBack { at: at(16) }),
            8 => (*number, Settlement::Retry { at: at(90), error: "status 500".to_owned() }),
            9 => (*number, Settlement::Dead { at: at(17), error: "no".to_owned() }),
            _ => (*number, Settlement::Done),
        })
        .collect();
    store.settle_messages(first, &settled, &[]).await?;
    let depth = store.queue_depth("q", at(16)).await?;
    assert_eq!((depth.waiting, depth.claimed, depth.dead), (60, 1, 30));
    let lost = lost.clone();
    settle(&*store, heir, &lost, Settlement::Done).await?;
    let back = claim(&*store, "q", heir, 16, MANY).await?;
    assert!(back.len() == 30 && back.iter().all(|message| message.attempts == 1), "they were not tried");
    Ok(())
}

pub(super) async fn queues_with_something_due_are_found_among_all(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    assert_eq!(store.due_queues(at(9)).await?, [""; 0]);
    for (queue, micros) in [("b", 5), ("a", 5), ("later", 50), ("z", 9), ("ä", 1)] {
        store.accept_messages(&[message(queue, queue, micros), message(queue, &format!("{queue}2"), 60)]).await?;
    }
    let mut due = store.due_queues(at(9)).await?;
    due.sort_unstable();
    assert_eq!(due, ["a", "b", "z", "ä"]);
    Ok(())
}

pub(super) async fn a_lease_that_ran_out_is_claimed_again_and_its_old_owner_settles_nothing(
    subject: &dyn Subject,
) -> Result<()> {
    let store = subject.open().await;
    let (dead, heir) = (new_id(), new_id());
    store.accept_messages(&[message("q", "a", 5), message("q", "b", 5)]).await?;
    let held = claim(&*store, "q", dead, 5, MANY).await?;
    let (first, second) = (&held[0], &held[1]);
    store.extend_messages(dead, &[second.number], at(30)).await?;
    assert_eq!(claim(&*store, "q", heir, 14, MANY).await?, []);
    let again = claim(&*store, "q", heir, 15, MANY).await?;
    assert_eq!(ids(&again), ["a"], "the other lease was extended");
    assert_eq!(again[0].attempts, 2);
    for settlement in [Settlement::Done, Settlement::GiveBack { at: at(0) }] {
        settle(&*store, dead, first, settlement).await?;
    }
    store.extend_messages(dead, &[first.number], at(99)).await?;
    assert_eq!(ids(&claim(&*store, "q", heir, 25, MANY).await?), ["a"], "the new owner's lease ran out in its time");
    Ok(())
}

pub(super) async fn a_settled_message_is_gone_due_later_dead_or_as_it_was(subject: &dyn Subject) -> Result<()> {
    let (store, worker) = (subject.open().await, new_id());
    let messages = ["a", "b", "c", "d"].map(|id| message("q", id, 5));
    store.accept_messages(&messages).await?;
    let held = claim(&*store, "q", worker, 5, MANY).await?;
    let error = || "status\u{0} 500".to_owned();
    let settled = [
        (held[0].number, Settlement::Done),
        (held[1].number, Settlement::Retry { at: at(40), error: error() }),
        (held[2].number, Settlement::Dead { at: at(7), error: error() }),
        (held[3].number, Settlement::GiveBack { at: at(7) }),
    ];
    store.settle_messages(worker, &settled, &[]).await?;
    let depth = QueueDepth { queue: "q".to_owned(), waiting: 2, claimed: 0, dead: 1, oldest: Some(at(5)) };
    assert_eq!(store.queue_depths(at(8)).await?, std::slice::from_ref(&depth));
    assert_eq!(store.queue_depth("q", at(8)).await?, depth);
    let back = claim(&*store, "q", worker, 8, MANY).await?;
    assert_eq!((ids(&back), back[0].attempts), (vec!["d"], 1), "it was not tried");
    let depth = QueueDepth { waiting: 1, claimed: 1, ..depth };
    assert_eq!(store.queue_depths(at(8)).await?, std::slice::from_ref(&depth));
    assert_eq!(store.queue_depth("q", at(8)).await?, depth);
    let nothing = QueueDepth { queue: "other".to_owned(), waiting: 0, claimed: 0, dead: 0, oldest: None };
    assert_eq!(store.queue_depth("other", at(8)).await?, nothing);
    settle(&*store, worker, &back[0], Settlement::Done).await?;
    let retried = claim(&*store, "q", worker, 40, MANY).await?;
    assert_eq!((ids(&retried), retried[0].attempts), (vec!["b"], 2));
    assert!(!retried[0].is_replayed() && !back[0].is_replayed());
    assert_eq!(claim(&*store, "q", worker, i64::from(u32::MAX), 9).await?.len(), 1, "a dead letter is never due");
    Ok(())
}

pub(super) async fn dead_letters_are_listed_replayed_and_deleted(subject: &dyn Subject) -> Result<()> {
    let (store, worker) = (subject.open().await, new_id());
    store.accept_messages(&numbered("q", 5)).await?;
    store.accept_messages(&[message("q", "alive", 90)]).await?;
    let buried: Vec<_> = claim(&*store, "q", worker, 5, MANY)
        .await?
        .iter()
        .map(|message| (message.number, Settlement::Dead { at: at(6), error: "no".to_owned() }))
        .collect();
    store.settle_messages(worker, &buried, &[]).await?;
    let first = store.dead_letters("q", 0, 2).await?;
    assert_eq!((first[0].id.as_str(), first[1].id.as_str()), ("q0000", "q0001"));
    assert_eq!((first[0].dead_at, first[0].last_error.as_deref(), first[0].attempts), (at(6), Some("no"), 1));
    assert_eq!(store.dead_letters("q", first[1].number, 9).await?.len(), 3);
    assert_eq!(store.dead_letters("other", 0, 9).await?, []);

    assert!(store.is_dead_letter("q0003").await? && !store.is_dead_letter("ghost").await?);
    assert_eq!(store.replay_dead_letters("q", Some("q0003"), at(7)).await?, 1);
    assert!(!store.is_dead_letter("q0003").await? && !store.is_dead_letter("alive").await?);
    assert_eq!(store.replay_dead_letters("q", Some("alive"), at(7)).await?, 0, "it is not dead");
    assert_eq!(store.replay_dead_letters("other", None, at(7)).await?, 0);
    let again = claim(&*store, "q", worker, 7, MANY).await?;
    assert_eq!((ids(&again), again[0].attempts), (vec!["q0003"], 1), "as if it had never been tried");
    assert!(again[0].is_replayed());
    assert_eq!(store.delete_dead_letters("q", Some("q0000")).await?, 1);
    assert_eq!(store.delete_dead_letters("q", Some("alive")).await?, 0);
    assert_eq!(store.replay_dead_letters("q", None, at(8)).await?, 3);
    assert_eq!(store.delete_dead_letters("q", None).await?, 0);
    Ok(())
}
