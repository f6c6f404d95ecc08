//! From settings to queues at work, and their way out.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gateway_config::master_key::MasterKey;
use gateway_config::model::Broker as Kind;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Queues;
use super::broker::{Brokers, Deliverer, DeliverySettings, Embedded};
use super::channel::Feeds;
use super::report::Reporter;
use super::settings::word;
use super::spool::Spool;
use super::spooling::{ToBrokers, Watch};
use super::task::{Callbacks, TaskKeys, Tasks};
use super::trial::Trials;
use crate::flight::Flights;
use crate::gate::Surroundings;
use crate::identity::egress::{Egress, Reach};

/// What works for queues beside requests.
#[derive(Debug)]
pub(crate) struct Background {
    deliveries: JoinHandle<()>,
    records: JoinHandle<()>,
}

impl Queues {
    /// `local`: the traffic address as it was bound. Also starts what works beside requests.
    pub(crate) fn open(around: &Surroundings<'_>, local: SocketAddr) -> anyhow::Result<(Arc<Self>, Background)> {
        let Surroundings { settings, store, metrics, current, clock, stop, .. } = around;
        let asked = &settings.queues;
        let metrics = &metrics.queues;
        let master = MasterKey::load(&settings.common.database_url)?;
        let forbidden = [around.ops].into_iter().chain(settings.admin_listen).collect();
        let egress = Arc::new(Egress::new(forbidden));
        let (drain, accepted, ended) = (CancellationToken::new(), Arc::<Notify>::default(), Arc::<Notify>::default());

        let embedded =
            Embedded::start(store.clone(), clock.clone(), accepted.clone(), metrics.up(word(Kind::Embedded), ""));
        let ttl = Duration::from_hours(u64::from(asked.task_ttl_hours));
        let dropped = metrics.task_records_dropped.clone();
        let (tasks, records) = Tasks::open(store.clone(), clock.clone(), ttl, dropped, ended.clone(), stop);
        let tasks = Arc::new(tasks);
        let deliverer = Deliverer {
            store: store.clone(),
            egress: egress.clone(),
            clock: clock.clone(),
            current: current.clone(),
            tasks: tasks.clone(),
            master: master.clone(),
            metrics: metrics.clone(),
            settings: DeliverySettings {
                timeout: seconds(asked.delivery_timeout_seconds),
                lease: seconds(asked.delivery_lease_seconds),
            },
            accepted,
        };
        let deliveries = tokio::spawn(Arc::new(deliverer).run(drain.clone(), stop.clone()));

        let callbacks = Callbacks {
            store: store.clone(),
            egress,
            clock: clock.clone(),
            current: current.clone(),
            master: master.clone(),
            metrics: metrics.clone(),
            reach: if asked.callback_private { Reach::Any } else { Reach::Public },
            ended,
        };
        tokio::spawn(callbacks.run(stop.clone()));

        let dir = settings.common.data_dir.join("spool").join(around.node.to_string());
        let most_bytes = u64::from(asked.spool_max_mib) << 20;
        let spool =
            Spool::open(&dir, most_bytes).with_context(|| format!("could not open the spool in {}", dir.display()))?;
        let brokers = Brokers::new(asked, settings.redis_url.as_deref(), metrics.clone(), Handle::current());
        let queues = Arc::new(Self {
            keys: TaskKeys::of(&master),
            tasks,
            brokers: brokers.with_embedded(embedded),
            spool: spool.clone(),
            flights: Flights::default(),
            feeds: Feeds::default(),
            public_url: asked.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            local_url: format!("http://{}", reachable(local)),
            control: Handle::current(),
            drain,
        });
        tokio::spawn(queues.clone().keep_warm(current.clone(), stop.clone()));
        let outlet = Arc::new(ToBrokers { queues: queues.clone(), current: current.clone() });
        tokio::spawn(spool.replay(outlet, stop.clone()));
        let (status, metrics) = (around.status.clone(), metrics.clone());
        let watch = Watch { queues: queues.clone(), current: current.clone(), status, metrics };
        watch.look();
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(watch.run()).await });
        queues.tell_the_fleet(around);
        Ok((queues, Background { deliveries, records }))
    }

    /// Reports what operators want to see, and publishes what they want to try.
    fn tell_the_fleet(self: &Arc<Self>, around: &Surroundings<'_>) {
        let Surroundings { store, current, clock, node, metrics, stop, .. } = around;
        let (node, queues, metrics) = (*node, self.clone(), metrics.queues.clone());
        let (store, current, clock) = (store.clone(), current.clone(), clock.clone());
        let trials = Trials {
            node,
            queues: queues.clone(),
            current: current.clone(),
            store: store.clone(),
            clock: clock.clone(),
        };
        tokio::spawn(Arc::new(trials).run());
        tokio::spawn(Reporter { node, queues, current, store, clock, metrics }.run(stop.clone()));
    }

    /// From now on nothing new is begun: what is being delivered may end, streams of events end at once.
    pub(crate) fn start_draining(&self) {
        self.drain.cancel();
    }
}

impl Background {
    /// Waits for what is being delivered.
    pub(crate) async fn deliveries_over(&mut self, patience: Duration) {
        let _ = tokio::time::timeout(patience, &mut self.deliveries).await;
    }

    /// After the stop: what could not be delivered was given back, and records are written.
    pub(crate) async fn finished(self) {
        if !self.deliveries.is_finished() {
            let _ = self.deliveries.await;
        }
        let _ = self.records.await;
    }
}

fn reachable(local: SocketAddr) -> SocketAddr {
    if local.ip().is_unspecified() { SocketAddr::from((Ipv4Addr::LOCALHOST, local.port())) } else { local }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}
