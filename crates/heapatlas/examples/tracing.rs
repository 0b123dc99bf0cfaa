//! Memory of spans and of async tasks, on tokio's runtime.
//!
//! `cargo run --release --features tracing --example tracing`

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::future::Future;

use heapatlas::tracing_layer::MemoryLayer;
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

#[global_allocator]
static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system().counting();

/// A request: its span is entered for each poll, on whatever worker that is.
fn handle(number: usize) -> impl Future<Output = usize> {
    let request = async move {
        let body = info_span!("read").in_scope(|| vec![b'x'; 1000 * number]);
        tokio::task::yield_now().await;
        // Without `tracing`, and for futures that have no span:
        heapatlas::task("compress", async { body.into_boxed_slice().len() }).await
    };
    request.instrument(info_span!("request"))
}

fn main() {
    let subscriber = tracing_subscriber::registry().with(MemoryLayer::new());
    tracing::subscriber::set_global_default(subscriber).expect("it is the first");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime starts");
    let tasks: Vec<_> = (0..100)
        .map(|number| runtime.spawn(handle(number)))
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let length = runtime.block_on(task).expect("a task ends");
        assert_eq!(length, 1000 * number);
    }
    println!("{}", heapatlas::regions());
}
