//! CPU time of whole requests, peer beside peer: each round measures every peer once, and what is told is the median of the ratios
//! within the rounds, for a machine's mood changes from one minute to the next.

use std::time::Duration;

use crate::load::{Load, Requests};
use crate::peer::Peer;
use crate::statistics::Spread;

#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub rounds: usize,
    pub requests: usize,
    pub connections: usize,
}

/// A peer and what it is asked for.
#[derive(Debug)]
pub struct Contender {
    pub peer: Peer,
    pub requests: Requests,
}

#[derive(Debug, Default)]
struct Measured {
    /// Microseconds of CPU for each request.
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Rounds {
    /// How many requests each contender gets in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.rounds * self.requests + self.settling()
    }

    fn settling(&self) -> usize {
        self.requests / 10 + 1
    }

    /// Measures and prints a table; the ratios are to the first contender. Answers the median ratios.
    pub fn run(&self, title: &str, contenders: &[Contender]) -> anyhow::Result<Vec<f64>> {
        let mut measured: Vec<Measured> = contenders.iter().map(|_| Measured::default()).collect();
        for contender in contenders {
            // Connections to the origin, allocators and branch predictors settle before anything counts.
            self.measure(contender, self.settling(), &mut Measured::default())?;
        }
        for round in 0..self.rounds {
            let mut turn: Vec<_> = contenders.iter().zip(&mut measured).collect();
            // A B, then B A: whoever comes second would always meet the warmer machine.
            if round % 2 == 1 {
                turn.reverse();
            }
            for (contender, measured) in turn {
                self.measure(contender, self.requests, measured)?;
            }
        }
        Ok(print(title, self, contenders, &measured))
    }

    fn measure(&self, contender: &Contender, requests: usize, into: &mut Measured) -> anyhow::Result<()> {
        let load = Load {
            target: contender.peer.address,
            requests: &contender.requests,
            count: requests,
            connections: self.connections,
        };
        let process = contender.peer.process();
        let before = process.cpu()?;
        let latencies = load.run()?;
        let cpu = process.cpu()?.saturating_sub(before);
        into.cpu.push(micros(cpu) / as_float(requests));
        into.p50.push(micros(latencies.percentile(50)));
        into.p99.push(micros(latencies.percentile(99)));
        Ok(())
    }
}

fn print(title: &str, rounds: &Rounds, contenders: &[Contender], measured: &[Measured]) -> Vec<f64> {
    println!(
        "\n{title}: {} rounds of {} requests over {} connections",
        rounds.rounds, rounds.requests, rounds.connections
    );
    println!("{:<18} {:>12} {:>8} {:>17} {:>9} {:>9}", "", "CPU/request", "ratio", "middle half", "p50", "p99");
    let Some(first) = measured.first() else { return Vec::new() };
    let mut medians = Vec::new();
    for (contender, measured) in contenders.iter().zip(measured) {
        let ratios: Vec<f64> = measured.cpu.iter().zip(&first.cpu).map(|(own, other)| own / other).collect();
        let ratio = Spread::of(&ratios);
        let median = |values: &[f64]| Spread::of(values).median;
        println!(
            "{:<18} {:>9.2} µs {:>8.3} {:>8.3}–{:<8.3} {:>6.0} µs {:>6.0} µs",
            contender.peer.name,
            median(&measured.cpu),
            ratio.median,
            ratio.low,
            ratio.high,
            median(&measured.p50),
            median(&measured.p99),
        );
        medians.push(ratio.median);
    }
    medians
}

#[must_use]
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn as_float(count: usize) -> f64 {
    count as f64
}
