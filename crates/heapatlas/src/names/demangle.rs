//! Rust symbols as the names people wrote.
//!
//! Both manglings of rustc: the legacy one (`_ZN…17h<hash>E`) and v0 (`_R…`, RFC 2603). The names are those that
//! `rustc-demangle` prints in its alternate form: without hashes, without the disambiguators of crates, integers
//! without their types.
//!
//! A symbol comes from a file, so nothing in it is trusted: nesting, output and work are bounded, and a symbol
//! beyond a bound has no name.

/// How deep paths, types and constants may nest. Without optimization this takes less than 400 KiB of stack.
const DEPTH_LIMIT: u32 = 500;
/// The longest name, in bytes.
const OUTPUT_LIMIT: usize = 64 * 1024;
/// How many bytes may be read, those read again through back references included.
const READ_LIMIT: u32 = 1024 * 1024;
/// The longest non-ASCII identifier that is decoded, in characters.
const PUNYCODE_LIMIT: usize = 128;

/// The name behind a Rust symbol; `None` when it is none, or beyond the bounds.
pub(crate) fn demangle(symbol: &str) -> Option<String> {
    let symbol = without_llvm_suffix(symbol);
    if !symbol.is_ascii() {
        return None;
    }
    let (mut name, suffix) = match after_prefix(symbol, &["_ZN", "ZN", "__ZN"]) {
        Some(elements) => demangle_legacy(elements)?,
        None => demangle_v0(after_prefix(symbol, &["_R", "R", "__R"])?)?,
    };
    let is_suffix = suffix.starts_with('.') && suffix.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || !(suffix.is_empty() || is_suffix) {
        return None;
    }
    name.push_str(suffix);
    (name.len() <= OUTPUT_LIMIT).then_some(name)
}

/// Code that LLVM moved between units ends in `.llvm.` and a number: no part of the name.
fn without_llvm_suffix(symbol: &str) -> &str {
    let Some(start) = symbol.find(".llvm.") else {
        return symbol;
    };
    let mut number = symbol[start + ".llvm.".len()..].bytes();
    if number.all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F' | b'@')) {
        &symbol[..start]
    } else {
        symbol
    }
}

/// What follows the first prefix that fits: Windows drops an underscore, macOS adds one.
fn after_prefix<'s>(symbol: &'s str, prefixes: &[&str]) -> Option<&'s str> {
    prefixes
        .iter()
        .find_map(|prefix| symbol.strip_prefix(prefix))
}

/// The name and what follows the closing `E`.
fn demangle_legacy(elements: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = elements;
    let mut is_first = true;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let length: usize = rest[..digits].parse().ok()?;
        let element = rest.get(digits..digits.checked_add(length)?)?;
        rest = &rest[digits + length..];
        if let Some(suffix) = rest.strip_prefix('E') {
            // Without the hash it is a name of C++.
            return is_hash(element).then_some((name, suffix));
        }
        if !is_first {
            name.push_str("::");
        }
        is_first = false;
        push_unescaped(&mut name, element);
        if name.len() > OUTPUT_LIMIT {
            return None;
        }
    }
}

