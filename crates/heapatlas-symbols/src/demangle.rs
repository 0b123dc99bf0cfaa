//! Readable names from the ones in symbol tables and debug information.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

/// Names that were demangled already. The same few functions are inlined everywhere, and
/// demangling one costs as much as looking up an address.
#[derive(Default)]
pub(crate) struct Names<'a> {
    /// By where the symbol stands and its length. That finds nearly as many as the text would,
    /// since linkers merge equal strings, and C++ names take long to hash.
    known: HashMap<(usize, usize), String>,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Names<'a> {
    /// The readable form of a symbol.
    pub(crate) fn get(&mut self, symbol: &'a [u8]) -> String {
        let known = self.known.entry((symbol.as_ptr().addr(), symbol.len()));
        known.or_insert_with(|| demangle_bytes(symbol)).clone()
    }
}

fn demangle_bytes(symbol: &[u8]) -> String {
    demangle(&String::from_utf8_lossy(symbol))
}

/// The readable form of a symbol: Rust (both manglings) without hashes, C++ with parameters; any
/// other name as it is, less a symbol version such as `@@GLIBC_2.2.5`.
pub fn demangle(symbol: &str) -> String {
    let symbol = without_version(symbol);
    rust(symbol)
        .or_else(|| cpp(symbol))
        .unwrap_or_else(|| symbol.to_owned())
}

/// Whether a symbol says more than its bare name.
pub(crate) fn is_mangled(symbol: &[u8]) -> bool {
    symbol.starts_with(b"_Z") || symbol.starts_with(b"_R")
}

fn without_version(symbol: &str) -> &str {
    match symbol.split_once('@') {
        Some((name, _)) if !name.is_empty() => name,
        _ => symbol,
    }
}

fn rust(symbol: &str) -> Option<String> {
    if !symbol.starts_with("_R") && !has_rust_hash(symbol) {
        return None;
    }
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    bounded(|text| fmt::write(text, format_args!("{name:#}")))
}

/// Whether a symbol ends like Rust's older mangling, `17h`, 16 digits and `E`. What begins with
/// `_ZN` and does not is C++.
fn has_rust_hash(symbol: &str) -> bool {
    let Some((_, hash)) = symbol.rsplit_once("17h") else {
        return false;
    };
    let digits = hash.bytes().take_while(u8::is_ascii_hexdigit);
    symbol.starts_with("_ZN") && hash.get(16..17) == Some("E") && digits.count() >= 16
}

fn cpp(symbol: &str) -> Option<String> {
    if !symbol.starts_with("_Z") {
        return None;
    }
    let symbol = with_return_type(symbol);
    let name = cpp_demangle::Symbol::new(&*symbol).ok()?;
    let options = cpp_demangle::DemangleOptions::default();
    let text = bounded(|text| name.structured_demangle(text, &options))?;
    Some(without_empty_packs(plain_literals(&text)))
}

/// Gives a constructor template the return type that other templates have. `cpp_demangle` takes
/// the first parameter for one, and drops it.
fn with_return_type(symbol: &str) -> Cow<'_, str> {
    let constructor = ["C1I", "C2I"].iter().find_map(|mark| symbol.find(mark));
    let split = constructor.and_then(|start| split_at_parameters(symbol, start));
    match split {
        Some((name, parameters)) => format!("{name}v{parameters}").into(),
        None => symbol.into(),
    }
}

/// The mangled name of a constructor template, and its parameters. The name ends where what comes
/// before, at least up to `start`, can stand alone.
fn split_at_parameters(symbol: &str, start: usize) -> Option<(&str, &str)> {
    let ends = symbol.bytes().enumerate().skip(start);
    let ends = ends.filter(|&(_, byte)| byte == b'E').map(|(at, _)| at + 1);
    let names = ends.map(|end| symbol.split_at(end));
    let mut names = names.filter(|(name, _)| cpp_demangle::Symbol::new(name).is_ok());
    let (name, parameters) = names.next()?;
    let returns_nothing = format!("{name}vv");
    let text = cpp_demangle::Symbol::new(&returns_nothing).ok()?.demangle();
    let is_wanted = is_constructor_template(text.ok()?.strip_suffix("()")?);
    (is_wanted && !parameters.is_empty()).then_some((name, parameters))
}

/// Whether a name is like `A<int>::A<long>`.
fn is_constructor_template(name: &str) -> bool {
    let constructor = without_arguments(name).and_then(|name| name.rsplit_once("::"));
    constructor.is_some_and(|(class, function)| {
        let class = without_arguments(class).unwrap_or(class);
        class.rsplit("::").next() == Some(function)
    })
}

