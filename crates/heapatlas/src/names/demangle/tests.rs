//! Expected names are by construction, from the grammar, or those of the peer, `rustc-demangle`.

use super::{DEPTH_LIMIT, OUTPUT_LIMIT, demangle};
use std::process::Command;
use std::{env, fs, process};

/// A symbol of each rule of both manglings, and its name.
const NAMES: &[(&str, &str)] = &[
    // Legacy.
    ("_ZN4core3foo17h0123456789abcdefE", "core::foo"),
    ("ZN4core3foo17h0123456789abcdefE", "core::foo"),
    ("__ZN4core3foo17h0123456789abcdefE", "core::foo"),
    ("_ZN3foo17h0123456789abcdefE.llvm.9D1C9369", "foo"),
    ("_ZN3foo17h0123456789abcdefE.llvm.9D1C9369@@16", "foo"),
    ("_ZN3foo17h0123456789abcdefE.cold", "foo.cold"),
    ("_ZN13_$LT$test$GT$3bar17h0123456789abcdefE", "<test>::bar"),
    ("_ZN8$RF$test17h0123456789abcdefE", "&test"),
    ("_ZN8$BP$test4foob17h0123456789abcdefE", "*test::foob"),
    (
        "_ZN35Bar$LT$$u5b$u32$u3b$$u20$4$u5d$$GT$17h0123456789abcdefE",
        "Bar<[u32; 4]>",
    ),
    (
        "_ZN13test$u20$test4foob17h0123456789abcdefE",
        "test test::foob",
    ),
    ("_ZN10a..b.c$C1d17h0123456789abcdefE", "a::b.c$C1d"),
    ("_ZN13$LP$a$C$b$RP$17h0123456789abcdefE", "(a,b)"),
    ("_ZN9$SP$$u7$a17h0123456789abcdefE", "@$u7$a"),
    // Paths.
    ("_RC3foo", "foo"),
    ("RC3foo", "foo"),
    ("__RC3foo", "foo"),
    ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
    (
        "_RNvNtNtCs1234_7mycrate3foo3bar3baz",
        "mycrate::foo::bar::baz",
    ),
    ("_RNvC7mycrate4__123", "mycrate::_123"),
    ("_RNvC7mycrate3_123", "mycrate::123"),
    ("_RNCNvC7mycrate4main0", "mycrate::main::{closure#0}"),
    ("_RNCNvC7mycrate4mains_0", "mycrate::main::{closure#1}"),
    (
        "_RNCNvC7mycrate4mains0_4name",
        "mycrate::main::{closure:name#2}",
    ),
    (
        "_RNSNvC7mycrate4main6vtable",
        "mycrate::main::{shim:vtable#0}",
    ),
    ("_RNZNvC7mycrate4main0", "mycrate::main::{Z#0}"),
    ("_RNvMC7mycrateNtC7mycrate3Foo3new", "<mycrate::Foo>::new"),
    ("_RNvMs_C7mycrateNtB4_3Foo3new", "<mycrate::Foo>::new"),
    (
        "_RNvXC7mycrateNtC7mycrate3FooNtC3std5Clone5clone",
        "<mycrate::Foo as std::Clone>::clone",
    ),
    (
        "_RNvYNtC7mycrate3FooNtC3std5Clone5clone",
        "<mycrate::Foo as std::Clone>::clone",
    ),
    ("_RINvC7mycrate3foolmE", "mycrate::foo::<i32, u32>"),
    (
        "_RINvC7mycrate3fooINtC3std3VeclEE",
        "mycrate::foo::<std::Vec<i32>>",
    ),
    ("_RINvC7mycrate3foolEC5other", "mycrate::foo::<i32>"),
    ("_RNvC7mycrate3foo.llvm.A5310EB9", "mycrate::foo"),
    ("_RNvC7mycrate3foo.cold.1", "mycrate::foo.cold.1"),
    ("_RNvC7mycrateu8gdel_5qa", "mycrate::gödel"),
    ("_RNvC7mycrateu9gdel_ecaA", "mycrate::punycode{gdel-ecaA}"),
    // Types.
    (
        "_RIC1fabcdefhijE",
        "f::<i8, bool, char, f64, str, f32, u8, isize, usize>",
    ),
    (
        "_RIC1flmnopstuvxyzE",
        "f::<i32, u32, i128, u128, _, i16, u16, (), ..., i64, u64, !>",
    ),
    ("_RIC1fReQeRL_eE", "f::<&str, &mut str, &str>"),
    (
        "_RIC1fPhOhSeAhj4_E",
        "f::<*const u8, *mut u8, [str], [u8; 4]>",
    ),
    ("_RIC1fTETlETlmEE", "f::<(), (i32,), (i32, u32)>"),
    (
        "_RIC1fFEuFlEmFUEzFKCEuE",
        "f::<fn(), fn(i32) -> u32, unsafe fn() -> !, extern \"C\" fn()>",
    ),
    (
        "_RIC1fFUK11rust_intrinEuE",
        "f::<unsafe extern \"rust-intrin\" fn()>",
    ),
    ("_RIC1fFG_RL0_hEuE", "f::<for<'a> fn(&'a u8)>"),
    (
        "_RIC1fFG0_RL1_hRL0_tEuE",
        "f::<for<'a, 'b> fn(&'a u8, &'b u16)>",
    ),
    (
        "_RIC1fFG_FG_RL1_hRL0_tEuEuE",
        "f::<for<'a> fn(for<'b> fn(&'a u8, &'b u16))>",
    ),
    ("_RIC1fL_E", "f::<'_>"),
    ("_RIC1fDNtC1a1TNtC1a1UEL_E", "f::<dyn a::T + a::U>"),
    ("_RIC1fDNtC1a1Tp4ItemhEL_E", "f::<dyn a::T<Item = u8>>"),
    (
        "_RIC1fDINtC1a1ThEp4Itemhp1UtEL_E",
        "f::<dyn a::T<u8, Item = u8, U = u16>>",
    ),
    (
        "_RIC1fFG_DG_INtC1a1TRL1_hRL0_hEEL0_EuE",
        "f::<for<'a> fn(dyn for<'b> a::T<&'a u8, &'b u8> + 'a)>",
    ),
    ("_RIC1fNtC1a1AB3_E", "f::<a::A, a::A>"),
    ("_RIC1fWhRh1_h2_E", "f::<u8 is 1..=2>"),
    ("_RIC1fWhORh1_h2_Rh5_h6_EE", "f::<u8 is 1..=2 | 5..=6>"),
    ("_RIC1fWPhNE", "f::<*const u8 is !null>"),
    ("_RIC1fFwThEEuE", "f::<fn(#[splat] (u8,))>"),
    ("_RIC1fWhRRh1_h2_E", "f::<u8 is {&1}..=2>"),
    // Constants.
    ("_RIC1fKj0_Kj_Khff_E", "f::<0, 0, 255>"),
    ("_RIC1fKln1_Kxn7f_KpE", "f::<-1, -127, _>"),
    ("_RIC1fKyffffffffffffffff_E", "f::<18446744073709551615>"),
    ("_RIC1fKo1ffffffffffffffff_E", "f::<0x1ffffffffffffffff>"),
    ("_RIC1fKb0_Kb1_E", "f::<false, true>"),
    (
        "_RIC1fKc61_Kc27_Kc22_Kca_Kc1f980_E",
        "f::<'a', '\\'', '\"', '\\n', '🦀'>",
    ),
    ("_RIC1fKe616263_E", "f::<{*\"abc\"}>"),
    ("_RIC1fKRe616263_KRe2227_E", "f::<\"abc\", \"\\\"'\">"),
    ("_RIC1fKRlb_KQlb_E", "f::<{&11}, {&mut 11}>"),
    ("_RIC1fKAEKAh1_h2_EE", "f::<{[]}, {[1, 2]}>"),
    ("_RIC1fKTEKTh1_EKTh1_h2_EE", "f::<{()}, {(1,)}, {(1, 2)}>"),
    ("_RIC1fKVNtC1a1AUE", "f::<{a::A}>"),
    ("_RIC1fKVINtC1a1AhEUE", "f::<{a::A::<u8>}>"),
    ("_RIC1fKVNtC1a1ATh1_h2_EE", "f::<{a::A(1, 2)}>"),
    (
        "_RIC1fKVNtC1a1AS1xh1_1yRe_EE",
        "f::<{a::A { x: 1, y: \"\" }}>",
    ),
    ("_RIC1fKh7_KB4_E", "f::<7, 7>"),
];

