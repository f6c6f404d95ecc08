//! HTTP/2 and gRPC on the plain traffic port: the same rules as for HTTP/1, and what only HTTP/2 has.

mod connections;
mod forwarding;
mod grpc;
mod heads;
mod own;
mod policies;
mod streams;

use std::time::Duration;

use e2e::{Backend, Entity, Http2, Stack, route, service};

/// Long enough for a busy machine to do what it is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// A gateway with settings of its own, and one service for everything, open to all.
async fn open_to(service: Entity, settings: &[(&str, &str)]) -> Stack {
    let builder = settings.iter().fold(Stack::builder(), |builder, (name, value)| builder.setting(name, value));
    let stack = builder.start().await;
    let name = service.name().to_owned();
    stack.put(&[service, route("all").pattern("/{*rest}").to_service(&name).public()]).await;
    stack
}

/// The same, for a backend of HTTP/1.
async fn open(backend: &Backend) -> Stack {
    open_to(service("echo").url(backend.url()), &[]).await
}

async fn http2(stack: &Stack) -> Http2 {
    Http2::open(stack.gateway(0).address()).await
}
