use super::*;
use crate::commands::sample_profile::sample_profile;
use heapatlas_analysis::profile::{bottom_up, sites, top_down};

/// What a part of the text of the sample is, line by line.
#[track_caller]
fn check(show: impl FnOnce(&ProfileText<'_>, &mut Vec<u8>) -> io::Result<()>, expected: &[&str]) {
    check_profile(&sample_profile(), show, expected);
}

#[track_caller]
fn check_profile(
    profile: &AllocationProfile,
    show: impl FnOnce(&ProfileText<'_>, &mut Vec<u8>) -> io::Result<()>,
    expected: &[&str],
) {
    let view = ProfileView::new(profile);
    let text = ProfileText {
        view: &view,
        paint: Paint { is_on: false },
        width: 40,
        is_unicode: true,
    };
    let mut out = Vec::new();
    show(&text, &mut out).expect("memory takes everything");
    let found = String::from_utf8(out).expect("text");
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found, expected);
}

#[test]
fn heading() {
    check(
        |text, out| text.heading(out),
        &[
            "./app 'two words'  pid 1234, 2.00 s",
            "",
            "  allocations         16  12.6 KiB in all; 12 freed",
            "  temporary           10  62.5 % of allocations: freed before the thread's next one",
            "  peak          12.0 KiB  in 6 blocks at 1.00 s",
            "  live at end    4.0 KiB  in 4 blocks",
        ],
    );
}

#[test]
fn heading_of_samples() {
    let mut profile = sample_profile();
    profile.sample_interval_bytes = 512 << 10;
    check_profile(
        &profile,
        |text, out| text.heading(out),
        &[
            "./app 'two words'  pid 1234, 2.00 s",
            "sampled every 512.0 KiB on average: all figures are estimates",
            "",
            "  allocations         16  12.6 KiB in all; 12 freed",
            "  temporary            -  unknown: samples do not tell",
            "  peak          12.0 KiB  in 6 blocks at 1.00 s",
            "  live at end    4.0 KiB  in 4 blocks",
        ],
    );
}

#[test]
fn chart_over_time() {
    check(
        |text, out| text.chart(out, 0..2_000_000_000),
        &[
            "",
            "live bytes over time",
            "12.0 KiB┤       █████████",
            "        │       █████████",
            "        │       █████████",
            "        │       █████████",
            " 6.0 KiB┤       █████████",
            "        │▆▆▆▆▆▆▆█████████▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆",
            "        │███████████████████████████████",
            "        │███████████████████████████████",
            "     0 B└───────────────────────────────",
            "                                ▲",
            "         0 s                      2.00 s",
        ],
    );
}

#[test]
fn marks() {
    check(
        |text, out| text.marks(out, 5),
        &["", "marks", "    at  text", "1.50 s  loaded"],
    );
    check(
        |text, out| text.marks(out, 0),
        &["", "marks", "at  text", "… 1 more mark (--top 0 shows all)"],
    );
}

#[test]
fn sites_by_metrics() {
    let by = |metric, limit| {
        move |text: &ProfileText<'_>, out: &mut Vec<u8>| {
            let all = sites(text.view, metric);
            text.sites(out, metric, &all.iter().collect::<Vec<_>>(), limit)
        }
    };
    check(
        by(Metric::Live, 5),
        &[
            "",
            "live at end",
            "  bytes  blocks        %  site",
            "4.0 KiB       4  100.0 %  load  app.c:20",
        ],
    );
    check(
        by(Metric::Peak, 1),
        &[
            "",
            "at the peak",
            "  bytes  blocks       %  site",
            "8.0 KiB       2  66.7 %  libz.so.1+0x50",
            "… 1 more site (--top 0 shows all)",
        ],
    );
    check(
        by(Metric::Temporary, 5),
        &[
            "",
            "temporary",
            "bytes  blocks        %  site",
            "640 B      10  100.0 %  log  app.c:30",
        ],
    );
}