const NO_NAMES: &[&str] = &[
    "",
    "R",
    "_R",
    "ZN",
    "_ZN",
    "_ZNE",
    "main",
    "malloc",
    "Relocate",
    "_Z3foov",
    "_ZN3foo3barEv",
    "_ZN3foo3barE",
    "_ZN3foo17h0123456789abcdeE",
    "_ZN3foo17h0123456789abcdef",
    "_ZN3foo17h0123456789abcdefEvoid",
    "_ZN17h0123456789abcdefE",
    "_ZN99999999999999999999999foo17h0123456789abcdefE",
    "_ZN4fooö17h0123456789abcdefE",
    "_RNvC7mycrate",
    "_RNvC7mycrate3fo",
    "_RNvC7mycrate3foo$",
    "_RNvC7mycrate99999999999999999999999foo",
    "_R0NvC7mycrate3foo",
    "_RNvC7mycrate3foö",
    "_RIC1fRL0_hE",
    "_RIC1fKb2_E",
    "_RIC1fKcd800_E",
    "_RIC1fKe6_E",
    "_RIC1fKeff_E",
    "_RIC1fDNtC1a1TEE",
    "_RIC1fFwwThEEuE",
    "_RIC1fWhOEE",
    "_RNvB_1f",
    "_RNvB0_1f",
    "_RNvCszzzzzzzzzzzzzzzzzzzz_7mycrate3foo",
    "_RIC1fFGzzzzzzzzz_EuE",
];

