//! Queues at work, beside their configuration: how full they are, what could not be delivered, whether a message gets through, and
//! by which secret their receivers know us.

mod dead;
mod secret;
mod status;
mod test;

use gateway_config::model::{Action, Actor, Broker, Item, Kind, Queue};
use gateway_config::store::StoreError;

use crate::error::Failure;
use crate::state::AppState;

pub(crate) use dead::{DeadLetterView, Replayed, discard, list as list_dead, replay, replay_all};
pub(crate) use secret::{ShownSecret, of_application as application_secret, of_queue as queue_secret};
pub(crate) use status::{StatusView, show as status};
pub(crate) use test::{TestMessage, Tested, publish as test};

/// The queue of this name in the configuration.
async fn queue(state: &AppState, name: &str) -> Result<Queue, Failure> {
    match find(state, Kind::Queue, name).await? {
        Some(Item::Queue(queue)) => Ok((*queue).clone()),
        _ => Err(Failure::not_found(&format!("queue \"{name}\""))),
    }
}

async fn find(state: &AppState, kind: Kind, name: &str) -> Result<Option<Item>, Failure> {
    let found = async {
        match state.store.get(kind, name).await {
            // A name that the database can't even compare is nobody's.
            Err(StoreError::Refused(_)) => Ok(None),
            other => other,
        }
    };
    state.ask(found).await
}

/// The same, if its messages are kept in this database; `what` else is not to be had here.
async fn embedded(state: &AppState, name: &str, what: &str) -> Result<Queue, Failure> {
    let queue = queue(state, name).await?;
    match queue.broker {
        Broker::Embedded => Ok(queue),
        Broker::Rabbitmq | Broker::Redis | Broker::Kafka => {
            Err(Failure::conflict(format!("queue \"{name}\" is not embedded: {what}")))
        }
    }
}

/// Into the audit.
async fn note(state: &AppState, actor: &Actor, action: Action, summary: String) -> Result<(), Failure> {
    let deed = state.deed(actor, action, summary, Vec::new());
    state.ask(state.store.record(&deed, &state.chain)).await.map(drop)
}
