//! Phases of a request that are over at once. `async fn` in a trait object costs an allocation for each call, also where nothing
//! waits and in the defaults of Pingora's trait; there are nearly ten of them in a request. What is over needs no memory.

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::task::Poll;

use pingora::Result;

/// What `async_trait` makes of an `async fn`.
pub(crate) type Phase<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// Only a failure is carried in memory: a closure that captures nothing has no size, and a box of it is no allocation.
pub(crate) fn over<'f>(outcome: Result<()>) -> Phase<'f, Result<()>> {
    match outcome {
        Ok(()) => Box::pin(poll_fn(|_| Poll::Ready(Ok(())))),
        Err(error) => Box::pin(ready(Err(error))),
    }
}

/// Over, and the request goes on to its backend.
pub(crate) fn go_on<'f>() -> Phase<'f, Result<bool>> {
    Box::pin(poll_fn(|_| Poll::Ready(Ok(true))))
}

/// Over, and nothing can fail.
pub(crate) fn done<'f>() -> Phase<'f, ()> {
    Box::pin(poll_fn(|_| Poll::Ready(())))
}
