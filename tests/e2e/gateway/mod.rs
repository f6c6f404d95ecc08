//! The data plane, through its traffic port.

mod faults;
mod forwarding;
mod hosts;
mod identity;
mod instances;
mod operations;
mod paths;
mod replies;
mod routing;
mod versions;

use e2e::{Backend, Entity, Stack, service};

/// One gateway, a service `echo` behind it, and these routes.
async fn echoing(backend: &Backend, routes: &[Entity]) -> Stack {
    let stack = Stack::start().await;
    stack.put(&[service("echo").url(backend.url())]).await;
    stack.put(routes).await;
    stack
}