fn is_hash(element: &str) -> bool {
    let digits = element.strip_prefix('h').unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// An element of a legacy symbol with its escapes (`$LT$`, `$u7b$`, `..`) resolved. From an escape that is none,
/// the rest stays as it is.
fn push_unescaped(name: &mut String, element: &str) {
    // An identifier must not begin with `$`: the compiler puts an underscore before it.
    let mut rest = if element.starts_with("_$") {
        &element[1..]
    } else {
        element
    };
    while let Some(special) = rest.find(['$', '.']) {
        name.push_str(&rest[..special]);
        rest = &rest[special..];
        if let Some(after) = rest.strip_prefix("..") {
            name.push_str("::");
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            name.push('.');
            rest = after;
        } else {
            let Some((escape, after)) = rest[1..].split_once('$') else {
                break;
            };
            let Some(character) = unescaped(escape) else {
                break;
            };
            name.push(character);
            rest = after;
        }
    }
    name.push_str(rest);
}

fn unescaped(escape: &str) -> Option<char> {
    Some(match escape {
        "SP" => '@',
        "BP" => '*',
        "RF" => '&',
        "LT" => '<',
        "GT" => '>',
        "LP" => '(',
        "RP" => ')',
        "C" => ',',
        _ => {
            let digits = escape.strip_prefix('u')?;
            if !digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            {
                return None;
            }
            let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            return (!character.is_control()).then_some(character);
        }
    })
}

/// The name and what follows the symbol's own grammar.
fn demangle_v0(symbol: &str) -> Option<(String, &str)> {
    let mut printer = Printer {
        symbol,
        position: 0,
        reads_left: READ_LIMIT,
        depth: 0,
        bound_lifetimes: 0,
        is_silent: false,
        name: String::new(),
    };
    printer.path(true)?;
    if printer.peek().is_some_and(|byte| byte.is_ascii_uppercase()) {
        // The crate that instantiated a generic function: no part of its name.
        printer.is_silent = true;
        printer.path(false)?;
    }
    Some((printer.name, &symbol[printer.position..]))
}

/// An identifier of a v0 symbol: the ASCII part, and the Punycode of what is not.
struct Identifier<'s> {
    ascii: &'s str,
    punycode: &'s str,
}

/// Reads a v0 symbol and prints it on the way. `None` from any method: the symbol is damaged or beyond a bound.
struct Printer<'s> {
    /// Behind the prefix: back references count from here.
    symbol: &'s str,
    position: usize,
    reads_left: u32,
    depth: u32,
    /// How many lifetimes the binders around the position introduce.
    bound_lifetimes: u64,
    /// While a part is read that is not shown; back references are not followed then.
    is_silent: bool,
    name: String,
}

impl<'s> Printer<'s> {
    fn peek(&self) -> Option<u8> {
        self.symbol.as_bytes().get(self.position).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.reads_left = self.reads_left.checked_sub(1)?;
        self.position += 1;
        Some(byte)
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.peek() == Some(byte) && self.next().is_some()
    }

    fn print(&mut self, text: &str) -> Option<()> {
        if self.is_silent {
            return Some(());
        }
        if text.len() > OUTPUT_LIMIT - self.name.len() {
            return None;
        }
        self.name.push_str(text);
        Some(())
    }

    fn print_character(&mut self, character: char) -> Option<()> {
        self.print(character.encode_utf8(&mut [0; 4]))
    }

    fn enter(&mut self) -> Option<()> {
        self.depth += 1;
        (self.depth <= DEPTH_LIMIT).then_some(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// `_` is 0, `0_` is 1, and so on, with the digits 0-9, a-z, A-Z.
    fn base_62(&mut self) -> Option<u64> {
        if self.eat(b'_') {
            return Some(0);
        }
        let mut value = 0_u64;
        loop {
            let digit = match self.next()? {
                b'_' => return value.checked_add(1),
                byte @ b'0'..=b'9' => byte - b'0',
                byte @ b'a'..=b'z' => byte - b'a' + 10,
                byte @ b'A'..=b'Z' => byte - b'A' + 36,
                _ => return None,
            };
            value = value.checked_mul(62)?.checked_add(u64::from(digit))?;
        }
    }

    /// A number behind its tag, counted from one; 0 when the tag is not there.
    fn optional_base_62(&mut self, tag: u8) -> Option<u64> {
        if self.eat(tag) {
            self.base_62()?.checked_add(1)
        } else {
            Some(0)
        }
    }

    fn disambiguator(&mut self) -> Option<u64> {
        self.optional_base_62(b's')
    }

    fn decimal(&mut self) -> Option<usize> {
        let first = self.next().filter(u8::is_ascii_digit)?;
        let mut value = usize::from(first - b'0');
        // A number does not begin with zero: what follows belongs to the identifier.
        while value != 0 && self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            let digit = usize::from(self.next()? - b'0');
            value = value.checked_mul(10)?.checked_add(digit)?;
        }
        Some(value)
    }

    fn identifier(&mut self) -> Option<Identifier<'s>> {
        let is_punycode = self.eat(b'u');
        let length = self.decimal()?;
        // Between the length and a name that begins with a digit or an underscore.
        self.eat(b'_');
        let end = self.position.checked_add(length)?;
        let text = self.symbol.get(self.position..end)?;
        self.position = end;
        self.reads_left = self.reads_left.checked_sub(u32::try_from(length).ok()?)?;
        if !is_punycode {
            return Some(Identifier {
                ascii: text,
                punycode: "",
            });
        }
        let (ascii, punycode) = text.rsplit_once('_').unwrap_or(("", text));
        (!punycode.is_empty()).then_some(Identifier { ascii, punycode })
    }

