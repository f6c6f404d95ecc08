//! Workers behind queues: what clients asked for is done, once, and they hear of it.

use std::collections::HashMap;

use e2e::rabbitmq::{consume, rabbitmq};
use e2e::{Answer, Gate, Mail, Request, SmtpSink, Stack, Workers, eventually_within, queue, route};
use rdkafka::mocking::MockCluster;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use super::{DEADLINE, task_of};

const FAST: [(&str, &str); 3] =
    [("WORKER_RETRY_MS", "50"), ("WORKER_MAX_ATTEMPTS", "3"), ("WORKER_TAKEOVER_SECONDS", "1")];

/// Where messages of the queues `mails` and `password-reset` go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Embedded,
    Rabbitmq,
    Redis,
    Kafka,
}

/// A gateway, a broker, the auth service, the email worker and a mail server.
struct Office {
    kind: Kind,
    stack: Stack,
    workers: Workers,
    sink: SmtpSink,
    /// The place of the queue `mails` on its broker, and where that is.
    place: String,
    url: String,
    _cluster: Option<Cluster>,
}

/// It must live and die on one thread.
struct Cluster(std::sync::mpsc::Sender<()>, Option<std::thread::JoinHandle<()>>);

impl Cluster {
    fn start(topics: Vec<String>) -> (Self, String) {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let cluster = MockCluster::new(1).unwrap();
            for topic in topics {
                cluster.create_topic(&topic, 1, 1).unwrap();
            }
            tell.send(cluster.bootstrap_servers()).unwrap();
            let _ = ended.recv();
        });
        (Self(end, Some(thread)), told.recv().unwrap())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.0.send(());
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

