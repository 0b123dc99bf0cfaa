//! The program that `demo` records: a small server with two leaks, one peak and one churn.
//!
//! Nothing here is inlined, so that each has a function and a line of its own.

#![allow(
    clippy::print_stdout,
    clippy::vec_box,
    reason = "it is a program of its own, and each box is a block to be found"
)]

use std::hint::black_box;
use std::io::{self, Write};

/// Requests that the server handles.
const REQUESTS: usize = 50_000;
/// One request in so many logs somebody in.
const REQUESTS_PER_LOGIN: usize = 10;
/// One request in so many subscribes to events.
const REQUESTS_PER_SUBSCRIPTION: usize = 25;
/// Rows that the report reads, all at once.
const REPORT_ROWS: usize = 4_000;
/// Bytes of such a row.
const REPORT_ROW_BYTES: usize = 8 << 10;

/// Handles requests, writes a report, and ends with everything it holds still allocated.
pub fn run() {
    let mut server = Server::default();
    for request in 0..REQUESTS {
        server.handle(request);
    }
    let rows = server.write_report();
    let logged = server.logged_bytes;
    // Nobody may be listening.
    let _ = writeln!(
        io::stdout(),
        "handled {REQUESTS} requests, reported {rows} rows, logged {logged} bytes"
    );
    std::mem::forget(server);
}

#[derive(Default)]
struct Server {
    #[expect(
        clippy::vec_box,
        reason = "each leaked session is to be a block of its own"
    )]
    sessions: Vec<Box<Session>>,
    listeners: Vec<Box<dyn Fn(usize) -> usize>>,
    logged_bytes: usize,
}

/// What the server knows of somebody who has logged in.
struct Session {
    token: [u8; 900],
    user: usize,
}

impl Server {
    #[inline(never)]
    fn handle(&mut self, request: usize) {
        if request.is_multiple_of(REQUESTS_PER_LOGIN) {
            self.log_in(request);
        }
        if request.is_multiple_of(REQUESTS_PER_SUBSCRIPTION) {
            self.subscribe(request);
        }
        self.logged_bytes += log_line(request);
    }

    /// Leak: nobody ever removes a session.
    #[inline(never)]
    fn log_in(&mut self, user: usize) {
        let token = [user as u8; 900];
        let session = Box::new(Session { token, user });
        self.sessions.push(session);
    }

    /// Leak: nobody ever unsubscribes.
    #[inline(never)]
    fn subscribe(&mut self, request: usize) {
        let settings = [request; 60];
        let listener = Box::new(move |event: usize| settings[event % settings.len()]);
        self.listeners.push(listener);
    }

    /// Peak: all rows are read before the first one is written.
    #[inline(never)]
    fn write_report(&self) -> usize {
        let mut rows = Vec::with_capacity(REPORT_ROWS);
        for row in 0..REPORT_ROWS {
            rows.push(self.read_row(row));
        }
        rows.iter().filter(|row| !row.is_empty()).count()
    }

    #[inline(never)]
    fn read_row(&self, row: usize) -> Vec<u8> {
        let session = &self.sessions[row % self.sessions.len()];
        let listener = &self.listeners[row % self.listeners.len()];
        let fill = session.token[row % session.token.len()] ^ listener(session.user) as u8;
        black_box(vec![fill; REPORT_ROW_BYTES])
    }
}

/// Churn: a line is made, measured and thrown away for each request.
#[inline(never)]
fn log_line(request: usize) -> usize {
    let mut line = String::with_capacity(120);
    line.push_str("GET /items/");
    line.push_str(if request.is_multiple_of(2) {
        "even"
    } else {
        "odd"
    });
    black_box(&line).len()
}