    fn print_identifier(&mut self, identifier: &Identifier) -> Option<()> {
        if identifier.punycode.is_empty() {
            return self.print(identifier.ascii);
        }
        if self.is_silent {
            return Some(());
        }
        if let Some(text) = decoded_punycode(identifier) {
            return self.print(&text);
        }
        self.print("punycode{")?;
        if !identifier.ascii.is_empty() {
            self.print(identifier.ascii)?;
            self.print("-")?;
        }
        self.print(identifier.punycode)?;
        self.print("}")
    }

    /// Prints what stands at an earlier position, behind a `B` that is read already.
    fn back_reference(&mut self, print: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let tag = self.position - 1;
        let target = self.base_62()?;
        if target >= tag as u64 {
            return None;
        }
        if self.is_silent {
            return Some(());
        }
        let after = self.position;
        self.position = target as usize;
        self.enter()?;
        print(self)?;
        self.leave();
        self.position = after;
        Some(())
    }

    /// Prints items up to an `E`, with commas between them; how many there were.
    fn list(&mut self, item: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<usize> {
        let mut count = 0;
        while !self.eat(b'E') {
            if count > 0 {
                self.print(", ")?;
            }
            item(self)?;
            count += 1;
        }
        Some(count)
    }

    /// A path; in an expression (`is_value`), generic arguments stand behind `::`.
    fn path(&mut self, is_value: bool) -> Option<()> {
        self.enter()?;
        match self.next()? {
            b'C' => {
                self.disambiguator()?;
                let name = self.identifier()?;
                self.print_identifier(&name)?;
            }
            b'N' => self.nested_path(is_value)?,
            b'M' => {
                self.impl_path()?;
                self.self_type(false)?;
            }
            b'X' => {
                self.impl_path()?;
                self.self_type(true)?;
            }
            b'Y' => self.self_type(true)?,
            b'I' => {
                self.path(is_value)?;
                self.print(if is_value { "::<" } else { "<" })?;
                self.list(&mut Self::generic_argument)?;
                self.print(">")?;
            }
            b'B' => self.back_reference(&mut |printer| printer.path(is_value))?,
            _ => return None,
        }
        self.leave();
        Some(())
    }

    /// A name in a namespace; the compiler's own namespaces (closures, shims) are the uppercase ones.
    fn nested_path(&mut self, is_value: bool) -> Option<()> {
        let namespace = self.next().filter(u8::is_ascii_alphabetic)?;
        self.path(is_value)?;
        let disambiguator = self.disambiguator()?;
        let name = self.identifier()?;
        let is_named = !(name.ascii.is_empty() && name.punycode.is_empty());
        if namespace.is_ascii_lowercase() {
            if is_named {
                self.print("::")?;
                self.print_identifier(&name)?;
            }
            return Some(());
        }
        self.print("::{")?;
        match namespace {
            b'C' => self.print("closure")?,
            b'S' => self.print("shim")?,
            other => self.print_character(char::from(other))?,
        }
        if is_named {
            self.print(":")?;
            self.print_identifier(&name)?;
        }
        self.print("#")?;
        self.print(&disambiguator.to_string())?;
        self.print("}")
    }

    /// Where an impl stands is no part of the name: it is told by its type.
    fn impl_path(&mut self) -> Option<()> {
        self.disambiguator()?;
        let was_silent = self.is_silent;
        self.is_silent = true;
        self.path(false)?;
        self.is_silent = was_silent;
        Some(())
    }

    fn self_type(&mut self, has_trait: bool) -> Option<()> {
        self.print("<")?;
        self.type_()?;
        if has_trait {
            self.print(" as ")?;
            self.path(false)?;
        }
        self.print(">")
    }

    fn generic_argument(&mut self) -> Option<()> {
        if self.eat(b'L') {
            let index = self.base_62()?;
            self.lifetime(index)
        } else if self.eat(b'K') {
            self.constant(false)
        } else {
            self.type_()
        }
    }

    /// A lifetime by its distance from the innermost binder, from 1; 0 is an erased one.
    fn lifetime(&mut self, index: u64) -> Option<()> {
        // Binders are not counted while silent.
        if self.is_silent {
            return Some(());
        }
        if index == 0 {
            return self.print("'_");
        }
        let depth = self.bound_lifetimes.checked_sub(index)?;
        self.print("'")?;
        if depth < 26 {
            return self.print_character(char::from(b'a' + depth as u8));
        }
        self.print("_")?;
        self.print(&depth.to_string())
    }

    /// Prints `for<'a> ` when lifetimes are bound here, then what they are bound for.
    fn binder(&mut self, print: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let count = self.optional_base_62(b'G')?;
        if self.is_silent || count == 0 {
            return print(self);
        }
        self.print("for<")?;
        for index in 0..count {
            if index > 0 {
                self.print(", ")?;
            }
            self.bound_lifetimes += 1;
            self.lifetime(1)?;
        }
        self.print("> ")?;
        print(self)?;
        self.bound_lifetimes -= count;
        Some(())
    }

    fn type_(&mut self) -> Option<()> {
        // A tuple that takes up the arguments of a function.
        if self.eat(b'w') {
            self.print("#[splat] ")?;
        }
        let tag = self.next()?;
        if let Some(name) = basic_type(tag) {
            return self.print(name);
        }
        self.enter()?;
        match tag {
            b'R' | b'Q' => {
                self.print("&")?;
                if self.eat(b'L') {
                    let index = self.base_62()?;
                    if index != 0 {
                        self.lifetime(index)?;
                        self.print(" ")?;
                    }
                }
                self.print(if tag == b'Q' { "mut " } else { "" })?;
                self.type_()?;
            }
            b'P' | b'O' => {
                self.print(if tag == b'P' { "*const " } else { "*mut " })?;
                self.type_()?;
            }
            b'A' | b'S' => {
                self.print("[")?;
                self.type_()?;
                if tag == b'A' {
                    self.print("; ")?;
                    self.constant(true)?;
                }
                self.print("]")?;
            }
            b'T' => {
                self.print("(")?;
                let count = self.list(&mut Self::type_)?;
                self.print(if count == 1 { ",)" } else { ")" })?;
            }
            b'W' => {
                self.type_()?;
                self.print(" is ")?;
                self.pattern()?;
            }
            b'F' => self.binder(&mut Self::function_type)?,
            b'D' => self.dyn_type()?,
            b'B' => self.back_reference(&mut Self::type_)?,
            _ => {
                self.position -= 1;
                self.path(false)?;
            }
        }
        self.leave();
        Some(())
    }

    /// Which values of a type are valid.
    fn pattern(&mut self) -> Option<()> {
        self.enter()?;
        match self.next()? {
            b'R' => {
                self.constant(false)?;
                self.print("..=")?;
                self.constant(false)?;
            }
            b'O' => self.patterns()?,
            b'N' => self.print("!null")?,
            _ => return None,
        }
        self.leave();
        Some(())
    }

    fn patterns(&mut self) -> Option<()> {
        self.pattern()?;
        while !self.eat(b'E') {
            self.print(" | ")?;
            self.pattern()?;
        }
        Some(())
    }

    fn function_type(&mut self) -> Option<()> {
        if self.eat(b'U') {
            self.print("unsafe ")?;
        }
        if self.eat(b'K') {
            let abi = if self.eat(b'C') { "C" } else { self.abi()? };
            self.print("extern \"")?;
            // An ABI's dashes are underscores in the symbol.
            self.print(&abi.replace('_', "-"))?;
            self.print("\" ")?;
        }
        self.print("fn(")?;
        self.list(&mut Self::type_)?;
        self.print(")")?;
        if self.eat(b'u') {
            return Some(());
        }
        self.print(" -> ")?;
        self.type_()
    }

    fn abi(&mut self) -> Option<&'s str> {
        let name = self.identifier()?;
        (name.punycode.is_empty() && !name.ascii.is_empty()).then_some(name.ascii)
    }

