//! `show`: one object or one class looked at closely; of an allocation profile one place in the code.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::anyhow;
use heapatlas_analysis::{
    ClassRow, EdgeView, Heap, NodeView, PathStep, dominated, dominators, fields, node_view,
    objects_of_class, path_from_root, path_in_words, retainers, summarize,
};
use heapatlas_model::{Bytes, Count, NodeId, edge_type_name};

use super::profile_show::{self, ProfileShowArgs};
use super::row_choice::{limit, remark_on_rest};
use crate::console::Console;
use crate::exit::{Hint, Outcome};
use crate::input::{self, OpenedFile};
use crate::options::{RuleArgs, refuse};
use crate::render::json::{self, ObjectView};
use crate::render::text::{Paint, Table, printable, short_name, wrapped_path};

/// Show one object or the objects of a class; of an allocation profile a function, line or address
///
/// Of a heap snapshot: an object with its fields, retainers, dominators and path from the root, or the objects of
/// a class. Of an allocation profile: what was allocated in a function, at a line or at an address and by way of
/// it, who calls it, what it calls, and the stacks through it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas show app.heapsnapshot @12345
  heapatlas show app.heapsnapshot Session --top 5
  heapatlas show app.heaptrace parse_line --by total")]
pub struct Args {
    /// The snapshot or profile; `-` for stdin
    file: PathBuf,
    /// An object (@ID, or the bare number), or a class by its name or key; of a profile a function (its name, or a
    /// part of it), FILE:LINE, or an address (0x...)
    what: String,
    /// Show at most so many rows of each list, 0 for all [default: 20 in text (3 stacks), all in JSON]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    profile: ProfileShowArgs,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    Object(u64),
    Class(String),
}

impl What {
    fn parse(text: &str) -> Self {
        match text.strip_prefix('@').unwrap_or(text).parse() {
            Ok(id) => Self::Object(id),
            Err(_) => Self::Class(text.to_owned()),
        }
    }
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    let file = input::open_any(&args.file, console)?;
    if !file.is_profile() {
        let misplaced = args.profile.given();
        refuse(
            &misplaced,
            "allocation profiles",
            &args.file,
            "a heap snapshot",
        )?;
        return show_in_heap(file, &args, console);
    }
    let misplaced = args.rules.given();
    refuse(
        &misplaced,
        "heap snapshots",
        &args.file,
        "an allocation profile",
    )?;
    profile_show::run(file, &args.what, &args.profile, args.top, console)
}

fn show_in_heap(file: OpenedFile, args: &Args, console: &Console) -> anyhow::Result<Outcome> {
    let heap = file.into_heap(args.rules.open_options(), console)?;
    let limit = limit(args.top, console);
    match &What::parse(&args.what) {
        What::Object(id) => {
            let node = heap
                .graph()
                .find_object(*id)
                .ok_or_else(|| no_object(*id))?;
            let view = object_view(&heap, node);
            console.print(|out| {
                if console.is_json {
                    return json::object(out, &view, limit);
                }
                Text {
                    paint: Paint {
                        is_on: console.has_colors,
                    },
                    limit,
                }
                .object(out, &view)
            })?;
        }
        What::Class(name) => {
            let summary = summarize(&heap, None);
            let rows = rows_of_class(&summary.classes, name)?;
            let nodes = objects_of(&heap, &rows);
            let shown: Vec<NodeView> = nodes
                .iter()
                .take(limit)
                .map(|&node| node_view(&heap, node))
                .collect();
            console.print(|out| {
                if console.is_json {
                    return json::class(out, &rows, &shown);
                }
                let text = Text {
                    paint: Paint {
                        is_on: console.has_colors,
                    },
                    limit,
                };
                text.class(out, &rows, &shown, nodes.len())
            })?;
        }
    }
    Ok(Outcome::Fine)
}

