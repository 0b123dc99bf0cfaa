//! A leak in code that talks to C.
//!
//! `cargo run --example ffi_leak` fails: its report has type, size, and stack. `cargo run --example ffi_leak -- --free` passes.
//! In a release build both pass, and `adaptive_calloc` is `calloc`.

use std::ptr::NonNull;

use heapatlas::{LeakTracker, adaptive_calloc, adaptive_free};

/// What a C library wants to be given.
#[repr(C)]
struct Packet {
    length: u32,
    bytes: [u8; 60],
}

fn main() {
    LeakTracker::enable_in_debug();

    let packet = make_packet(b"hello");
    send(packet);
    if std::env::args().any(|argument| argument == "--free") {
        // SAFETY: the packet was sent, and nobody uses it any more.
        unsafe { adaptive_free(packet.as_ptr()) };
    }

    LeakTracker::verify_no_leaks_in_debug();
}

/// Whoever gets the packet has to free it.
fn make_packet(content: &[u8]) -> NonNull<Packet> {
    let mut packet = adaptive_calloc::<Packet>(1).expect("memory for a packet");
    // SAFETY: the packet is ours, and all its bytes are zero.
    let new = unsafe { packet.as_mut() };
    new.length = content.len() as u32;
    new.bytes[..content.len()].copy_from_slice(content);
    packet
}

/// Stands for the C function.
fn send(packet: NonNull<Packet>) {
    // SAFETY: the caller's packet, which is complete.
    let packet = unsafe { packet.as_ref() };
    assert!(packet.length <= 60, "too long to be sent");
}
