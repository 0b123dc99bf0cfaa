//! What the encoder wrote the decoder reads, in whatever order and however it is cut into segments.

use heapatlas_trace::{Decoder, Encoder, Event, MAX_EVENT_BYTES, MAX_MARK_BYTES, Malformed};
use proptest::prelude::*;

/// Numbers of all lengths, the short ones as often as the long ones.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift)
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![8 => number().prop_map(|n| n & !7), 1 => number()]
}

fn stack() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0_u32..32).prop_map(|(value, shift)| value >> shift)
}

fn text() -> impl Strategy<Value = &'static [u8]> {
    (0..=MAX_MARK_BYTES).prop_map(|length| &[b'm'; MAX_MARK_BYTES][..length])
}

/// An event; its tick is the ticks since the one before, until it is written.
fn event() -> impl Strategy<Value = Event<'static>> {
    let block = || (stack(), number(), address(), number());
    prop_oneof![
        (stack(), number()).prop_map(|(parent, address)| Event::Node { parent, address }),
        block().prop_map(|(stack, size_bytes, address, tick)| Event::Allocation {
            stack,
            size_bytes,
            address,
            tick
        }),
        (address(), number()).prop_map(|(address, tick)| Event::Free { address, tick }),
        (address(), number())
            .prop_map(|(address, tick)| Event::ReallocationBegins { address, tick }),
        block().prop_map(
            |(stack, size_bytes, address, tick)| Event::ReallocationEnds {
                stack,
                size_bytes,
                address,
                tick
            }
        ),
        number().prop_map(|tick| Event::ReallocationFailed { tick }),
        (number(), text()).prop_map(|(tick, text)| Event::Mark { tick, text }),
        prop_oneof![
            number().prop_map(|tick| Event::ThreadEnds { tick }),
            (number(), number()).prop_map(|(interval_bytes, tick)| Event::SampleInterval {
                interval_bytes,
                tick,
            }),
        ],
        block().prop_map(|(stack, size_bytes, address, tick)| Event::Mapping {
            stack,
            size_bytes,
            address,
            tick
        }),
        (number(), number(), number()).prop_map(|(size_bytes, address, tick)| Event::Unmapping {
            size_bytes,
            address,
            tick
        }),
    ]
}

/// Writes an event whose tick is ticks since `now`, and returns it with the tick that it has.
fn write<'a>(
    encoder: &mut Encoder,
    out: &mut [u8; MAX_EVENT_BYTES],
    now: &mut u64,
    mut event: Event<'a>,
) -> (Event<'a>, usize) {
    let e = encoder;
    let mut later = |tick: &mut u64| {
        *now = now.saturating_add(*tick);
        *tick = *now;
        *now
    };
    let length = match &mut event {
        Event::Node { parent, address } => e.node(out, *parent, *address),
        Event::Allocation {
            stack,
            size_bytes,
            address,
            tick,
        } => e.allocation(out, *stack, *size_bytes, *address, later(tick)),
        Event::Free { address, tick } => e.free(out, *address, later(tick)),
        Event::ReallocationBegins { address, tick } => {
            e.reallocation_begins(out, *address, later(tick))
        }
        Event::ReallocationEnds {
            stack,
            size_bytes,
            address,
            tick,
        } => e.reallocation_ends(out, *stack, *size_bytes, *address, later(tick)),
        Event::ReallocationFailed { tick } => e.reallocation_failed(out, later(tick)),
        Event::Mark { tick, text } => e.mark(out, later(tick), text),
        Event::ThreadEnds { tick } => e.thread_ends(out, later(tick)),
        Event::SampleInterval {
            interval_bytes,
            tick,
        } => e.sample_interval(out, *interval_bytes, later(tick)),
        Event::Mapping {
            stack,
            size_bytes,
            address,
            tick,
        } => e.mapping(out, *stack, *size_bytes, *address, later(tick)),
        Event::Unmapping {
            size_bytes,
            address,
            tick,
        } => e.unmapping(out, *size_bytes, *address, later(tick)),
        other => panic!("{other:?} is no event that is written"),
    };
    (event, length)
}

/// Writes events and reads them; `restart_at` are the events before which differences start anew.
fn check(events: &[Event<'_>], base_tick: u64, restart_at: &[usize]) {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut now = base_tick;
    encoder.start(now);
    decoder.start(now);
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if restart_at.contains(&index) {
            read(&mut decoder, &mut bytes, &mut expected);
            encoder.start(now);
            decoder.start(now);
        }
        let mut out = [0xAA; MAX_EVENT_BYTES];
        let (written, length) = write(&mut encoder, &mut out, &mut now, *event);
        bytes.extend_from_slice(&out[..length]);
        expected.push(written);
    }
    read(&mut decoder, &mut bytes, &mut expected);
}

fn read(decoder: &mut Decoder, bytes: &mut Vec<u8>, expected: &mut Vec<Event<'_>>) {
    let mut rest = &bytes[..];
    for event in expected.drain(..) {
        assert_eq!(decoder.next(&mut rest), Ok(Some(event)));
    }
    assert_eq!(decoder.next(&mut rest), Ok(None));
    bytes.clear();
}

proptest! {
    #[test]
    fn events(
        events in prop::collection::vec(event(), 0..60),
        base_tick in number(),
        restart_at in prop::collection::vec(0_usize..60, 0..3),
    ) {
        check(&events, base_tick, &restart_at);
    }

    #[test]
    fn a_cut_event_is_an_error_and_stays(event in event(), cut in 1_usize..MAX_EVENT_BYTES) {
        let mut out = [0; MAX_EVENT_BYTES];
        let (_, length) = write(&mut Encoder::new(), &mut out, &mut 0, event);
        if cut < length {
            let mut rest = &out[..cut];
            prop_assert_eq!(Decoder::new().next(&mut rest), Err(Malformed::Cut));
            prop_assert_eq!(rest.len(), cut);
        }
    }

    #[test]
    fn any_bytes_come_to_an_end(bytes: Vec<u8>) {
        let (mut decoder, mut rest) = (Decoder::new(), &bytes[..]);
        for _ in 0..=bytes.len() {
            if !matches!(decoder.next(&mut rest), Ok(Some(_))) {
                return Ok(());
            }
        }
        prop_assert!(false, "more events than bytes");
    }
}