fn no_object(id: u64) -> anyhow::Error {
    anyhow!("no object @{id} in this snapshot")
        .hint(["ids are those that `heapatlas show FILE CLASS` and Chrome DevTools show"])
}

fn object_view(heap: &Heap, node: NodeId) -> ObjectView {
    let incoming = heap.graph().build_retainers();
    let path = path_from_root(heap, &incoming, node);
    ObjectView {
        node: node_view(heap, node),
        dominator: heap.graph().object_id(heap.dominator(node)),
        fields: fields(heap, node),
        retainers: retainers(heap, &incoming, node),
        dominators: dominators(heap, node),
        dominated: dominated(heap, node),
        path_in_words: path_in_words(&path_steps(&path)),
        path,
    }
}

fn path_steps(path: &[(Option<EdgeView>, NodeView)]) -> Vec<PathStep> {
    let step = |(edge, node): &(Option<EdgeView>, NodeView)| PathStep {
        edge: edge.as_ref().map(edge_name),
        node: node.class.clone(),
    };
    path.iter().map(step).collect()
}

/// An edge as people write it: `[2]` for an index, else its name.
fn edge_name(edge: &EdgeView) -> String {
    if edge.kind.has_index_label() {
        format!("[{}]", edge.label)
    } else {
        edge.label.clone()
    }
}

/// A node as people see it; roots and contexts have no name, and go by their class.
fn node_name(node: &NodeView) -> String {
    if node.display_name.is_empty() {
        short_name(&node.class)
    } else {
        short_name(&node.display_name)
    }
}

/// The classes of that name or key; two files may each define one.
fn rows_of_class<'a>(classes: &'a [ClassRow], name: &str) -> anyhow::Result<Vec<&'a ClassRow>> {
    let rows: Vec<_> = classes
        .iter()
        .filter(|row| row.name == name || row.key == name)
        .collect();
    if rows.is_empty() {
        return Err(anyhow!("no class `{name}` in this snapshot").hint(similar(classes, name)));
    }
    Ok(rows)
}

/// Names that contain the one asked for, as a hint.
fn similar(classes: &[ClassRow], name: &str) -> Vec<String> {
    let wanted = name.to_lowercase();
    let names: Vec<String> = classes
        .iter()
        .filter(|row| row.name.to_lowercase().contains(&wanted))
        .take(5)
        .map(|row| format!("`{}`", short_name(&row.name)))
        .collect();
    if names.is_empty() {
        vec!["`heapatlas summary FILE --top 0` lists all classes".to_owned()]
    } else {
        vec![format!("there are: {}", names.join(", "))]
    }
}

/// The objects that the classes count, largest retained size first.
fn objects_of(heap: &Heap, classes: &[&ClassRow]) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = classes
        .iter()
        .flat_map(|row| objects_of_class(heap, row.class))
        .collect();
    if classes.len() > 1 {
        nodes.sort_by_key(|&node| Reverse(heap.retained_bytes(node)));
    }
    nodes
}

/// The answer as text, part by part.
struct Text {
    paint: Paint,
    limit: usize,
}

impl Text {
    fn object(&self, out: &mut dyn Write, view: &ObjectView) -> io::Result<()> {
        self.identity(out, view)?;
        self.path(out, view)?;
        self.edges(out, "fields", &view.fields)?;
        self.edges(out, "retainers", &view.retainers)?;
        self.nodes(out, "dominators, nearest first", &view.dominators)?;
        self.nodes(
            out,
            "dominated objects, which would go with it",
            &view.dominated,
        )
    }

