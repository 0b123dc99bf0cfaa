//! Which namespaces a demangled name begins in, for Rust and C++ alike.

/// The outermost names of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QualifiedName<'a> {
    /// Of the function's path, or of the type that it is a method of; `None` where that is a
    /// parameter or a primitive type.
    pub root: Option<&'a str>,
    /// Of the trait that a method fulfills.
    pub trait_root: Option<&'a str>,
}

/// Finds the outermost names of a demangled function.
pub fn qualified_name(function: &str) -> QualifiedName<'_> {
    let name = without_return_type(without_parameters(function));
    match within_angles(name) {
        Some(inside) => match split_at_as(inside) {
            Some((this, its_trait)) => QualifiedName {
                root: root_of_type(this),
                trait_root: Some(root(its_trait)),
            },
            None => QualifiedName {
                root: root_of_type(inside),
                trait_root: None,
            },
        },
        None => QualifiedName {
            root: Some(root(name)),
            trait_root: None,
        },
    }
}

/// The first name of a path.
fn root(path: &str) -> &str {
    let is_end = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$');
    path.split(is_end).next().unwrap_or(path)
}

/// The root of a type's path, through references and pointers; types of one word are parameters
/// or primitive.
fn root_of_type(mut path: &str) -> Option<&str> {
    const SIGNS: [&str; 9] = ["&", "*", "[", "(", "<", "mut ", "const ", "dyn ", "impl "];
    while let Some(rest) = SIGNS.iter().find_map(|sign| path.strip_prefix(sign)) {
        path = rest;
    }
    let root = root(path);
    path[root.len()..].starts_with("::").then_some(root)
}

/// `X as Y` of `<X as Y>::z`.
fn within_angles(name: &str) -> Option<&str> {
    let inside = name.strip_prefix('<')?;
    let end = depths(name)
        .find(|&(_, depth, c)| depth == 1 && c == '>')?
        .0;
    inside.get(..end - 1)
}

fn split_at_as(inside: &str) -> Option<(&str, &str)> {
    let at = depths(inside)
        .find(|&(at, depth, _)| depth == 0 && inside[at..].starts_with(" as "))?
        .0;
    Some((&inside[..at], &inside[at + 4..]))
}

/// C++: `f(int)` without what follows `f`. A name may begin with a parenthesis (an anonymous namespace).
fn without_parameters(function: &str) -> &str {
    let start = depths(function).find(|&(at, depth, c)| at > 0 && depth == 0 && c == '(');
    start.map_or(function, |(at, ..)| &function[..at])
}

/// C++: instances of templates begin with the type that they return.
fn without_return_type(name: &str) -> &str {
    let spaces = depths(name).filter(|&(_, depth, c)| depth == 0 && c == ' ');
    spaces.last().map_or(name, |(at, ..)| &name[at + 1..])
}

/// Each character with its place and the brackets it stands in; a closing one stands within.
fn depths(text: &str) -> impl Iterator<Item = (usize, usize, char)> + '_ {
    let mut depth = 0_usize;
    let mut before = ' ';
    text.char_indices().map(move |(at, c)| {
        // The end of an arrow closes nothing.
        let c = if before == '-' && c == '>' { '-' } else { c };
        let outside = depth;
        match c {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = c;
        (at, outside, c)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(function: &str, root: Option<&str>, trait_root: Option<&str>) {
        assert_eq!(
            qualified_name(function),
            QualifiedName { root, trait_root },
            "{function}"
        );
    }

    #[test]
    fn rust_names() {
        check("a::b::c", Some("a"), None);
        check("<a::B>::c", Some("a"), None);
        check("<a::B<x::Y> as c::D<z::W>>::e", Some("a"), Some("c"));
        check("<&mut [a::B] as c::D>::e", Some("a"), Some("c"));
        check("<T as c::D>::e", None, Some("c"));
        check("<(A, B) as c::D>::e", None, Some("c"));
        check("<dyn a::B as c::D>::e", Some("a"), Some("c"));
        check("<fn(A) -> B as c::D>::e", None, Some("c"));
        check("a::<impl b::C for d::E>::f", Some("a"), None);
    }

    #[test]
    fn cpp_names() {
        check("a::b(c::d)", Some("a"), None);
        check("void a::b<c::d>(c::d)", Some("a"), None);
        check("a::B<c>::operator()(int) const", Some("a"), None);
        check("f(int)", Some("f"), None);
    }

    #[test]
    fn broken_names_do_no_harm() {
        for name in [
            "<",
            "<<",
            ">>",
            "<a as",
            "(",
            ")",
            " ",
            "é<ü as ö>::ä",
            "->",
            "<>",
            "< as >",
        ] {
            let _ = qualified_name(name);
        }
    }
}