impl Office {
    async fn open(kind: Kind, sink: SmtpSink) -> Self {
        let place = format!("mails-{}", gateway_config::clock::new_id());
        let resets = format!("{place}-resets");
        let (mut cluster, mut url) = (None, String::new());
        let (broker, variable) = match kind {
            Kind::Embedded => ("embedded", ""),
            Kind::Rabbitmq => ("rabbitmq", "AMQP_URL"),
            Kind::Redis => ("redis", "REDIS_URL"),
            Kind::Kafka => ("kafka", "KAFKA_BROKERS"),
        };
        match kind {
            Kind::Embedded => {}
            Kind::Rabbitmq => url = rabbitmq().await,
            Kind::Redis => url = std::env::var("GATEHOUSE_TEST_REDIS").expect("tests/with-servers starts a Redis"),
            Kind::Kafka => {
                let topics = [&place, &resets]
                    .into_iter()
                    .flat_map(|topic| ["", ".retry", ".dead"].map(|beside| format!("{topic}{beside}")));
                let (started, at) = Cluster::start(topics.collect());
                (cluster, url) = (Some(started), at);
            }
        }
        let mut environment: Vec<(&str, String)> = FAST.map(|(name, value)| (name, value.to_owned())).to_vec();
        environment.push(("SMTP_URL", sink.url()));
        environment.push(("RESET_URL", "https://shop.example.com/password-reset".to_owned()));
        // The worker must know where the service will be.
        let auth = format!("127.0.0.1:{}", e2e::postgres::free_port());
        environment.push(("AUTH_URL", format!("http://{auth}")));
        let mut arguments = vec!["--listen".to_owned(), format!("auth={auth}")];
        if kind == Kind::Embedded {
            arguments.extend(["--listen".to_owned(), "email=127.0.0.1:0".to_owned()]);
        } else {
            for place in [&place, &resets] {
                arguments.extend(["--consume".to_owned(), format!("email={broker}:{place}")]);
            }
            environment.push((variable, url.clone()));
        }
        let workers = Workers::start(&["auth", "email"], &arguments, &environment).await;

        let mut builder = Stack::builder();
        if kind != Kind::Embedded {
            builder = builder.setting(variable, &url);
        }
        let stack = builder.start().await;
        let to = |name: &str, place: &str| {
            let destination = match kind {
                Kind::Embedded => json!({"deliverTo": workers.url("email", "/messages")}),
                Kind::Rabbitmq => json!({"exchange": "", "routingKey": place}),
                Kind::Redis => json!({"stream": place}),
                Kind::Kafka => json!({"topic": place}),
            };
            let queue = queue(name).set("broker", broker).set("destination", destination);
            queue.set("confirmTimeoutMs", 20_000).set("maxAttempts", 3)
        };
        stack
            .put(&[
                to("mails", &place),
                to("password-reset", &resets),
                route("mails").pattern("/mails").to_queue("mails").public(),
                route("forgotten").pattern("/auth/password-reset").method("POST").to_queue("password-reset").public(),
            ])
            .await;
        if kind == Kind::Embedded {
            let mut secrets = Vec::new();
            for name in ["mails", "password-reset"] {
                let path = format!("/admin/routing/queues/{name}/webhook-secret");
                secrets.push(stack.admin().get(&path).await.json()["secret"].as_str().unwrap().to_owned());
            }
            workers.trust(&secrets);
        }
        Self { kind, stack, workers, sink, place, url, _cluster: cluster }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path, body.to_string()).header("Content-Type", "application/json");
        // The gateway may still be connecting.
        let sending = async || self.stack.gateway(0).send(&request).await.with_status(202);
        eventually_within(DEADLINE, "a message to be taken", sending).await
    }

    async fn mail(&self, to: &str) -> Answer {
        self.post("/mails", &json!({"to": to, "subject": "Hello", "text": "Hello there"})).await
    }

    /// Follows the answer's task to its end.
    async fn end(&self, accepted: &Answer) -> Value {
        let url = accepted.json()["statusUrl"].as_str().unwrap().to_owned();
        let look = async || {
            let task = self.stack.gateway(0).get(&url).await.json();
            if task["finishedAt"].is_string() { Ok(task) } else { Err(task.to_string()) }
        };
        eventually_within(DEADLINE, "the end of a task", look).await
    }

    async fn redis(&self) -> MultiplexedConnection {
        redis::Client::open(self.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

async fn begun(sink: &SmtpSink, count: usize) {
    let look = async || match sink.begun().len() {
        seen if seen >= count => Ok(()),
        seen => Err(format!("{seen} of {count}")),
    };
    eventually_within(DEADLINE, "mails to be begun", look).await;
}

async fn at_auth(office: &Office, path: &str, body: Value) -> Answer {
    let request = Request::post(path, body.to_string()).header("Content-Type", "application/json");
    request.send(office.workers.address("auth")).await.unwrap()
}

/// The token in the link of a mail.
fn token_in(mail: &Mail) -> String {
    let link = "https://shop.example.com/password-reset#token=";
    let text = mail.body();
    let (_, rest) = text.split_once(link).unwrap_or_else(|| panic!("no link in {text}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

async fn a_forgotten_password_is_chosen_anew(kind: Kind) {
    let office = Office::open(kind, SmtpSink::start().await).await;
    let ada = |password: &str| json!({"email": "ada@example.com", "password": password});
    at_auth(&office, "/auth/register", ada("correct horse")).await.expect_status(201);

    let accepted = office.post("/auth/password-reset", &json!({"email": "Ada@example.com"})).await;
    let known = office.end(&accepted).await;
    assert_eq!(known["status"], "succeeded", "{known}");
    let [mail] = office.sink.mails().try_into().unwrap_or_else(|mails| panic!("{mails:?}"));
    assert_eq!(mail.to, ["Ada@example.com"]);

    let choice = json!({"token": token_in(&mail), "password": "staple battery"});
    at_auth(&office, "/auth/password-reset/confirm", choice.clone()).await.expect_status(200);
    at_auth(&office, "/auth/password-reset/confirm", choice).await.expect_status(401);
    at_auth(&office, "/auth/login", ada("correct horse")).await.expect_status(401);
    at_auth(&office, "/auth/login", ada("staple battery")).await.expect_status(200);

    // Nobody learns who has an account.
    let accepted = office.post("/auth/password-reset", &json!({"email": "eve@example.com"})).await;
    let unknown = office.end(&accepted).await;
    assert_eq!((&unknown["status"], &unknown["result"]), (&known["status"], &known["result"]));
    assert_eq!(office.sink.mails().len(), 1);
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew_through_the_embedded_broker() {
    a_forgotten_password_is_chosen_anew(Kind::Embedded).await;
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew_through_rabbitmq() {
    a_forgotten_password_is_chosen_anew(Kind::Rabbitmq).await;
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew_through_redis() {
    a_forgotten_password_is_chosen_anew(Kind::Redis).await;
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_anew_through_kafka() {
    a_forgotten_password_is_chosen_anew(Kind::Kafka).await;
}

async fn what_a_killed_worker_had_begun_is_done_once(kind: Kind) {
    let gate = Gate::default();
    let mut office = Office::open(kind, SmtpSink::held_by(gate.clone()).await).await;
    let accepted = office.mail("ann@example.com").await;
    begun(&office.sink, 1).await;
    office.workers.kill().await;
    gate.open();
    office.workers.start_again().await;
    let task = office.end(&accepted).await;
    assert_eq!(task["status"], "succeeded", "{task}");
    assert_eq!((office.sink.begun().len(), office.sink.mails().len()), (2, 1));
}

#[tokio::test]
async fn what_a_killed_worker_had_begun_is_done_once_behind_the_embedded_broker() {
    what_a_killed_worker_had_begun_is_done_once(Kind::Embedded).await;
}

#[tokio::test]
async fn what_a_killed_worker_had_begun_is_done_once_behind_rabbitmq() {
    what_a_killed_worker_had_begun_is_done_once(Kind::Rabbitmq).await;
}

#[tokio::test]
async fn what_a_killed_worker_had_begun_is_done_once_behind_redis() {
    what_a_killed_worker_had_begun_is_done_once(Kind::Redis).await;
}

/// Whose box is full gets it neither now nor later.
async fn a_poison_message_is_tried_three_times(kind: Kind) -> (Office, String) {
    let office = Office::open(kind, SmtpSink::start().await).await;
    let poison = office.mail("full@example.com").await;
    let good = office.mail("ann@example.com").await;
    assert_eq!(office.end(&good).await["status"], "succeeded");
    let task = office.end(&poison).await;
    assert_eq!(task["status"], "failed", "{task}");
    assert!(task["error"].as_str().unwrap().starts_with("given up after 3 attempts"), "{task}");
    let tries = office.sink.begun().iter().filter(|to| *to == "full@example.com").count();
    assert_eq!((tries, office.sink.mails().len()), (3, 1));
    (office, task_of(&poison))
}

#[tokio::test]
async fn a_poison_message_is_a_dead_letter_of_the_embedded_broker() {
    let (office, id) = a_poison_message_is_tried_three_times(Kind::Embedded).await;
    let store = gateway_config::store::open(&office.stack.database().url()).await.unwrap();
    let probe = async || store.dead_letters("mails", 0, 9).await.unwrap().pop().ok_or("none");
    let letter = eventually_within(DEADLINE, "a dead letter", probe).await;
    assert_eq!((letter.id, letter.attempts, letter.last_error.as_deref()), (id, 3, Some("status 410")));
}

#[tokio::test]
async fn a_poison_message_goes_to_the_dead_queue_of_rabbitmq() {
    let (office, id) = a_poison_message_is_tried_three_times(Kind::Rabbitmq).await;
    let (dead, event) = consume(&office.url, &format!("{}.dead", office.place), 1).await.remove(0);
    assert_eq!(dead, id);
    let event: Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["data"]["to"], "full@example.com");
}

type Entries = Vec<(String, HashMap<String, String>)>;

#[tokio::test]
async fn a_poison_message_goes_to_the_dead_stream_of_redis_and_nothing_stays_pending() {
    let (office, id) = a_poison_message_is_tried_three_times(Kind::Redis).await;
    let mut connection = office.redis().await;
    let look = async || {
        let mut asking = redis::cmd("XRANGE");
        let dead = asking.arg(format!("{}.dead", office.place)).arg("-").arg("+");
        let entries: Entries = dead.query_async(&mut connection.clone()).await.unwrap();
        entries.into_iter().next().ok_or("none")
    };
    let (_, letter) = eventually_within(DEADLINE, "a dead letter", look).await;
    assert_eq!(letter["id"], id);
    assert!(letter["event"].contains("full@example.com") && letter["error"].contains("given up"), "{letter:?}");
    let mut asking = redis::cmd("XPENDING");
    let pending: Vec<redis::Value> = asking.arg(&office.place).arg("email").query_async(&mut connection).await.unwrap();
    assert_eq!(pending.first(), Some(&redis::Value::Int(0)));
}

#[tokio::test]
async fn a_poison_message_goes_to_the_dead_topic_of_kafka() {
    let (office, id) = a_poison_message_is_tried_three_times(Kind::Kafka).await;
    let (brokers, topic) = (office.url.clone(), format!("{}.dead", office.place));
    let read = tokio::task::spawn_blocking(move || {
        use rdkafka::Message;
        use rdkafka::consumer::{BaseConsumer, Consumer};
        use rdkafka::message::Headers;
        let mut config = rdkafka::ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", &brokers).set("group.id", "test").create().unwrap();
        let mut partitions = rdkafka::TopicPartitionList::new();
        partitions.add_partition_offset(&topic, 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&partitions).unwrap();
        let message = consumer.poll(DEADLINE).expect("a dead letter").unwrap();
        let id = message.headers().unwrap().iter().find(|header| header.key == "ce_id").unwrap().value.unwrap();
        String::from_utf8(id.to_vec()).unwrap()
    });
    assert_eq!(read.await.unwrap(), id);
}

#[tokio::test]
async fn what_cannot_be_done_ever_is_told_at_once() {
    let office = Office::open(Kind::Embedded, SmtpSink::start().await).await;
    for (to, why) in [("nobody@example.com", "refused"), ("no address", "no mail address")] {
        let task = office.end(&office.mail(to).await).await;
        assert_eq!(task["status"], "failed", "{task}");
        assert!(task["error"].as_str().unwrap().contains(why), "{task}");
    }
    assert_eq!(office.sink.begun(), ["nobody@example.com"]);
}

#[tokio::test]
async fn a_message_that_comes_again_is_one_mail() {
    let office = Office::open(Kind::Redis, SmtpSink::start().await).await;
    assert_eq!(office.kind, Kind::Redis);
    let accepted = office.mail("ann@example.com").await;
    office.end(&accepted).await;
    let mut connection = office.redis().await;
    let entries: Entries =
        redis::cmd("XRANGE").arg(&office.place).arg("-").arg("+").query_async(&mut connection).await.unwrap();
    let event = &entries[0].1["event"];
    for _ in 0..5 {
        let mut adding = redis::cmd("XADD");
        adding.arg(&office.place).arg("*").arg("id").arg(task_of(&accepted)).arg("event").arg(event);
        adding.query_async::<String>(&mut connection).await.unwrap();
    }
    // One behind them, so that it is known that they were all looked at.
    office.end(&office.mail("bob@example.com").await).await;
    let settled = async || {
        let mut asking = redis::cmd("XPENDING");
        let asking = asking.arg(&office.place).arg("email");
        let pending: Vec<redis::Value> = asking.query_async(&mut connection.clone()).await.unwrap();
        if pending.first() == Some(&redis::Value::Int(0)) { Ok(()) } else { Err(format!("{pending:?}")) }
    };
    eventually_within(DEADLINE, "all to be acknowledged", settled).await;
    let to: Vec<_> = office.sink.mails().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(to, ["ann@example.com", "bob@example.com"]);
}
