//! Traces: what is enqueued in a span, and what is done about it later, belong together.

use std::sync::OnceLock;

/// Asks for the trace of the present span.
type Propagator = Box<dyn Fn() -> Option<String> + Send + Sync>;

static PROPAGATOR: OnceLock<Propagator> = OnceLock::new();

/// Has all tasks that this process enqueues from now on carry a trace: `present` is asked at each
/// enqueueing, on the thread and in the span of the caller. It returns what names the present span, such as the
/// `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/), or `None` outside any trace.
///
/// The consumer shows it as the field `trace` of the span in which the task runs, and as
/// `handler::Attempt::trace`; a hook on
/// `consumer::Event::Executing` is called inside that span and can make the trace its
/// parent.
///
/// Like a subscriber, it is set once for the whole process. Returns whether it was: if another one is there, that
/// stays.
pub fn carry_trace(present: impl Fn() -> Option<String> + Send + Sync + 'static) -> bool {
    PROPAGATOR.set(Box::new(present)).is_ok()
}

/// Returns the trace of the present span, as far as somebody can tell.
pub(super) fn present() -> Option<String> {
    PROPAGATOR.get().and_then(|present| present())
}
