//! Rates, round by round: the raw client and the gateway stand side by side, and what is told is the median of the ratios within the
//! rounds.

use std::time::Instant;

use anyhow::bail;

use super::Plan;
use super::gatehouse::Gatehouse;
use super::posts::Posts;
use super::raw::Running;
use crate::compare::micros;
use crate::load::Latencies;
use crate::process;
use crate::statistics::Spread;

/// What one side does.
pub(super) enum Side<'a> {
    Raw(&'a Running),
    Gateway(&'a Gatehouse, &'a Posts),
}

/// One value for each round.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Confirmed messages a second.
    rate: Vec<f64>,
    /// Microseconds of the gateway's CPU for each message.
    cpu: Vec<f64>,
    /// Of this process: of the raw client, or of the load.
    own_cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Prints a table; answers the gateway's share of the raw client's rate.
pub(super) fn beside(
    title: &str,
    plan: &Plan,
    raw: &Running,
    gatehouse: &Gatehouse,
    posts: &Posts,
) -> anyhow::Result<f64> {
    let alone = gatehouse.posts_alone(plan.connections, plan.lasts());
    let sides = [Side::Raw(raw), Side::Gateway(gatehouse, posts), Side::Gateway(gatehouse, &alone)];
    let (mut measured, mut settling) = (sides.each_ref().map(|_| Measured::default()), Measured::default());
    for round in 0..=plan.rounds {
        let mut turn: Vec<_> = sides.iter().zip(&mut measured).collect();
        // A B C, then C B A: whoever comes second would always meet the warmer machine.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (side, into) in turn {
            // The first round is for connections and allocators to settle.
            side.measure(if round == 0 { &mut settling } else { into })?;
            raw.clear()?;
        }
    }
    let [raw, gateway, alone] = &measured;
    let ratios: Vec<f64> = gateway.rate.iter().zip(&raw.rate).map(|(own, other)| own / other).collect();
    let ratio = Spread::of(&ratios);
    head(title, plan);
    raw.print("raw client");
    gateway.print("gateway");
    alone.print("HTTP alone");
    let dropped = gatehouse.metric("gatehouse_task_records_dropped_total")?;
    println!("records of tasks that were dropped: {dropped}");
    println!("of the raw client's rate: {:.2} ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high);
    Ok(ratio.median)
}

pub(super) fn head(title: &str, plan: &Plan) {
    let Plan { rounds, seconds, connections, threads, .. } = plan;
    println!("{title}: {rounds} rounds of {seconds} s, {connections} at a time, proxy workers: {threads}");
    let [rate, gateway, own] = ["confirmed/s", "gateway's CPU", "own CPU"];
    println!("{:<12} {rate:>12} {:>17} {gateway:>14} {own:>11} {:>10} {:>10}", "", "middle half", "p50", "p99");
}

impl Side<'_> {
    pub(super) fn measure(&self, into: &mut Measured) -> anyhow::Result<()> {
        let (cpu, own) = (self.gateway_cpu()?, process::cpu("self")?);
        let start = Instant::now();
        let latencies = match self {
            Self::Raw(raw) => Latencies::of(raw.publish()?),
            Self::Gateway(_, posts) => {
                let answers = posts.run()?;
                if !answers.are_all(&[202]) {
                    bail!("not everything was taken: {:?}", answers.statuses());
                }
                answers.latencies(202)
            }
        };
        let took = start.elapsed();
        let messages = u32::try_from(latencies.count().max(1))?;
        into.rate.push(f64::from(messages) / took.as_secs_f64());
        into.cpu.push(micros(self.gateway_cpu()?.saturating_sub(cpu)) / f64::from(messages));
        into.own_cpu.push(micros(process::cpu("self")?.saturating_sub(own)) / f64::from(messages));
        into.p50.push(micros(latencies.percentile(50)));
        into.p99.push(micros(latencies.percentile(99)));
        Ok(())
    }

    fn gateway_cpu(&self) -> anyhow::Result<std::time::Duration> {
        match self {
            Self::Raw(_) => Ok(std::time::Duration::ZERO),
            Self::Gateway(gatehouse, _) => gatehouse.process().cpu(),
        }
    }
}

impl Measured {
    pub(super) fn print(&self, name: &str) {
        let median = |values: &[f64]| Spread::of(values).median;
        let rate = self.rate();
        println!(
            "{name:<12} {:>12.0} {:>8.0}–{:<8.0} {:>11.1} µs {:>8.1} µs {:>7.2} ms {:>7.2} ms",
            rate.median,
            rate.low,
            rate.high,
            median(&self.cpu),
            median(&self.own_cpu),
            median(&self.p50) / 1000.0,
            median(&self.p99) / 1000.0,
        );
    }

    pub(super) fn rate(&self) -> Spread {
        Spread::of(&self.rate)
    }
}