    fn dyn_type(&mut self) -> Option<()> {
        self.print("dyn ")?;
        self.binder(&mut |printer| {
            let mut is_first = true;
            while !printer.eat(b'E') {
                if !is_first {
                    printer.print(" + ")?;
                }
                is_first = false;
                printer.dyn_trait()?;
            }
            Some(())
        })?;
        if !self.eat(b'L') {
            return None;
        }
        let index = self.base_62()?;
        if index != 0 {
            self.print(" + ")?;
            self.lifetime(index)?;
        }
        Some(())
    }

    /// A trait, its associated types beside its generic arguments: `Trait<T, Item = U>`.
    fn dyn_trait(&mut self) -> Option<()> {
        let mut is_open = false;
        self.open_path(&mut is_open)?;
        while self.eat(b'p') {
            self.print(if is_open { ", " } else { "<" })?;
            is_open = true;
            let name = self.identifier()?;
            self.print_identifier(&name)?;
            self.print(" = ")?;
            self.type_()?;
        }
        self.print(if is_open { ">" } else { "" })
    }

    /// A path whose generic arguments, if any (`is_open`), are not closed yet.
    fn open_path(&mut self, is_open: &mut bool) -> Option<()> {
        self.enter()?;
        if self.eat(b'B') {
            self.back_reference(&mut |printer| printer.open_path(is_open))?;
        } else if self.eat(b'I') {
            self.path(false)?;
            self.print("<")?;
            self.list(&mut Self::generic_argument)?;
            *is_open = true;
        } else {
            self.path(false)?;
        }
        self.leave();
        Some(())
    }

