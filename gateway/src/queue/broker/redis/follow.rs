//! Following a stream: XREAD from the place that was its end. The place is kept, so that what comes while the connection is lost is read
//! once it is back, as far as the stream still has it.
//!
//! A connection of its own: a command that blocks holds up all others on its connection.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value};
use serde_json::Map;
use tokio::time::sleep;

use super::{CONNECT_PATIENCE, judge, reason};
use crate::queue::broker::{PublishError, Source};

/// So long Redis waits for something to come before it says that there is nothing.
const BLOCK: Duration = Duration::from_secs(2);
/// Entries at once.
const COUNT: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A place in a stream, and the names and values that stand there in turn.
type Entry = (String, Vec<Vec<u8>>);
type Read = Vec<(Vec<u8>, Vec<Entry>)>;

pub(super) struct Follower {
    client: Client,
    stream: String,
    connection: Option<MultiplexedConnection>,
    /// The last entry that was read.
    place: String,
    read: VecDeque<Bytes>,
    pause: Duration,
}

/// From the stream's end, whether or not there is such a stream yet.
pub(super) async fn follow(client: Client, stream: &str) -> Result<Follower, PublishError> {
    let away = |why| PublishError::Unavailable(why);
    let mut connection = connect(&client).await.map_err(away)?;
    let kind = redis::cmd("TYPE").arg(stream).query_async::<String>(&mut connection).await;
    let place = match kind.map_err(|error| away(reason(&error)))?.as_str() {
        // All that will be in it is yet to come.
        "none" => "0-0".to_owned(),
        "stream" => end(&mut connection, stream).await?,
        _ => return Err(PublishError::Unroutable("its key is no stream".to_owned())),
    };
    let (connection, stream) = (Some(connection), stream.to_owned());
    Ok(Follower { client, stream, connection, place, read: VecDeque::new(), pause: FIRST_PAUSE })
}

async fn end(connection: &mut MultiplexedConnection, stream: &str) -> Result<String, PublishError> {
    let mut asking = redis::cmd("XINFO");
    let about = asking.arg("STREAM").arg(stream).query_async::<HashMap<String, Value>>(connection).await;
    let about = about.map_err(|error| judged(&error))?;
    let last = about.get("last-generated-id").and_then(|last| redis::from_redis_value_ref(last).ok());
    last.ok_or_else(|| PublishError::Unavailable("it does not say where the stream ends".to_owned()))
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_PATIENCE))
        .set_response_timeout(Some(BLOCK + CONNECT_PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| reason(&error))
}

impl Follower {
    /// Reads on from its place. Only an error that will not pass ends it.
    async fn read_on(&mut self) -> Result<(), PublishError> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.client).await.map_err(PublishError::Unavailable)?);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut asking = redis::cmd("XREAD");
        asking.arg("COUNT").arg(COUNT).arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(0));
        asking.arg("STREAMS").arg(&self.stream).arg(&self.place);
        let read = asking.query_async::<Option<Read>>(connection).await.map_err(|error| judged(&error))?;
        for (place, fields) in read.into_iter().flatten().flat_map(|(_, entries)| entries) {
            self.place = place;
            self.read.push_back(event(fields));
        }
        Ok(())
    }
}

fn judged(error: &RedisError) -> PublishError {
    match judge(error) {
        // Nothing was sent that could be confirmed.
        PublishError::Unconfirmed => PublishError::Unavailable(reason(error)),
        other => other,
    }
}

/// What was published here stands in the field `event`; an entry of another make is shown as what it is: names and values.
fn event(fields: Vec<Vec<u8>>) -> Bytes {
    let mut pairs = fields.into_iter();
    let mut all = Map::new();
    while let Some((name, value)) = pairs.next().zip(pairs.next()) {
        if name == b"event" {
            return value.into();
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        all.insert(text(&name), text(&value).into());
    }
    serde_json::Value::Object(all).to_string().into()
}

#[async_trait]
impl Source for Follower {
    async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(event);
            }
            match self.read_on().await {
                Ok(()) => self.pause = FIRST_PAUSE,
                Err(error @ (PublishError::Unroutable(_) | PublishError::Refused(_))) => return Err(error.to_string()),
                Err(error) => {
                    if self.connection.take().is_some() {
                        tracing::info!(stream = self.stream, %error, "following stream {} again soon", self.stream);
                    }
                    sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[&str]) -> String {
        String::from_utf8(event(fields.iter().map(|field| field.as_bytes().to_vec()).collect()).to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_shown_as_it_is_and_another_entry_as_an_object() {
        assert_eq!(entry(&["id", "t1", "event", "{\"a\": 1}"]), "{\"a\": 1}");
        assert_eq!(entry(&["room", "7", "text", "\"hi\""]), r#"{"room":"7","text":"\"hi\""}"#);
        assert_eq!(entry(&[]), "{}");
        assert_eq!(event(vec![b"\xff".to_vec(), b"\xfe".to_vec()]), "{\"\u{fffd}\":\"\u{fffd}\"}");
    }
}
