//! How much may wait for confirms at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PublishError;

const MOST_MESSAGES: usize = 8192;
const MOST_KIB: u32 = 64 * 1024;

/// Bounds the messages of one connection that are sent and not yet confirmed, by number and by size.
#[derive(Clone, Debug)]
pub(super) struct Window {
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

/// Room in the window, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    _message: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

impl Window {
    pub(super) fn new() -> Self {
        Self::of(MOST_MESSAGES, MOST_KIB)
    }

    pub(super) fn of(messages: usize, kib: u32) -> Self {
        Self { messages: Arc::new(Semaphore::new(messages)), kib: Arc::new(Semaphore::new(kib as usize)) }
    }

    /// Never waits: whoever must wait is better told.
    pub(super) fn admit(&self, bytes: usize) -> Result<Pass, PublishError> {
        let full = |_| PublishError::Overloaded("too many messages wait for its confirms".to_owned());
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(MOST_KIB);
        Ok(Pass {
            _message: self.messages.clone().try_acquire_owned().map_err(full)?,
            _kib: self.kib.clone().try_acquire_many_owned(kib).map_err(full)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_bounded_by_number_and_by_size_and_opens_again() {
        let few = Window::of(2, 1000);
        let passes = (few.admit(1).unwrap(), few.admit(1).unwrap());
        assert!(matches!(few.admit(1), Err(PublishError::Overloaded(_))));
        drop(passes);
        assert!(few.admit(1).is_ok());
        let small = Window::of(1000, 3);
        let pass = small.admit(2048).unwrap();
        assert!(small.admit(1).is_err());
        drop(pass);
        assert!(small.admit(1).is_ok());
    }
}