    fn identity(&self, out: &mut dyn Write, view: &ObjectView) -> io::Result<()> {
        let node = &view.node;
        let name = self.paint.bold(&node_name(node));
        let distance = node
            .distance
            .map_or("-".to_owned(), |distance| distance.to_string());
        writeln!(out, "@{}  {name}", node.object_id)?;
        writeln!(
            out,
            "  class     {} (type {})",
            short_name(&node.class),
            node.type_name
        )?;
        writeln!(out, "  shallow   {}", Bytes(node.shallow_bytes))?;
        writeln!(out, "  retained  {}", Bytes(node.retained_bytes))?;
        writeln!(out, "  distance  {distance}")?;
        if let Some(state) = json::detachedness_word(node.detachedness) {
            writeln!(out, "  document  {state}")?;
        }
        if let Some((script, line, column)) = node.location {
            let (line, column) = (u64::from(line) + 1, u64::from(column) + 1);
            writeln!(
                out,
                "  defined   script {script}, line {line}, column {column}"
            )?;
        }
        Ok(())
    }

    fn path(&self, out: &mut dyn Write, view: &ObjectView) -> io::Result<()> {
        self.heading(out, "path from the root")?;
        if view.path.is_empty() {
            return writeln!(out, "  none: only weak references lead here");
        }
        writeln!(out, "  {}", wrapped_path(&view.path_in_words, 2, 96))
    }

    fn edges(&self, out: &mut dyn Write, title: &str, edges: &[EdgeView]) -> io::Result<()> {
        let mut table = Table::new(&["", "", "", ""]);
        for edge in edges.iter().take(self.limit) {
            let node = &edge.node;
            table.row(vec![
                format!("  {:<8}", edge_type_name(edge.kind)),
                Bytes(node.retained_bytes).to_string(),
                format!("@{}", node.object_id),
                format!("{} {}", short_name(&edge_name(edge)), node_name(node)),
            ]);
        }
        self.list(out, title, table, edges.len())
    }

    fn nodes(&self, out: &mut dyn Write, title: &str, nodes: &[NodeView]) -> io::Result<()> {
        let mut table = Table::new(&["", "", ""]);
        for node in nodes.iter().take(self.limit) {
            table.row(vec![
                format!("  {}", Bytes(node.retained_bytes)),
                format!("@{}", node.object_id),
                node_name(node),
            ]);
        }
        self.list(out, title, table, nodes.len())
    }

    fn list(
        &self,
        out: &mut dyn Write,
        title: &str,
        mut table: Table,
        total: usize,
    ) -> io::Result<()> {
        if let Some(rest) = remark_on_rest(total, self.limit, "row", "rows") {
            table.remark(format!("  {rest}"));
        }
        self.heading(out, &format!("{title}: {}", Count(total as u64)))?;
        table.write(out, self.paint)
    }

    fn heading(&self, out: &mut dyn Write, title: &str) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint.bold(title))
    }

    fn class(
        &self,
        out: &mut dyn Write,
        classes: &[&ClassRow],
        objects: &[NodeView],
        total: usize,
    ) -> io::Result<()> {
        for row in classes {
            let retained = row
                .retained_bytes
                .map_or("-".to_owned(), |b| Bytes(b).to_string());
            writeln!(
                out,
                "{}  {} objects, shallow {}, retained {retained}, key {}",
                self.paint.bold(&short_name(&row.name)),
                Count(row.count),
                Bytes(row.shallow_bytes),
                printable(&row.key)
            )?;
        }
        let mut table = Table::new(&["object", "shallow", "retained", "distance", "name"]);
        for node in objects {
            table.row(vec![
                format!("@{}", node.object_id),
                Bytes(node.shallow_bytes).to_string(),
                Bytes(node.retained_bytes).to_string(),
                node.distance
                    .map_or("-".to_owned(), |distance| distance.to_string()),
                node_name(node),
            ]);
        }
        if let Some(rest) = remark_on_rest(total, objects.len(), "object", "objects") {
            table.remark(rest);
        }
        writeln!(out)?;
        table.write(out, self.paint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_classes() {
        let cases = [
            ("@12345", What::Object(12345)),
            ("12345", What::Object(12345)),
            ("Session", What::Class("Session".to_owned())),
            ("@it", What::Class("@it".to_owned())),
        ];
        for (text, what) in cases {
            assert_eq!(What::parse(text), what);
        }
    }
}
