//! Memory and time of `tracing` spans (feature `tracing`).
//!
//! ```no_run
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! #[global_allocator]
//! static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();
//!
//! let subscriber = tracing_subscriber::registry().with(heapatlas::tracing_layer::MemoryLayer::new());
//! tracing::subscriber::set_global_default(subscriber).expect("it is the first");
//! // … the program …
//! println!("{}", heapatlas::regions());
//! ```
//!
//! Each span is a row of [`regions`](crate::regions), below the one it is nested in. While a span is entered (a future
//! that is instrumented is entered for each of its polls, on whatever thread that is), time and memory are its own,
//! unless a span or region inside it is entered: then they are of that one, and part of the outer one's total. What a
//! span has on another thread than its parent is part of the parent's total as well.

mod names;

use std::sync::Arc;

use heapatlas_record::live_table::LiveTable;
use tracing_core::Subscriber;
use tracing_core::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::guard;
use crate::region::execution::Execution;
use crate::region::open::{self, Under};

/// Charges memory and busy time to spans, for a subscriber made of layers over `tracing-subscriber`'s registry.
///
/// Filter it as any other layer (`.with_filter(…)`): a span costs about as much as a
/// [`Region`](crate::Region) each time it is entered. Spans that tokio makes for its tasks (with its feature `tracing`
/// and `--cfg tokio_unstable`) go by the name of the task, or by the line that spawned it;
/// [`task`](crate::task) does that on any build.
///
/// # Limits
/// A span that was open when the layer came is not measured. Rows are bounded as those of
/// [`Region::start`](crate::Region::start).
#[derive(Default)]
pub struct MemoryLayer {
    /// Spans that have begun and not closed: id -> [`SpanPointer`]. Not in the registry's extensions: what a span has
    /// there is freed by the registry, outside the guard, and would count as the program's.
    spans: LiveTable<SpanPointer>,
}

/// From [`Arc::into_raw`]; the table owns one count.
#[derive(Clone, Copy)]
struct SpanPointer(*const Execution);

// SAFETY: it stands for an `Arc` of what may be sent and shared.
unsafe impl Send for SpanPointer {}

impl MemoryLayer {
    /// A layer that has seen no span.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            spans: LiveTable::new(),
        }
    }

    fn begin(&self, id: &Id, execution: Arc<Execution>) {
        let pointer = SpanPointer(Arc::into_raw(execution));
        let unowned = match self.spans.insert(key(id), pointer) {
            Ok(before) => before,
            // No memory: the span is not measured.
            Err(_) => Some(pointer),
        };
        unowned.into_iter().for_each(free);
    }

    #[inline]
    fn get(&self, id: &Id) -> Option<Arc<Execution>> {
        let mut found = None;
        self.spans.update(key(id), |pointer| {
            // SAFETY: the table owns a count, and nobody takes it out of the table meanwhile.
            unsafe { Arc::increment_strong_count(pointer.0) };
            found = Some(pointer.0);
        });
        // SAFETY: the count that was just added.
        found.map(|pointer| unsafe { Arc::from_raw(pointer) })
    }

    fn close(&self, id: &Id) {
        if let Some(pointer) = self.spans.remove(key(id)) {
            // SAFETY: the count that the table owned.
            open::finish(unsafe { Arc::from_raw(pointer.0) });
        }
    }
}

impl<S> Layer<S> for MemoryLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| Some(span.parent()?.id()));
        let parent = parent.and_then(|parent| self.get(&parent));
        let under = match &parent {
            _ if attributes.is_contextual() => Under::Innermost,
            Some(parent) => Under::Execution(parent),
            None => Under::Nothing,
        };
        names::with_name(attributes, |name| {
            if let Some(execution) = open::begin(name, &under, parent.clone()) {
                self.begin(id, execution);
            }
        });
        parent.into_iter().for_each(put_back);
    }

    #[inline]
    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        if let Some(execution) = self.get(id) {
            open::enter(execution);
        }
    }

    #[inline]
    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        if let Some(pointer) = self.spans.get(key(id)) {
            open::leave(pointer.0);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.close(&id);
    }
}

impl Drop for MemoryLayer {
    fn drop(&mut self) {
        self.spans.for_each(|_, pointer| free(*pointer));
    }
}

impl std::fmt::Debug for MemoryLayer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spans = self.spans.len();
        formatter
            .debug_struct("MemoryLayer")
            .field("spans", &spans)
            .finish()
    }
}

/// Ids are not zero and differ in their lower bits; the table takes multiples of eight.
#[inline]
fn key(id: &Id) -> u64 {
    id.into_u64().rotate_left(4)
}

/// The last count may be ours, if the span was closed meanwhile; what was allocated under the guard is freed under it.
#[inline]
fn put_back(execution: Arc<Execution>) {
    let _guard = guard::enter();
    drop(execution);
}

fn free(pointer: SpanPointer) {
    // SAFETY: the count that the table owned.
    put_back(unsafe { Arc::from_raw(pointer.0) });
}