/// What the peer prints; `None` when it gives up, before or in the middle.
fn peer(symbol: &str) -> Option<String> {
    let demangled = rustc_demangle::try_demangle(symbol).ok()?;
    let name = format!("{demangled:#}");
    let gave_up = [
        "{invalid syntax}",
        "{recursion limit reached}",
        "{size limit reached}",
    ];
    (!is_partial(&name) && !gave_up.iter().any(|text| name.contains(text))).then_some(name)
}

/// Behind such a text the peer puts a question mark for each part, and in some places shows nothing else. In a
/// literal, a quote or a letter stands before it.
fn is_partial(name: &str) -> bool {
    let is_part = |before: char| !before.is_alphanumeric() && !matches!(before, '\'' | '"');
    name.match_indices('?')
        .any(|(at, _)| name[..at].chars().next_back().is_none_or(is_part))
}

/// The peer takes any `_ZN…E` for Rust; we ask for the hash, as C++ has the same form.
fn has_hash(symbol: &str) -> bool {
    let Ok(demangled) = rustc_demangle::try_demangle(symbol) else {
        return false;
    };
    let name = format!("{demangled}");
    name.rsplit_once("::h").is_some_and(|(_, hash)| {
        let digits = hash.split('.').next().unwrap_or_default();
        digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_legacy(symbol: &str) -> bool {
    ["_ZN", "ZN", "__ZN"]
        .iter()
        .any(|prefix| symbol.starts_with(prefix))
}

/// Whether there was a name to compare.
fn compare_with_peer(symbol: &str) -> bool {
    let ours = demangle(symbol);
    let theirs = peer(symbol);
    let is_no_name_for_us = match &theirs {
        None => true,
        Some(name) => {
            name.is_empty() || name.len() > OUTPUT_LIMIT || (is_legacy(symbol) && !has_hash(symbol))
        }
    };
    if ours.is_some() || !is_no_name_for_us {
        assert_eq!(ours, theirs, "{symbol}");
    }
    ours.is_some()
}

/// The strings of a binary that begin as symbols do, from its string tables.
fn symbols_of(binary: &[u8]) -> Vec<&str> {
    let strings = binary
        .split(|&byte| byte == 0)
        .filter_map(|bytes| str::from_utf8(bytes).ok());
    let mut symbols: Vec<&str> = strings
        .filter(|text| is_legacy(text) || text.trim_start_matches('_').starts_with('R'))
        .collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols
}

/// How many symbols of a binary have names.
fn compare_binary(binary: &[u8]) -> usize {
    symbols_of(binary)
        .iter()
        .filter(|symbol| compare_with_peer(symbol))
        .count()
}

#[test]
fn names_by_construction() {
    for &(symbol, name) in NAMES {
        assert_eq!(demangle(symbol).as_deref(), Some(name), "{symbol}");
        compare_with_peer(symbol);
    }
}

#[test]
fn what_is_no_symbol_of_rust_has_no_name() {
    for symbol in NO_NAMES {
        assert_eq!(demangle(symbol), None, "{symbol}");
        compare_with_peer(symbol);
    }
}

#[test]
fn the_symbols_of_this_binary_have_the_names_of_the_peer() {
    let binary = fs::read(env::current_exe().unwrap()).unwrap();
    let named = compare_binary(&binary);
    assert!(named > 1000, "{named} symbols only");
}

/// Each kind of path, type and constant that stable Rust puts into a symbol.
const PROGRAM: &str = r#"
use std::fmt::{Debug, Display};

pub struct Größe<T>(pub T);
pub struct Borrowed<'a, T: ?Sized>(pub &'a T);
pub struct Grid<const ROWS: usize, const SIGN: i8, const FLAG: bool, const LETTER: char>;

pub trait Measured {
    const SIZE: usize;
}
pub trait Named {
    type Output;
    fn name(&self) -> usize { std::mem::size_of_val(self) }
    fn with<F: Fn(&str) -> usize>(&self, f: F) -> usize where Self: Sized { f("x") }
}
impl<T> Measured for Größe<T> {
    const SIZE: usize = { const fn three() -> usize { 3 } three() };
}
impl<T: Debug> Named for Größe<T> {
    type Output = T;
}
impl<'a, T: ?Sized> Named for Borrowed<'a, T> {
    type Output = &'a T;
    fn name(&self) -> usize {
        fn inner<T: ?Sized>() -> usize { std::mem::size_of::<&T>() }
        inner::<T>()
    }
}
impl<const R: usize, const S: i8, const F: bool, const L: char> Grid<R, S, F, L> {
    #[inline(never)]
    pub fn value(&self) -> usize { [R, S as usize, F as usize, L as usize].iter().map(|n| n + 1).sum() }
}
impl<T> Drop for Größe<T> {
    fn drop(&mut self) { show::<T>(); }
}

#[inline(never)]
pub fn show<T: ?Sized>() -> usize { std::any::type_name::<T>().len() }
#[inline(never)]
pub fn call(f: &dyn Fn(&dyn Display) -> usize) -> usize { f(&1) }

pub extern "C" fn straße(n: u32) -> u32 { n }
pub mod outer { pub mod inner { pub fn r#try() -> usize { 1 } } }

pub fn all(boxed: Box<dyn Named<Output = u8> + Send>) -> usize {
    let numbers = [
        show::<(i8, i16, i32, i64, i128, isize)>(),
        show::<(u8, u16, u32, u64, u128, usize)>(),
        show::<(f32, f64, bool, char, (), (u8,))>(),
        show::<str>(),
        show::<[[u8; 12]]>(),
        show::<*const *mut u8>(),
        show::<&'static mut &'static [String]>(),
        show::<fn()>(),
        show::<fn(u8, &str) -> !>(),
        show::<unsafe extern "C" fn(*const u8) -> u8>(),
        show::<extern "system" fn()>(),
        show::<unsafe extern "C-unwind" fn()>(),
        show::<for<'a, 'b> fn(&'a u8, &'b mut u16, fn(&'a u8) -> &'b u8) -> &'a u8>(),
        show::<for<'a> fn(Box<dyn for<'b> Fn(&'a u8, &'b u8) -> &'b u8 + 'a>)>(),
        show::<dyn Iterator<Item = Box<dyn Debug + Send + Sync>>>(),
        show::<dyn Send>(),
        show::<dyn Fn(&str) -> Vec<Option<u8>>>(),
        show::<dyn Named<Output = Größe<u8>>>(),
        show::<Borrowed<'static, dyn Debug>>(),
        Größe(1_u8).name(),
        Größe("x").with(|text| text.len()),
        Borrowed("x").name(),
        Borrowed(&[1, 2][..]).with(|text| { let f = || text.len(); f() }),
        Grid::<7, -128, true, '\''>.value(),
        Grid::<{ usize::MAX }, 127, false, '🦀'>.value(),
        call(&|shown| shown.to_string().len()),
        call(&|shown: &dyn Display| vec![shown].into_iter().map(|s| s.to_string()).collect::<String>().len()),
        outer::inner::r#try(),
        boxed.name(),
        straße(Größe::<u8>::SIZE as u32) as usize,
    ];
    let mut map = std::collections::BTreeMap::new();
    for number in numbers { map.entry(number).or_insert_with(Vec::new).push(format!("{number}")); }
    map.values().map(|texts| texts.len()).sum()
}
"#;

#[test]
fn the_symbols_of_a_v0_program_have_the_names_of_the_peer() {
    let folder = env::temp_dir().join(format!("heapatlas-demangle-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let source = folder.join("program.rs");
    let object = folder.join("program.o");
    fs::write(
        &source,
        PROGRAM.replace(
            "straße(Größe::<u8>::SIZE as u32) as usize",
            "straße(1) as usize",
        ),
    )
    .unwrap();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args([
            "--edition=2021",
            "--crate-type=lib",
            "--emit=obj",
            "-Csymbol-mangling-version=v0",
            "-g",
            "-o",
        ])
        .args([&object, &source])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let binary = fs::read(&object).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let named = compare_binary(&binary);
    assert!(named > 200, "{named} symbols only");
}

/// xorshift: the same symbols in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    fn of(&mut self, bytes: &[u8]) -> u8 {
        bytes[self.below(bytes.len())]
    }
}

fn mutate(symbol: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const BYTES: &[u8] = b"_0123456789sGLKBRQPOASTFDUVXYMNICEabcdefhijlmnopqtuvwxyz$.W";
    let at = random.below(symbol.len());
    match random.below(6) {
        0 => symbol[at] = random.of(BYTES),
        1 => symbol.insert(at, random.of(BYTES)),
        2 if symbol.len() > 1 => drop(symbol.remove(at)),
        3 => symbol.truncate(at + 1),
        4 => {
            let end = (at + 1 + random.below(8)).min(symbol.len());
            let piece = symbol[at..end].to_vec();
            symbol.splice(at..at, piece);
        }
        _ => {
            let start = random.below(other.len());
            let end = (start + 1 + random.below(12)).min(other.len());
            symbol.splice(at..at, other[start..end].iter().copied());
        }
    }
}

#[test]
fn mutated_symbols_have_the_names_of_the_peer_or_none() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut named = 0;
    for _ in 0..200_000 {
        let mut symbol = NAMES[random.below(NAMES.len())].0.as_bytes().to_vec();
        let other = NAMES[random.below(NAMES.len())].0.as_bytes();
        for _ in 0..=random.below(3) {
            mutate(&mut symbol, other, &mut random);
        }
        named += usize::from(compare_with_peer(&String::from_utf8_lossy(&symbol)));
    }
    assert!(named > 10_000, "{named} names only");
}

#[test]
fn nesting_is_bounded() {
    let nested = |count: usize| format!("_RIC1f{}hE", "S".repeat(count));
    let within = DEPTH_LIMIT as usize - 1;
    assert_eq!(demangle(&nested(within)), peer(&nested(within)));
    assert!(demangle(&nested(within)).is_some());
    for count in [within + 1, 1_000_000] {
        assert_eq!(demangle(&nested(count)), None);
    }
    for unit in [
        "B_", "Nv", "I", "M", "X", "Y", "F", "D", "T", "KR", "KA", "KVN", "RB_",
    ] {
        assert_eq!(demangle(&format!("_RIC1f{}", unit.repeat(100_000))), None);
    }
}

/// A number as v0 symbols have it: `_` is 0, `0_` is 1.
fn base_62(number: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let Some(mut rest) = number.checked_sub(1) else {
        return String::from("_");
    };
    let mut digits = String::from("_");
    loop {
        digits.insert(0, char::from(DIGITS[rest % 62]));
        rest /= 62;
        if rest == 0 {
            return digits;
        }
    }
}

/// A list of tuples, each with the one before it twice.
fn doubling_tuples(count: usize) -> String {
    let mut symbol = String::from("IC1f");
    let mut last = symbol.len();
    symbol.push_str("TE");
    for _ in 0..count {
        let reference = format!("B{}", base_62(last));
        last = symbol.len();
        symbol.push_str(&format!("T{reference}{reference}E"));
    }
    format!("_R{symbol}E")
}

#[test]
fn output_is_bounded() {
    let doubled = demangle(&doubling_tuples(2));
    assert_eq!(
        doubled.as_deref(),
        Some("f::<(), ((), ()), (((), ()), ((), ()))>")
    );
    let symbol = doubling_tuples(12);
    assert_eq!(demangle(&symbol), peer(&symbol));
    assert!(demangle(&symbol).is_some());
    assert_eq!(demangle(&doubling_tuples(40)), None);

    let v0 = |length: usize| format!("_RC{length}{}", "x".repeat(length));
    let legacy = |length: usize| format!("_ZN{length}{}17h0123456789abcdefE", "x".repeat(length));
    for symbol_of in [&v0 as &dyn Fn(usize) -> String, &legacy] {
        assert_eq!(
            demangle(&symbol_of(OUTPUT_LIMIT)),
            Some("x".repeat(OUTPUT_LIMIT))
        );
        assert_eq!(demangle(&symbol_of(OUTPUT_LIMIT + 1)), None);
        assert_eq!(demangle(&format!("{}.a", symbol_of(OUTPUT_LIMIT))), None);
    }
    // Lifetimes without end.
    assert_eq!(demangle("_RIC1fFGZZZZ_EuE"), None);
}

/// Each reference reads the path of an impl again, which shows nothing.
#[test]
fn work_is_bounded() {
    let nested = format!("{}C1a{}", "Nv".repeat(400), "1b".repeat(400));
    let long = format!("Cu{}{}", 1 << 18, "a".repeat(1 << 18));
    for (path, count) in [(nested, 100), (long, 2)] {
        let type_at = format!("B{}", base_62("IC1f".len()));
        let symbol = |count: usize| format!("_RIC1fM{path}h{}E", type_at.repeat(count));
        let length = "f::<<u8>>".len() + count * ", <u8>".len();
        assert_eq!(
            demangle(&symbol(count)).map(|name| name.len()),
            Some(length)
        );
        assert_eq!(demangle(&symbol(8000)), None);
    }
}
