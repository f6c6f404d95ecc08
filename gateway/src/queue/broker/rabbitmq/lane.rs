//! One channel to one destination: many messages in flight, each answered once its confirm is in.
//!
//! lapin (4.12) tells of a returned message together with *some* confirm, not with its own: it hands the oldest return to whichever
//! confirm comes next. Here each return is put down by its message's id, and a confirm is believed only when all that came before it
//! have been looked at. lapin also numbers a message before it queues it, so that two tasks that publish on one channel may
//! exchange their confirms. Here one task publishes.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::task::AtomicWaker;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::connection::MANDATORY;
use crate::queue::broker::PublishError;
use crate::queue::broker::window::Pass;
use crate::queue::event::EVENT_TYPE;

const PERSISTENT: u8 = 2;

/// Where messages go on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) exchange: String,
    pub(super) routing_key: String,
}

#[derive(Debug)]
pub(super) struct Lane {
    channel: Channel,
    parcels: mpsc::UnboundedSender<Parcel>,
}

/// A message on its way.
#[derive(Debug)]
struct Parcel {
    id: String,
    event: Bytes,
    answer: oneshot::Sender<Result<(), PublishError>>,
    /// Room is given back with the confirm, not when somebody stops waiting for it.
    pass: Pass,
}

impl Lane {
    /// `channel` confirms.
    pub(super) fn open(channel: Channel, destination: Destination, largest: Largest) -> Self {
        let (parcels, incoming) = mpsc::unbounded_channel();
        let mut desk = Desk::new(channel.clone(), destination, largest, incoming);
        tokio::spawn(async move { poll_fn(|context| desk.poll(context)).await });
        Self { channel, parcels }
    }

    pub(super) fn is_open(&self) -> bool {
        self.channel.status().connected() && !self.parcels.is_closed()
    }

    /// Sends the message and waits for its confirm. Whoever stops waiting does not stop the message.
    pub(super) async fn send(&self, id: String, event: Bytes, pass: Pass) -> Result<(), PublishError> {
        let (answer, answered) = oneshot::channel();
        if self.parcels.send(Parcel { id, event, answer, pass }).is_err() {
            return Err(closed());
        }
        answered.await.unwrap_or(Err(PublishError::Unconfirmed))
    }
}

/// The size beyond which the broker takes no message, as far as it has told. It tells by closing the channel on the first that is larger, and
/// so leaves all others on it unconfirmed; a second one is not sent.
#[derive(Clone, Debug)]
pub(super) struct Largest(Arc<AtomicUsize>);

impl Default for Largest {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

impl Largest {
    pub(super) fn check(&self, size: usize) -> Result<(), PublishError> {
        let largest = self.0.load(Ordering::Relaxed);
        if size > largest { Err(too_large(size, largest)) } else { Ok(()) }
    }

