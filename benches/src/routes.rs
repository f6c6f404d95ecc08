//! The CPU of a whole request at several sizes of configuration, the requests spread over all its routes.

use std::net::SocketAddr;

use crate::compare::{Contender, Rounds};
use crate::fleet;
use crate::load::Requests;
use crate::peer::Peer;
use crate::stack::Stack;

pub fn run(rounds: &Rounds, sizes: &[usize], origin: SocketAddr) -> anyhow::Result<Vec<f64>> {
    let mut contenders = Vec::new();
    for routes in sizes {
        // One service: with many the pool of connections to backends would be measured, not the routes.
        let stack = Stack::start(None, origin, *routes, 1)?;
        let peer = Peer::of_stack(format!("{routes} routes"), stack);
        // A prime step: neighbours in the configuration are not neighbours in time.
        let paths: Vec<String> = (0..*routes).map(|number| fleet::path(number * 7919 % routes)).collect();
        let requests = Requests::to_paths(peer.address, paths.iter().map(String::as_str));
        contenders.push(Contender { peer, requests });
    }
    rounds.run("Gatehouse by the size of its configuration, 1 KiB", &contenders)
}