    /// A constant; what is more than a literal stands in braces, unless in an expression already (`is_value`).
    fn constant(&mut self, is_value: bool) -> Option<()> {
        self.enter()?;
        match self.next()? {
            b'p' => self.print("_")?,
            b'h' | b't' | b'm' | b'y' | b'o' | b'j' => self.integer()?,
            b'a' | b's' | b'l' | b'x' | b'n' | b'i' => {
                if self.eat(b'n') {
                    self.print("-")?;
                }
                self.integer()?;
            }
            b'b' => match hex_value(self.hex_digits()?)? {
                0 => self.print("false")?,
                1 => self.print("true")?,
                _ => return None,
            },
            b'c' => {
                let value = u32::try_from(hex_value(self.hex_digits()?)?).ok()?;
                self.quoted('\'', char::from_u32(value)?.encode_utf8(&mut [0; 4]))?;
            }
            b'R' if self.eat(b'e') => self.string()?,
            b'B' => self.back_reference(&mut |printer| printer.constant(is_value))?,
            tag => {
                self.print(if is_value { "" } else { "{" })?;
                self.expression(tag)?;
                self.print(if is_value { "" } else { "}" })?;
            }
        }
        self.leave();
        Some(())
    }

    fn expression(&mut self, tag: u8) -> Option<()> {
        match tag {
            // A literal is a `&str`: this is what it points to.
            b'e' => {
                self.print("*")?;
                self.string()
            }
            b'R' | b'Q' => {
                self.print(if tag == b'R' { "&" } else { "&mut " })?;
                self.constant(true)
            }
            b'A' => {
                self.print("[")?;
                self.constants()?;
                self.print("]")
            }
            b'T' => {
                self.print("(")?;
                let count = self.constants()?;
                self.print(if count == 1 { ",)" } else { ")" })
            }
            b'V' => {
                self.path(true)?;
                self.fields()
            }
            _ => None,
        }
    }

    fn constants(&mut self) -> Option<usize> {
        self.list(&mut |printer| printer.constant(true))
    }

    /// The fields of a struct or of an enum's variant.
    fn fields(&mut self) -> Option<()> {
        match self.next()? {
            b'U' => Some(()),
            b'T' => {
                self.print("(")?;
                self.constants()?;
                self.print(")")
            }
            b'S' => {
                self.print(" { ")?;
                self.list(&mut |printer| {
                    printer.disambiguator()?;
                    let name = printer.identifier()?;
                    printer.print_identifier(&name)?;
                    printer.print(": ")?;
                    printer.constant(true)
                })?;
                self.print(" }")
            }
            _ => None,
        }
    }