    /// What a broken channel means for a message of this size that was on it.
    fn judge(&self, error: &lapin::Error, size: usize) -> PublishError {
        tracing::debug!(%error, "RabbitMQ left a message unconfirmed");
        let ErrorKind::ProtocolError(said) = error.kind() else { return PublishError::Unconfirmed };
        let Some((offender, largest)) = sizes(said.get_message().as_str()) else { return PublishError::Unconfirmed };
        self.0.fetch_min(largest, Ordering::Relaxed);
        // Others that are as large would fare no better.
        if size == offender { too_large(size, largest) } else { PublishError::Unconfirmed }
    }
}

fn too_large(size: usize, largest: usize) -> PublishError {
    PublishError::Refused(format!("it has {size} bytes, of which RabbitMQ takes {largest}"))
}

/// Out of `message size 2000 is larger than configured max size 1000`.
fn sizes(said: &str) -> Option<(usize, usize)> {
    let (_, sizes) = said.split_once("message size ")?;
    let (offender, rest) = sizes.split_once(" is larger than ")?;
    Some((offender.parse().ok()?, rest.split_whitespace().next_back()?.parse().ok()?))
}

fn closed() -> PublishError {
    PublishError::Unavailable("the channel is closed".to_owned())
}

type Confirming = Pin<Box<dyn Future<Output = Result<Confirmation, PublishError>> + Send>>;

struct Slot {
    confirming: Confirming,
    waker: Waker,
    id: String,
    answer: oneshot::Sender<Result<(), PublishError>>,
    _pass: Pass,
}

/// A message whose confirm is in.
struct Confirmed {
    slot: Slot,
    outcome: Result<Confirmation, PublishError>,
}

/// A confirm that came with the return of another message: its own may wait behind that.
struct Doubtful {
    slot: Slot,
    round: u64,
}

/// All that is in flight on one channel, polled by one task.
struct Desk {
    channel: Channel,
    destination: Destination,
    largest: Largest,
    incoming: mpsc::UnboundedReceiver<Parcel>,
    is_open: bool,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// Ids of messages that came back and whose own confirm is not in yet.
    returned: HashSet<String>,
    /// Seen in the round before this one.
    confirmed: Vec<Confirmed>,
    doubtful: Vec<Doubtful>,
    round: u64,
}

impl Desk {
    fn new(
        channel: Channel,
        destination: Destination,
        largest: Largest,
        incoming: mpsc::UnboundedReceiver<Parcel>,
    ) -> Self {
        Self {
            channel,
            destination,
            largest,
            incoming,
            is_open: true,
            slots: Vec::new(),
            free: Vec::new(),
            woken: Arc::default(),
            returned: HashSet::new(),
            confirmed: Vec::new(),
            doubtful: Vec::new(),
            round: 0,
        }
    }

    /// Ready when nobody can send any more and nothing is in flight.
    ///
    /// lapin answers confirms one after the other on a thread of its own, each answer followed by its wake. So when a confirm is seen,
    /// those before it have woken their slots: they are polled in the next round at the latest. What is seen in one round is believed
    /// after the next.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.woken.desk.register(context.waker());
        loop {
            self.round += 1;
            let has_news = self.take_in(context);
            let woken = std::mem::take(&mut *self.woken.slots.lock());
            let is_quiet = woken.is_empty() && !has_news;
            let before = std::mem::take(&mut self.confirmed);
            for index in woken {
                self.look_at(index);
            }
            for confirmed in before {
                self.settle(confirmed);
            }
            if self.confirmed.is_empty() {
                self.settle_doubtful();
            }
            if is_quiet && self.confirmed.is_empty() {
                break;
            }
        }
        let is_idle = self.slots.len() == self.free.len() && self.doubtful.is_empty();
        if is_idle && !self.is_open { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Begins to publish what has come.
    fn take_in(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_news = false;
        while self.is_open {
            match self.incoming.poll_recv(context) {
                Poll::Ready(Some(parcel)) => self.begin(parcel),
                Poll::Ready(None) => self.is_open = false,
                Poll::Pending => break,
            }
            has_news = true;
        }
        has_news
    }

    fn begin(&mut self, parcel: Parcel) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let bell = Bell { index, woken: self.woken.clone() };
        let (channel, destination, largest) = (self.channel.clone(), self.destination.clone(), self.largest.clone());
        let confirming = publish(channel, destination, largest, parcel.id.clone(), parcel.event);
        let slot = Slot {
            confirming: Box::pin(confirming),
            waker: Waker::from(Arc::new(bell)),
            id: parcel.id,
            answer: parcel.answer,
            _pass: parcel.pass,
        };
        if let Some(place) = self.slots.get_mut(index) {
            *place = Some(slot);
        }
        // Polled here, so that messages go out in the order in which they came.
        self.look_at(index);
    }

