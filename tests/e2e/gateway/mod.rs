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
mod own;
mod paths;
mod replies;
mod routing;
pub(crate) mod streams;
mod tokens;
mod versions;
mod ways;

use std::time::Duration;

use e2e::{Answer, Backend, Entity, Request, Stack, application, route, service};

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

/// Any path of the service `echo`, for callers with credentials.
fn closed() -> Entity {
    route("all").pattern("/{*rest}").to_service("echo")
}

/// An application that may call `echo` below `/orders/`.
fn shop() -> Entity {
    application("shop").allowed(&["echo"]).endpoint("/orders/{*rest}", &["GET", "POST"])
}

/// The answer to a request, which has this status and, if it is a refusal, this code.
async fn expect(stack: &Stack, request: &Request, status: u16, code: Option<&str>) -> Answer {
    let answer = stack.gateway(0).send(request).await;
    assert_eq!((answer.status, answer.code()), (status, code), "{request:?}: {answer}");
    answer
}
