//! What was written to a payload is read from it; what is cut is an error.

use heapatlas_trace::Malformed;
use heapatlas_trace::payload::{
    self, End, EventsHeader, ImageInfo, IndexEntry, MapFile, Mode, ModuleInfo, ProcessInfo, Put,
    Segment, ThreadInfo,
};

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Put for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Writes, reads, and reads all that is shorter, which must be an error.
#[track_caller]
fn check<T>(write: impl FnOnce(&mut Bytes), read: impl Fn(&[u8]) -> Result<T, Malformed>) -> T {
    let mut bytes = Bytes::default();
    write(&mut bytes);
    for cut in 0..bytes.0.len() {
        assert_eq!(
            read(&bytes.0[..cut]).err(),
            Some(Malformed::Cut),
            "cut at {cut}"
        );
    }
    read(&bytes.0).expect("it is whole")
}

#[test]
fn images() {
    for forked_from in [None, Some(0), Some(u32::MAX)] {
        let image = ImageInfo {
            forked_from,
            parent_pid: 300,
            start_tick: 1 << 50,
            namespace: b"pid:[4026531836]",
            executable: b"/bin/ls",
            arguments: b"ls\0-l\0",
        };
        check(
            |out| image.write(out),
            |bytes| {
                assert_eq!(ImageInfo::read(bytes)?, image);
                Ok(())
            },
        );
    }
}

#[test]
fn processes() {
    let process = ProcessInfo {
        pid: 77,
        parent_pid: 1,
        start_unix_ns: 1_700_000_000_000_000_000,
        ticks_per_second: 3_000_000_000,
        start_tick: 1 << 50,
        page_bytes: 4096,
        pointer_bytes: 8,
        mode: Mode::Sampled,
        sample_interval_bytes: 512 << 10,
        executable: b"/bin/ls",
        arguments: ["ls", "", "-l"],
        recorder_version: b"0.1.0",
    };
    check(
        |out| process.write(out),
        |bytes| {
            let read = ProcessInfo::read(bytes)?;
            assert_eq!(read.arguments.collect::<Vec<_>>(), [&b"ls"[..], b"", b"-l"]);
            let arguments = process.arguments;
            assert_eq!(with_arguments(read, arguments), process);
            Ok(())
        },
    );
}

fn with_arguments<'a, A, B>(process: ProcessInfo<'a, A>, arguments: B) -> ProcessInfo<'a, B> {
    ProcessInfo {
        pid: process.pid,
        parent_pid: process.parent_pid,
        start_unix_ns: process.start_unix_ns,
        ticks_per_second: process.ticks_per_second,
        start_tick: process.start_tick,
        page_bytes: process.page_bytes,
        pointer_bytes: process.pointer_bytes,
        mode: process.mode,
        sample_interval_bytes: process.sample_interval_bytes,
        executable: process.executable,
        arguments,
        recorder_version: process.recorder_version,
    }
}

#[test]
fn modules() {
    let libc = ModuleInfo {
        path: b"/lib/libc.so.6",
        build_id: &[1, 2],
        bias: 1 << 46,
        start: 1 << 46,
        end: 1 << 47,
    };
    let expected = [
        libc,
        ModuleInfo::default(),
        ModuleInfo {
            bias: u64::MAX,
            ..libc
        },
    ];
    check(
        |out| payload::write_modules(out, 300, &expected),
        |bytes| {
            let (tick, modules) = payload::read_modules(bytes)?;
            let modules = modules.collect::<Result<Vec<_>, _>>()?;
            assert_eq!((tick, &modules[..]), (300, &expected[..]));
            Ok(())
        },
    );
}

#[test]
fn events() {
    let header = EventsHeader {
        tick: 9,
        elapsed_ns: 1000,
        resident_bytes: 1 << 30,
    };
    let segments = [
        Segment {
            thread: 0,
            base_tick: Some(0),
            bytes: b"abc",
            is_exclusive: false,
        },
        Segment {
            thread: 300,
            base_tick: None,
            bytes: b"",
            is_exclusive: false,
        },
    ];
    let mut bytes = Bytes::default();
    header.write(&mut bytes);
    let header_bytes = bytes.0.len();
    segments
        .iter()
        .for_each(|segment| segment.write(&mut bytes));
    let (read_header, read_segments) = payload::read_events(&bytes.0).unwrap();
    assert_eq!(read_header, header);
    assert_eq!(
        read_segments.collect::<Result<Vec<_>, _>>().unwrap(),
        segments
    );

    let cut = payload::read_events(&bytes.0[..header_bytes + 2])
        .unwrap()
        .1;
    assert_eq!(cut.collect::<Vec<_>>(), [Err(Malformed::Cut)]);
}

#[test]
fn threads_maps_and_ends() {
    let thread = ThreadInfo {
        thread: 5,
        os_thread_id: 4242,
        name: b"worker",
    };
    check(
        |out| thread.write(out),
        |bytes| {
            assert_eq!(ThreadInfo::read(bytes)?, thread);
            Ok(())
        },
    );
    let map = MapFile {
        path: b"/tmp/perf-1.map",
        contents: b"1000 20 f\n",
    };
    check(
        |out| map.write(out),
        |bytes| {
            assert_eq!(MapFile::read(bytes)?, map);
            Ok(())
        },
    );
    let exited = End {
        status: Some(256),
        elapsed_ns: 1 << 40,
        captures: 3,
        differences: 1,
        ..End::default()
    };
    for end in [End::default(), exited] {
        check(
            |out| end.write(out),
            |bytes| {
                assert_eq!(End::read(bytes)?, end);
                Ok(())
            },
        );
    }
}

#[test]
fn indexes() {
    let entries = [
        IndexEntry {
            offset: 16,
            kind: 1,
            raw_bytes: 90,
        },
        IndexEntry {
            offset: 500,
            kind: 3,
            raw_bytes: 1 << 22,
        },
    ];
    check(
        |out| payload::write_index(out, &entries),
        |bytes| {
            let read = payload::read_index(bytes)?.collect::<Result<Vec<_>, _>>()?;
            assert_eq!(read, entries);
            Ok(())
        },
    );
}

#[test]
fn a_count_is_only_a_word() {
    // So many modules, strings and index entries, and none of them there.
    let many = [0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    assert_eq!(payload::read_modules(&many).unwrap().1.count(), 1);
    assert_eq!(payload::read_index(&many[1..]).unwrap().count(), 1);
}

#[test]
fn an_unknown_mode_is_refused() {
    let bytes = [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0];
    assert_eq!(
        ProcessInfo::read(&bytes).unwrap_err(),
        Malformed::UnknownMode
    );
}
