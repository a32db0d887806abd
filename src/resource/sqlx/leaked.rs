//! A future whose drop must not do what it would.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that is leaked if it is dropped before it is ready: what it would do then is not to be done.
pub(super) struct Leaked<F>(Option<Pin<Box<F>>>);

impl<F: Future> Leaked<F> {
    pub(super) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for Leaked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F> Drop for Leaked<F> {
    fn drop(&mut self) {
        mem::forget(self.0.take());
    }
}