    fn look_at(&mut self, index: usize) {
        let Some(place) = self.slots.get_mut(index) else { return };
        // A slot may have been woken twice, or have been given to another message meanwhile.
        let Some(slot) = place else { return };
        let waker = slot.waker.clone();
        let Poll::Ready(outcome) = slot.confirming.as_mut().poll(&mut Context::from_waker(&waker)) else { return };
        if let Some(id) = outcome.as_ref().ok().and_then(returned_id) {
            self.returned.insert(id);
        }
        if let Some(slot) = place.take() {
            self.free.push(index);
            self.confirmed.push(Confirmed { slot, outcome });
        }
    }

    fn settle(&mut self, Confirmed { slot, outcome }: Confirmed) {
        let answer = match outcome {
            Err(error) => Err(error),
            Ok(_) if self.returned.remove(&slot.id) => Err(unroutable(&self.destination)),
            Ok(Confirmation::Ack(None)) => {
                // No return was waiting when this confirm came: whoever was seen before it and is not among them was routed.
                let settled = |doubtful: &mut Doubtful| doubtful.round + 2 < self.round;
                for Doubtful { slot, .. } in self.doubtful.extract_if(.., settled) {
                    let is_returned = self.returned.remove(&slot.id);
                    let answer = if is_returned { Err(unroutable(&self.destination)) } else { Ok(()) };
                    let _ = slot.answer.send(answer);
                }
                Ok(())
            }
            Ok(Confirmation::Ack(Some(_))) => {
                self.doubtful.push(Doubtful { slot, round: self.round });
                return;
            }
            Ok(Confirmation::Nack(_)) => Err(PublishError::Nacked),
            Ok(Confirmation::NotRequested) => Err(PublishError::Unconfirmed),
        };
        // Whoever waited may have left.
        let _ = slot.answer.send(answer);
    }

    /// Where nothing is in flight every return has been seen.
    fn settle_doubtful(&mut self) {
        let is_all_in = self.slots.len() == self.free.len();
        let (returned, destination) = (&mut self.returned, &self.destination);
        let settled = |doubtful: &mut Doubtful| is_all_in || returned.contains(&doubtful.slot.id);
        let settled: Vec<Doubtful> = self.doubtful.extract_if(.., settled).collect();
        for Doubtful { slot, .. } in settled {
            let is_returned = returned.remove(&slot.id);
            let _ = slot.answer.send(if is_returned { Err(unroutable(destination)) } else { Ok(()) });
        }
    }
}

async fn publish(
    channel: Channel,
    destination: Destination,
    largest: Largest,
    id: String,
    event: Bytes,
) -> Result<Confirmation, PublishError> {
    if !channel.status().connected() {
        return Err(closed());
    }
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(EVENT_TYPE.into())
        .with_message_id(id.into());
    let (exchange, routing_key) = (destination.exchange.into(), destination.routing_key.into());
    let sent = channel.basic_publish(exchange, routing_key, MANDATORY, &event, properties).await;
    // From here on it may be there, whatever comes.
    let confirming = sent.map_err(|error| largest.judge(&error, event.len()))?;
    confirming.await.map_err(|error| largest.judge(&error, event.len()))
}

fn returned_id(confirmation: &Confirmation) -> Option<String> {
    let (Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message))) = confirmation else { return None };
    message.properties.message_id().as_ref().map(ShortString::to_string)
}

fn unroutable(destination: &Destination) -> PublishError {
    let Destination { exchange, routing_key } = destination;
    PublishError::Unroutable(format!("exchange {exchange:?} leads to no queue for routing key {routing_key:?}"))
}

/// The slots that want to be polled again.
#[derive(Default)]
struct Woken {
    slots: Mutex<Vec<usize>>,
    desk: AtomicWaker,
}

/// Wakes the desk and tells it which slot rang.
struct Bell {
    index: usize,
    woken: Arc<Woken>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.slots.lock().push(self.index);
        self.woken.desk.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_out_of_what_the_broker_says() {
        let said = "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000";
        assert_eq!(sizes(said), Some((2000, 1000)));
        assert_eq!(sizes("message size 7 is larger than max size 5"), Some((7, 5)));
        assert_eq!(sizes("PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out"), None);
    }
}