#[test]
fn trees() {
    check(
        |text, out| {
            let tree = top_down(text.view, Metric::Live, 0.0);
            text.tree(out, "down", Metric::Live, &tree)
        },
        &[
            "",
            "down",
            "  bytes  blocks        %  call",
            "4.0 KiB       4  100.0 %  (all)",
            "3.0 KiB       3   75.0 %   main  app.c:10",
            "3.0 KiB       3   75.0 %    load  app.c:20",
            "3.0 KiB       3   75.0 %     malloc  (libc.so.6)",
            "1.0 KiB       1   25.0 %   (outer frames are missing)",
            "1.0 KiB       1   25.0 %    load  app.c:20",
            "1.0 KiB       1   25.0 %     malloc  (libc.so.6)",
        ],
    );
    check(
        |text, out| {
            let tree = bottom_up(text.view, Metric::Peak, 0.5);
            text.tree(out, "up", Metric::Peak, &tree)
        },
        &[
            "",
            "up",
            "   bytes  blocks        %  call",
            "12.0 KiB       6  100.0 %  (all)  … 1 smaller below",
            " 8.0 KiB       2   66.7 %   libz.so.1+0x50",
            " 8.0 KiB       2   66.7 %    main  app.c:12",
        ],
    );
}

#[test]
fn threads_and_histograms() {
    check(
        |text, out| text.threads(out),
        &[
            "",
            "threads",
            "  id  allocations  frees    bytes  at peak  live at end  temporary  name",
            "1235            2      2  8.0 KiB  8.0 KiB          0 B      0.0 %  zip",
            "1234           14     10  4.6 KiB  4.0 KiB      4.0 KiB     71.4 %  app",
        ],
    );
    check(
        |text, out| text.histograms(out),
        &[
            "",
            "blocks by size",
            "     from  blocks       %  bytes",
            "   64 B …      10  62.5 %  640 B  ██████████████████████████████",
            "  128 B …       0   0.0 %    0 B",
            "  256 B …       0   0.0 %    0 B",
            "  512 B …       0   0.0 %    0 B",
            "1.0 KiB …       4  25.0 %  256 B  ████████████",
            "2.0 KiB …       0   0.0 %    0 B",
            "4.0 KiB …       2  12.5 %  128 B  ██████",
            "",
            "freed blocks by lifetime",
            "    from  blocks        %  bytes",
            "256 ns …      10  100.0 %    0 B  ██████████████████████████████",
            "",
            "deepest stack: 3 frames",
        ],
    );
}

#[test]
fn places() {
    let check = |function: &str, file: Option<&str>, line, module: Option<&str>, expected| {
        let frame = CallFrame {
            function: function.to_owned(),
            file: file.map(str::to_owned),
            line,
            module: module.map(str::to_owned),
        };
        assert_eq!(place(&frame), expected);
    };
    check("f", Some("a.c"), Some(3), Some("/bin/app"), "f  a.c:3");
    check("f", Some("a.c"), None, None, "f  a.c");
    check("f", None, None, Some("/bin/app"), "f  (app)");
    check("app+0x10", None, None, Some("/bin/app"), "app+0x10");
    check("0x10", None, None, None, "0x10");
    check("\x1b[2J", Some("\n"), Some(1), None, r"\u{1b}[2J  \n:1");
    let long = "/home/somebody/with/a/very/long/path/to/the/sources/of/the/app/src/main.c";
    check(
        "f",
        Some(long),
        Some(9),
        None,
        "f  …/long/path/to/the/sources/of/the/app/src/main.c:9",
    );
}

#[test]
fn long_names_lose_their_type_arguments() {
    let long = "x".repeat(90);
    let cases = [
        (
            "std::vector<int>::push_back(int const&)".to_owned(),
            "std::vector<int>::push_back(int const&)",
        ),
        (
            format!("std::map<int, std::set<{long}> >::insert(int)"),
            "std::map<…>::insert(int)",
        ),
        (
            format!("<a::B<{long}> as c::D<fn() -> {long}>>::e"),
            "<a::B<…> as c::D<…>>::e",
        ),
        (format!("f::<{long}>"), "f::<…>"),
    ];
    for (name, expected) in cases {
        assert_eq!(cut(&name), expected);
    }
    assert_eq!(cut(&"é".repeat(90)).chars().count(), LONGEST_FUNCTION);
}

#[test]
fn statuses() {
    assert_eq!(status_in_words(0), "");
    assert_eq!(status_in_words(3 << 8), ", exit code 3");
    assert_eq!(status_in_words(9), ", killed by signal 9");
    assert_eq!(status_in_words(139), ", killed by signal 11");
}
