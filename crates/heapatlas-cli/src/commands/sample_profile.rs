//! A profile for tests, put together by hand.
//!
//! ```text
//! main app.c:10 -- load app.c:20 -- malloc             3 blocks, 3072 bytes, all of them live at end
//!           :11 -- std::string (inlined) < log app.c:30  10 blocks, 640 bytes, temporary
//!           :12 -- libz.so.1+0x50                      2 blocks, 8192 bytes, live at the peak only
//! (cut off) ------ load app.c:20 -- malloc             1 block, 1024 bytes, live at end
//! ```

use heapatlas_model::{
    AllocationProfile, Amount, CodeLocation, Frame, LocationId, Mark, Module, ModuleId,
    ProfileFormat, StackFigures, StackId, StackTable, ThreadFigures, TimelinePoint,
};

/// The profile.
pub fn sample_profile() -> AllocationProfile {
    let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
    describe_process(&mut profile);
    add_places(&mut profile);
    let main = [10, 11, 12].map(|line| push(&mut profile, StackTable::EMPTY, line - 10));
    let live = |bytes, blocks| StackFigures {
        total: amount(bytes, blocks),
        peak: amount(bytes, blocks),
        live_at_end: amount(bytes, blocks),
        ..StackFigures::default()
    };
    let load = push(&mut profile, main[0], 3);
    let malloc = push(&mut profile, load, 4);
    profile.figures[malloc.index()] = live(3072, 3);
    let log = push(&mut profile, main[1], 5);
    profile.figures[log.index()] = StackFigures {
        total: amount(640, 10),
        temporary: amount(640, 10),
        lifetime_ns: 5_000,
        ..StackFigures::default()
    };
    let zlib = push(&mut profile, main[2], 6);
    profile.figures[zlib.index()] = StackFigures {
        total: amount(8192, 2),
        peak: amount(8192, 2),
        lifetime_ns: 500_000_000,
        ..StackFigures::default()
    };
    let lost_load = push(&mut profile, StackTable::CUT_OFF, 3);
    let lost_malloc = push(&mut profile, lost_load, 4);
    profile.figures[lost_malloc.index()] = live(1024, 1);
    profile
}

fn amount(bytes: u64, blocks: u64) -> Amount {
    Amount { bytes, blocks }
}

fn push(profile: &mut AllocationProfile, parent: StackId, location: u32) -> StackId {
    profile.figures.push(StackFigures::default());
    profile.stacks.push(parent, LocationId(location))
}

fn describe_process(profile: &mut AllocationProfile) {
    profile.command = ["./app", "two words"].map(str::to_owned).to_vec();
    profile.pid = 1234;
    profile.duration_ns = 2_000_000_000;
    profile.exit_status = Some(0);
    profile.total = amount(12_928, 16);
    profile.frees = 12;
    profile.peak = amount(12_288, 6);
    profile.peak_time_ns = 1_000_000_000;
    profile.live_at_end = amount(4096, 4);
    profile.temporary = amount(640, 10);
    profile.truncated_stacks = 1;
    let point = |time_ns, bytes| TimelinePoint {
        time_ns,
        most: amount(bytes, 1),
        resident_bytes: 0,
    };
    profile.timeline = vec![
        point(500_000_000, 4096),
        point(1_000_000_000, 12_288),
        point(2_000_000_000, 4096),
    ];
    profile.marks = vec![Mark {
        time_ns: 1_500_000_000,
        text: "loaded".to_owned(),
    }];
    profile.sizes = [0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 4, 0, 2]
        .map(|blocks| amount(blocks * 64, blocks))
        .to_vec();
    profile.lifetimes = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]
        .map(|blocks| amount(0, blocks))
        .to_vec();
    profile.threads = vec![
        ThreadFigures {
            os_thread_id: 1234,
            name: "app".to_owned(),
            total: amount(4736, 14),
            frees: 10,
            peak: amount(4096, 4),
            live_at_end: amount(4096, 4),
            temporary: amount(640, 10),
        },
        ThreadFigures {
            os_thread_id: 1235,
            name: "zip".to_owned(),
            total: amount(8192, 2),
            frees: 2,
            peak: amount(8192, 2),
            ..ThreadFigures::default()
        },
    ];
}

fn add_places(profile: &mut AllocationProfile) {
    let module = |path: &str, bias| Module {
        path: path.to_owned(),
        bias,
        ..Module::default()
    };
    profile.modules = vec![
        module("/opt/app/app", 0x1000),
        module("/usr/lib/libz.so.1", 0x7000),
        module("/usr/lib/libc.so.6", 0x9000),
    ];
    let frame = |function: &str, file: &str, line| Frame {
        function: function.to_owned(),
        file: file.to_owned(),
        line,
    };
    let header = "/usr/include/c++/12/bits/basic_string.h";
    let places = [
        (0x1010, 0, vec![frame("main", "app.c", 10)]),
        (0x1020, 0, vec![frame("main", "app.c", 11)]),
        (0x1030, 0, vec![frame("main", "app.c", 12)]),
        (0x1040, 0, vec![frame("load", "app.c", 20)]),
        (0x9050, 2, vec![frame("malloc", "", 0)]),
        (
            0x1060,
            0,
            vec![
                frame("std::string::string<>(char const*)", header, 90),
                frame("log", "app.c", 30),
            ],
        ),
        (0x7050, 1, Vec::new()),
    ];
    for (address, module, frames) in places {
        profile.locations.push(CodeLocation {
            address,
            module: Some(ModuleId(module)),
        });
        profile.frames.push(frames);
    }
}
