//! Paths and numbers in words.

use super::PathStep;
use crate::paths::is_number;

/// A path in one line, as a programmer would write it:
/// `global.sessions (Map) -> table -> [*] Session`, `run() variable queue (Array) -> [*] Job`.
///
/// A dot stands before a property, `variable` before what a function closes over, an arrow before
/// everything else. The engine's plumbing is left out: what leads to a global object, the contexts
/// between a function and its variables, the vectors between Blink's objects.
/// [`Suspect::path`](crate::Suspect::path) has all of it.
pub fn path_in_words(path: &[PathStep]) -> String {
    let mut words = String::new();
    for (index, step) in path.iter().enumerate().skip(first_step(path)) {
        let is_last = index + 1 == path.len();
        match &step.edge {
            Some(edge) if !words.is_empty() => {
                let is_variable = is_context(&path[index - 1]);
                if is_last || !is_left_out(step) {
                    words.push_str(&step_in_words(is_variable, edge, &step.node));
                }
            }
            _ => words.push_str(&node_in_words(&step.node)),
        }
    }
    words
}

/// Everything hangs on a nameless root, in a browser on a native context below it; what it holds
/// is where the program begins.
fn first_step(path: &[PathStep]) -> usize {
    let contexts = path
        .iter()
        .rposition(|step| step.node.starts_with("system / NativeContext"));
    let is_nameless = |step: &PathStep| matches!(step.node.as_str(), "" | "(synthetic)");
    let root = usize::from(path.len() > 1 && is_nameless(&path[0]));
    contexts.map_or(root, |context| (context + 1).min(path.len() - 1))
}

fn is_left_out(step: &PathStep) -> bool {
    let is_native_vector = step.node.contains("::") && step.node.contains('<');
    is_native_vector || is_context(step) && is_scope_edge(step)
}

/// What a function closes over: an object in its own right in Node 20 and later, before that one
/// of many nameless ones of the engine.
fn is_context(step: &PathStep) -> bool {
    step.node.starts_with("system / Context") || step.node == "(system)" && is_scope_edge(step)
}

/// Whether an edge leads from a function to its context, or from there to the one around it.
fn is_scope_edge(step: &PathStep) -> bool {
    matches!(step.edge.as_deref(), Some("context" | "previous"))
}

fn step_in_words(is_variable: bool, edge: &str, node: &str) -> String {
    if edge.starts_with('[') || edge == "…" {
        return format!(" -> {edge} {}", node_in_words(node));
    }
    if is_number(edge) {
        return format!(" -> [{edge}] {}", node_in_words(node));
    }
    let is_plumbing = matches!(node, "(array)" | "(system)" | "(object elements)");
    if is_plumbing || node.starts_with("system / ") {
        return format!(" -> {edge}");
    }
    let lead = if is_variable {
        " variable "
    } else if is_identifier(edge) {
        "."
    } else {
        " -> "
    };
    format!("{lead}{edge}{}", node_after_name(edge, node))
}

/// `()` for a function that goes by the name just said, else the node in parentheses.
fn node_after_name(edge: &str, node: &str) -> String {
    let is_nameless = matches!(node, "function" | "Function" | "(closure)");
    if is_nameless || node.strip_suffix("()") == Some(edge) {
        "()".to_owned()
    } else if node.starts_with('(') {
        format!(" {node}")
    } else {
        format!(" ({})", node_in_words(node))
    }
}

/// A node without what says little: the kind of global object, template arguments.
fn node_in_words(node: &str) -> String {
    if node.starts_with("Window [") {
        return node.replacen(" [JSGlobalObject]", "", 1);
    }
    match node.split_once('<') {
        Some((template, _)) if template.contains("::") => format!("{template}<…>"),
        _ => node.to_owned(),
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps are written `edge|node`, the first without an edge.
    #[track_caller]
    fn check(steps: &[&str], expected: &str) {
        let path: Vec<PathStep> = steps
            .iter()
            .map(|step| match step.split_once('|') {
                Some((edge, node)) => PathStep {
                    edge: Some(edge.to_owned()),
                    node: node.to_owned(),
                },
                None => PathStep {
                    edge: None,
                    node: (*step).to_owned(),
                },
            })
            .collect();
        assert_eq!(path_in_words(&path), expected);
    }

    #[test]
    fn properties_have_dots_and_plumbing_arrows() {
        check(
            &["global", "sessions|Map", "table|(array)", "[*]|Session"],
            "global.sessions (Map) -> table -> [*] Session",
        );
        check(
            &["global", "<symbol kList>|Array", "elements|(array)"],
            "global -> <symbol kList> (Array) -> elements",
        );
        check(
            &[
                "(synthetic)",
                "2|global",
                "names|Map",
                "table|(array)",
                "12|(string)",
            ],
            "global.names (Map) -> table -> [12] (string)",
        );
        check(&["User", "name|(string)"], "User.name (string)");
        check(&[], "");
        check(&["global"], "global");
    }

    #[test]
    fn variables_of_functions() {
        check(
            &[
                "run()",
                "context|system / Context",
                "previous|system / Context",
                "queue|Array",
                "[*]|Job",
            ],
            "run() variable queue (Array) -> [*] Job",
        );
        check(
            &[
                "global",
                "start|start()",
                "context|system / Context",
                "last|link() …",
            ],
            "global.start() variable last (link() …)",
        );
        check(&["run()", "context|system / Context"], "run() -> context");
        check(&["Server", "handler|function"], "Server.handler()");
    }

    #[test]
    fn blink_says_only_what_matters() {
        check(
            &[
                "(GC roots)",
                "[*]|(Global handles)",
                "V8PerContextData::context_|system / NativeContext / http://a",
                "global_object|Window [JSGlobalObject] / http://a",
                "[*]|blink::EventTargetData",
                "[*]|blink::HeapVector<blink::Member<blink::Listener>>",
                "[*]|EventListener",
            ],
            "Window / http://a -> [*] blink::EventTargetData -> [*] EventListener",
        );
    }
}