/// A name less its template arguments, if it ends with such.
fn without_arguments(name: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let start = name.bytes().rposition(|byte| {
        match byte {
            b'>' => depth += 1,
            b'<' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    start
        .filter(|_| name.ends_with('>'))
        .map(|start| &name[..start])
}

/// Writes literals as in source, `4ul`, where `cpp_demangle` has a cast, `(unsigned long)4`.
fn plain_literals(text: &str) -> String {
    let casts = [
        ("(unsigned long)", "ul"),
        ("(unsigned int)", "u"),
        ("(long)", "l"),
    ];
    let mut plain = text.to_owned();
    for (cast, suffix) in casts.into_iter().filter(|(cast, _)| text.contains(cast)) {
        let mut parts = plain.split(cast);
        let mut written = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part
                .trim_start_matches('-')
                .trim_start_matches(|c: char| c.is_ascii_digit());
            let (number, rest) = part.split_at(part.len() - digits.len());
            match number.is_empty() {
                true => written.extend([cast, part]),
                false => written.extend([number, suffix, rest]),
            }
        }
        plain = written;
    }
    plain
}

/// Takes out what `cpp_demangle` leaves for empty argument packs: commas and references to nothing.
fn without_empty_packs(mut text: String) -> String {
    for (remains, plain) in [(", >", ">"), (", &&)", ")")] {
        while text.contains(remains) {
            text = text.replace(remains, plain);
        }
    }
    match text.strip_suffix("(&&)") {
        Some(name) => format!("{name}()"),
        None => text,
    }
}

/// The longest name that is written out. Each substitution in a mangled name can double what came
/// before it, so a hostile symbol of a hundred bytes could fill the memory.
const LONGEST_NAME_BYTES: usize = 64 << 10;

fn bounded(write: impl FnOnce(&mut Bounded) -> fmt::Result) -> Option<String> {
    let mut text = Bounded(String::new());
    write(&mut text).ok()?;
    Some(text.0)
}

struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST_NAME_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(symbol: &str, expected: &str) {
        assert_eq!(demangle(symbol), expected, "{symbol}");
    }

    #[test]
    fn rust_names_lose_their_hash() {
        check(
            "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
            "core::fmt::Write::write_fmt",
        );
        check(
            "_ZN4core3ptr4read17h0123456789abcdefE.llvm.123",
            "core::ptr::read",
        );
        check(
            "_ZN4core3ptr16drop$LT$a..b$GT$17h0123456789abcdeeE",
            "core::ptr::drop<a::b>",
        );
        check("_RNvCs15kBYyAo9fc_7mycrate3foo", "mycrate::foo");
    }

    #[test]
    fn cpp_names_keep_their_parameters() {
        check("_ZN3foo3barEi", "foo::bar(int)");
        check(
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int> >::push_back(int const&)",
        );
        check("_Z3foov.constprop.0", "foo() [clone .constprop.0]");
        check("_Z3fooILm4ELln3EEvv", "void foo<4ul, -3l>()");
    }

    #[test]
    fn constructor_templates_keep_their_first_parameter() {
        check("_ZN1AIiEC2IlEEPKcT_", "A<int>::A<long>(char const*, long)");
        check("_ZN1b1AC1IlEET_", "b::A::A<long>(long)");
        check("_ZN5C1Ifs3fooEv", "C1Ifs::foo()");
        check("_ZN5C1IfsIiE3fooIlEEiT_", "int C1Ifs<int>::foo<long>(long)");
    }

    #[test]
    fn other_names_stay() {
        check("malloc", "malloc");
        check("memcpy@@GLIBC_2.14", "memcpy");
        check("_Zonk", "_Zonk");
        check("@plt", "@plt");
        check("", "");
    }

    #[test]
    fn a_name_that_explodes_is_left_alone() {
        let bomb = format!("_Z1fI1A{}Ev", (0..30).map(doubling).collect::<String>());
        assert!(demangle(&bomb).len() <= LONGEST_NAME_BYTES);
    }

    /// A pair of the type before it with itself.
    fn doubling(step: usize) -> String {
        let back = match step {
            0 => "S_".to_owned(),
            _ => format!(
                "S{}_",
                char::from_digit(step as u32 - 1, 36)
                    .expect("below 36 steps")
                    .to_ascii_uppercase()
            ),
        };
        format!("1PI{back}{back}E")
    }
}