    /// Lowercase hexadecimal digits up to a `_`.
    fn hex_digits(&mut self) -> Option<&'s str> {
        let start = self.position;
        loop {
            match self.next()? {
                b'_' => return self.symbol.get(start..self.position - 1),
                b'0'..=b'9' | b'a'..=b'f' => {}
                _ => return None,
            }
        }
    }

    fn integer(&mut self) -> Option<()> {
        let digits = self.hex_digits()?;
        if let Some(value) = hex_value(digits) {
            return self.print(&value.to_string());
        }
        self.print("0x")?;
        self.print(digits)
    }

    fn string(&mut self) -> Option<()> {
        let digits = self.hex_digits()?;
        if digits.len() % 2 != 0 {
            return None;
        }
        let pairs = (0..digits.len()).step_by(2);
        let bytes = pairs.map(|start| u8::from_str_radix(&digits[start..start + 2], 16).ok());
        let text = String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()?;
        self.quoted('"', &text)
    }

    /// A literal as source code shows it; the other kind of quote needs no escape.
    fn quoted(&mut self, quote: char, text: &str) -> Option<()> {
        self.print_character(quote)?;
        for character in text.chars() {
            if matches!(character, '\'' | '"') && character != quote {
                self.print_character(character)?;
                continue;
            }
            for escaped in character.escape_debug() {
                self.print_character(escaped)?;
            }
        }
        self.print_character(quote)
    }
}

fn basic_type(tag: u8) -> Option<&'static str> {
    Some(match tag {
        b'a' => "i8",
        b'b' => "bool",
        b'c' => "char",
        b'd' => "f64",
        b'e' => "str",
        b'f' => "f32",
        b'h' => "u8",
        b'i' => "isize",
        b'j' => "usize",
        b'l' => "i32",
        b'm' => "u32",
        b'n' => "i128",
        b'o' => "u128",
        b'p' => "_",
        b's' => "i16",
        b't' => "u16",
        b'u' => "()",
        b'v' => "...",
        b'x' => "i64",
        b'y' => "u64",
        b'z' => "!",
        _ => return None,
    })
}

/// The value of hexadecimal digits, when 64 bits hold it; no digits are zero.
fn hex_value(digits: &str) -> Option<u64> {
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(significant, 16).ok()
}

/// RFC 3492, with letters and digits as v0 symbols have them. `None`: no Punycode, or too long.
fn decoded_punycode(identifier: &Identifier) -> Option<String> {
    let mut characters: Vec<char> = identifier.ascii.chars().collect();
    let mut code_point = 128_usize;
    let mut index = 0_usize;
    let mut bias = 72;
    let mut damping = 700;
    let mut digits = identifier.punycode.bytes();
    while digits.len() > 0 {
        let mut delta = 0_usize;
        let mut weight = 1_usize;
        let mut position = 0_usize;
        loop {
            position += 36;
            let threshold = position.saturating_sub(bias).clamp(1, 26);
            let digit = usize::from(match digits.next()? {
                byte @ b'a'..=b'z' => byte - b'a',
                byte @ b'0'..=b'9' => byte - b'0' + 26,
                _ => return None,
            });
            delta = delta.checked_add(digit.checked_mul(weight)?)?;
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(36 - threshold)?;
        }
        let count = characters.len() + 1;
        index = index.checked_add(delta)?;
        code_point = code_point.checked_add(index / count)?;
        index %= count;
        if count > PUNYCODE_LIMIT {
            return None;
        }
        characters.insert(index, char::from_u32(u32::try_from(code_point).ok()?)?);
        index += 1;

        // The next digits' weights follow from how large this step was.
        delta /= damping;
        damping = 2;
        delta += delta / count;
        bias = 0;
        while delta > 35 * 26 / 2 {
            delta /= 35;
            bias += 36;
        }
        bias += 36 * delta / (delta + 38);
    }
    Some(characters.into_iter().collect())
}

#[cfg(test)]
mod tests;
