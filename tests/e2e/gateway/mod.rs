//! The data plane, through its traffic port.

mod access;
mod connections;
mod edge;
mod faults;
mod forwarding;
mod hosts;
mod identity;
mod instances;
mod keys;
mod limits;
mod openid;
mod operations;
mod paths;
mod replies;
mod routing;
mod streams;
mod versions;

use std::time::Duration;

use e2e::{Backend, Entity, Stack, service};

/// Long enough for a busy machine to do what it is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// One gateway, a service `echo` behind it, and these routes.
async fn echoing(backend: &Backend, routes: &[Entity]) -> Stack {
    echoing_with(backend, routes, &[]).await
}

/// The same with settings of the gateway's own.
async fn echoing_with(backend: &Backend, routes: &[Entity], settings: &[(&str, &str)]) -> Stack {
    let builder = settings.iter().fold(Stack::builder(), |builder, (name, value)| builder.setting(name, value));
    let stack = builder.start().await;
    stack.put(&[service("echo").url(backend.url())]).await;
    stack.put(routes).await;
    stack
}
