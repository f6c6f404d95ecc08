//! A broker that is killed under load and started again: how quickly clients hear of it, what the spool takes meanwhile, and how soon
//! messages go their way again.

use std::time::Duration;

use anyhow::{anyhow, bail};
use serde_json::{Value, json};

use super::gatehouse::Gatehouse;
use super::posts::{Answers, Posts};
use super::servers::{RabbitMq, Redis, Server};
use super::{KEPT, ORDERS, Plan, amqp};
use crate::compare::micros;

/// Milliseconds until a client hears, at the 99th percentile.
const HEARD: f64 = 200.0;
/// Until a message is taken again by a broker that is back.
const RECOVERED: Duration = Duration::from_secs(5);

/// Of load, of which the broker is there for a quarter.
const LASTS: Duration = Duration::from_secs(4);

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<String>> {
    let redis = Redis::start(false)?;
    let variables = [("REDIS_URL", redis.url())];
    let mut missed = of("Redis", plan, redis, &variables, |queue| json!({"stream": queue}))?;
    let rabbitmq = RabbitMq::start()?;
    let variables = [("AMQP_URL", rabbitmq.url())];
    missed.extend(of("RabbitMQ", plan, rabbitmq, &variables, amqp)?);
    Ok(missed)
}

fn of(
    name: &str,
    plan: &Plan,
    mut server: impl Server,
    variables: &[(&str, String)],
    destination: impl Fn(&str) -> Value,
) -> anyhow::Result<Vec<String>> {
    let queue = |queue, then| {
        (queue, json!({"broker": name.to_lowercase(), "destination": destination(queue), "onBrokerDown": then}))
    };
    let gatehouse = Gatehouse::start(plan, None, variables, &[queue(ORDERS, "reject"), queue(KEPT, "spool")])?;
    let [orders, kept] = [ORDERS, KEPT].map(|queue| gatehouse.posts(queue, plan.connections, LASTS));
    Gatehouse::wait_accepted(&orders)?;
    Gatehouse::wait_accepted(&kept)?;

    println!("\n{name} killed under load, {} connections:", plan.connections);
    let refused = killed_under(&orders, &mut server)?;
    print("  without a spool", &refused);
    let spooled = kept.run()?;
    print("  with a spool, the broker being away", &spooled);
    server.start_again()?;
    let recovered = Gatehouse::wait_accepted(&orders)?;
    let replayed = gatehouse.wait_replayed()?;
    println!(
        "  {:.1} s after the broker was back it took messages again; {:.1} s later the spool was empty",
        recovered.as_secs_f64(),
        replayed.as_secs_f64()
    );

    let mut missed = Vec::new();
    for (what, answers, status) in [("refusals", &refused, 503), ("spooled messages", &spooled, 202)] {
        let p99 = micros(answers.latencies(status).percentile(99)) / 1000.0;
        if p99 > HEARD {
            missed.push(format!("{name} away: a p99 of {p99:.0} ms of {what}, at most {HEARD}"));
        }
    }
    if !refused.are_all(&[202, 503]) || !spooled.are_all(&[202]) {
        missed.push(format!("{name} away: answers of {:?} and {:?}", refused.statuses(), spooled.statuses()));
    }
    if recovered > RECOVERED {
        missed.push(format!("{name} back: {recovered:.1?} until a message is taken, at most {RECOVERED:?}"));
    }
    Ok(missed)
}

fn killed_under(posts: &Posts, server: &mut impl Server) -> anyhow::Result<Answers> {
    std::thread::scope(|scope| {
        let load = scope.spawn(|| posts.run());
        std::thread::sleep(LASTS / 4);
        server.kill();
        let answers = load.join().map_err(|_| anyhow!("the load panicked"))??;
        if answers.of(503).is_empty() {
            bail!("nobody was refused");
        }
        Ok(answers)
    })
}

fn print(what: &str, answers: &Answers) {
    for (status, count) in answers.statuses() {
        let latencies = answers.latencies(status);
        let millis = |percent| micros(latencies.percentile(percent)) / 1000.0;
        let [p50, p99, worst] = [50, 99, 100].map(millis);
        println!("{what}: {count} answers of {status}, p50 {p50:.2} ms, p99 {p99:.1} ms, worst {worst:.0} ms");
    }
}
