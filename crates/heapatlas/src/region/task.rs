//! Futures that are measured wherever they are polled.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::execution::Execution;
use super::open::{self, Under};

/// Measures a future: each of its polls, on whatever thread, is charged to the row `name`, and so is its end, when it
/// is dropped.
///
/// The row is below the region, task or span in which it is polled first: a spawned task is at the top. The time is
/// that of the polls, not of waiting between them. Needs neither `tracing` nor a particular runtime.
///
/// ```
/// # use std::task::{Context, Poll, Waker};
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let mut future = std::pin::pin!(future);
/// #     loop {
/// #         let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
/// #         if let Poll::Ready(value) = poll { return value; }
/// #     }
/// # }
/// async fn fetch() -> Vec<u8> { vec![0; 1000] }
///
/// let bytes = block_on(heapatlas::task("fetch", fetch())); // or `tokio::spawn(heapatlas::task(…))`
/// assert_eq!(bytes.len(), 1000);
/// assert_eq!(heapatlas::regions().row(&["fetch"]).unwrap().count, 1);
/// ```
pub fn task<F>(name: impl Into<Cow<'static, str>>, future: F) -> Task<F> {
    Task {
        name: name.into(),
        execution: None,
        future: ManuallyDrop::new(future),
    }
}

/// What [`task`] gives.
#[must_use = "futures do nothing unless polled"]
pub struct Task<F> {
    name: Cow<'static, str>,
    /// From the first poll on.
    execution: Option<Arc<Execution>>,
    /// Dropped inside its own region. It is pinned when `self` is.
    future: ManuallyDrop<F>,
}

impl<F: Future> Future for Task<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is not moved out of `task`, neither here nor in `drop`; the other fields are not pinned.
        let task = unsafe { self.get_unchecked_mut() };
        if task.execution.is_none() {
            task.execution = open::begin(&task.name, &Under::Innermost, None);
        }
        let _entered = Entered::new(task.execution.as_ref());
        // SAFETY: it is pinned since `self` is, and stays where it is until it is dropped there.
        let future = unsafe { Pin::new_unchecked(&mut *task.future) };
        future.poll(context)
    }
}

impl<F> Drop for Task<F> {
    fn drop(&mut self) {
        // In this order, so that the end is counted after the last charge, also if the future panics.
        let finished = Finished(self.execution.take());
        let _entered = Entered::new(finished.0.as_ref());
        // SAFETY: not used any more, and dropped once: here.
        unsafe { ManuallyDrop::drop(&mut self.future) };
    }
}

impl<F> fmt::Debug for Task<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Task")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Inside the task's region, unless heapatlas itself is at work on this thread.
struct Entered<'a>(Option<&'a Arc<Execution>>);

impl<'a> Entered<'a> {
    fn new(execution: Option<&'a Arc<Execution>>) -> Self {
        Self(execution.filter(|execution| open::enter(Arc::clone(execution))))
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.into_iter().map(Arc::as_ptr).for_each(open::leave);
    }
}

struct Finished(Option<Arc<Execution>>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(open::finish);
    }
}
