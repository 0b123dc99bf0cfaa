//! A whole snapshot: members in any order, the two large arrays in parallel.

use std::collections::BTreeSet;
use std::sync::Arc;

use heapatlas_model::{
    AllocationTraces, ByteSource, Detachedness, EdgeKind, EdgeType, GraphColumns, HeapGraph,
    NodeId, NodeKind, NodeType, ScopeTables, SnapshotFormat, StringTable, V8Facts,
};

use super::columns::{EdgeColumns, NO_TARGET, NodeColumns};
use super::cursor::Cursor;
use super::error::{Problem, ReadError, Warning};
use super::layout::{Fields, Layout};
use super::numbers::read_signed_array;
use super::rows::{ArrayEnd, ArrayReader};
use super::strings::read_strings;
use super::tables::{self, FlatColumns};
use super::{ReadOptions, Snapshot};

/// Reads a snapshot; see [`super::read`].
pub(super) fn read(
    source: Arc<dyn ByteSource>,
    options: ReadOptions<'_>,
) -> Result<Snapshot, ReadError> {
    if source.bytes().is_empty() {
        return Err(ReadError {
            section: "file".to_owned(),
            offset: 0,
            problem: Problem::Empty,
        });
    }
    let mut reader = Reader::new(source, options);
    for read in [Reader::read_members, Reader::read_deferred] {
        match read(&mut reader) {
            Ok(()) => {}
            Err(damage) if options.salvage => reader.note_damage(&damage),
            Err(damage) => return Err(damage),
        }
    }
    reader.finish()
}

/// The members of a snapshot.
pub(super) const MEMBERS: [&str; 11] = [
    "snapshot",
    "nodes",
    "edges",
    "trace_function_infos",
    "trace_tree",
    "samples",
    "locations",
    "scopes",
    "scope_context_vars",
    "scope_uses",
    "strings",
];

/// What was read so far.
struct Reader<'o> {
    source: Arc<dyn ByteSource>,
    options: ReadOptions<'o>,
    layout: Option<Layout>,
    nodes: Option<NodeColumns>,
    edges: Option<EdgeColumns>,
    strings: Option<StringTable>,
    traces: AllocationTraces,
    locations: Option<Vec<u64>>,
    scopes: Option<ScopeTables>,
    warnings: Vec<Warning>,
    /// Members that came before what they need, with the place of their value.
    deferred: Vec<(String, usize)>,
    /// Which of [`MEMBERS`] there were.
    seen: BTreeSet<String>,
    /// Names of members that are no snapshot's, for telling what the file is.
    other_members: Vec<String>,
    /// Where the last member ended.
    end: usize,
    /// The first damage, when salvaging.
    damage: Option<ReadError>,
}

impl<'o> Reader<'o> {
    fn new(source: Arc<dyn ByteSource>, options: ReadOptions<'o>) -> Self {
        Self {
            source,
            options,
            layout: None,
            nodes: None,
            edges: None,
            strings: None,
            traces: AllocationTraces::default(),
            locations: None,
            scopes: None,
            warnings: Vec::new(),
            deferred: Vec::new(),
            seen: BTreeSet::new(),
            other_members: Vec::new(),
            end: 0,
            damage: None,
        }
    }

    /// Walks the outermost object.
    fn read_members(&mut self) -> Result<(), ReadError> {
        let source = Arc::clone(&self.source);
        let bytes = source.bytes();
        let head = if bytes.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let mut cursor = Cursor::new(bytes, head, "file");
        if cursor.peek() != Some(b'{') {
            let problem = match cursor.peek() {
                None => Problem::Empty,
                Some(_) => Problem::NotASnapshot(format!(
                    "it begins with {} and not with `{{`",
                    super::cursor::excerpt(bytes, cursor.at)
                )),
            };
            return Err(cursor.error(problem));
        }
        cursor.expect(b'{')?;
        let mut is_first = true;
        while !(is_first && cursor.accept(b'}')) {
            is_first = false;
            let key = heapatlas_model::decode_json(cursor.string()?).into_owned();
            if MEMBERS.contains(&key.as_str()) && self.seen.replace(key.clone()).is_some() {
                // Two files run together, or the pieces of two captures mixed up.
                return Err(cursor.error(Problem::Inconsistent(format!("a second `{key}`"))));
            }
            cursor.expect(b':')?;
            cursor.at = self.read_or_lose_member(&key, cursor.at)?;
            self.end = cursor.at;
            if cursor.accept(b'}') {
                break;
            }
            cursor
                .expect(b',')
                .map_err(|_| cursor.unexpected("`,` or `}`"))?;
        }
        if cursor.peek().is_some() {
            return Err(cursor.unexpected("the end of the file"));
        }
        Ok(())
    }

    /// Reads the members that came before what they need.
    fn read_deferred(&mut self) -> Result<(), ReadError> {
        let mut deferred = std::mem::take(&mut self.deferred);
        // Edges need the nodes.
        deferred.sort_by_key(|(key, _)| key != "nodes");
        for (key, at) in deferred {
            if self.layout.is_some() {
                self.read_or_lose_member(&key, at)?;
            }
        }
        Ok(())
    }

    /// Reads a member; when salvaging, one that cannot be read is skipped.
    fn read_or_lose_member(&mut self, key: &str, at: usize) -> Result<usize, ReadError> {
        match self.read_member(key, at) {
            Err(damage) if self.options.salvage => {
                self.note_damage(&damage);
                self.skip(key, at)
            }
            result => result,
        }
    }

    /// Reads the value of one member; gives the position after it.
    fn read_member(&mut self, key: &str, at: usize) -> Result<usize, ReadError> {
        let needs_layout = matches!(
            key,
            "nodes" | "edges" | "locations" | "trace_function_infos" | "trace_tree" | "samples"
        );
        let is_early = match key {
            "edges" => self.nodes.is_none(),
            _ => needs_layout && self.layout.is_none(),
        };
        if is_early {
            self.deferred.push((key.to_owned(), at));
            return self.skip(key, at);
        }
        match key {
            "snapshot" => self.read_header(at),
            "nodes" => self.read_nodes(at),
            "edges" => self.read_edges(at),
            "strings" => self.read_strings(at),
            "locations" => {
                let (values, after) = self.read_flat(key, at, |layout| &layout.location)?;
                self.locations = Some(values);
                Ok(after)
            }
            "trace_function_infos" => {
                let (values, after) = self.read_flat(key, at, |layout| &layout.trace_function)?;
                let layout = self.layout.as_ref().expect("early members are deferred");
                self.traces.functions = tables::trace_functions(&values, &layout.trace_function);
                Ok(after)
            }
            "samples" => {
                let (values, after) = self.read_flat(key, at, |layout| &layout.sample)?;
                let layout = self.layout.as_ref().expect("early members are deferred");
                self.traces.samples = tables::samples(&values, &layout.sample);
                Ok(after)
            }
            "trace_tree" => self.read_trace_tree(at),
            "scopes" => self.read_signed(key, at, |scopes| &mut scopes.scopes),
            "scope_context_vars" => self.read_signed(key, at, |scopes| &mut scopes.context_vars),
            "scope_uses" => self.read_signed(key, at, |scopes| &mut scopes.uses),
            _ => {
                self.other_members.push(key.to_owned());
                self.skip(key, at)
            }
        }
    }

    fn skip(&self, section: &str, at: usize) -> Result<usize, ReadError> {
        let mut cursor = Cursor::new(self.source.bytes(), at, section);
        cursor.skip_value()?;
        Ok(cursor.at)
    }

    fn read_header(&mut self, at: usize) -> Result<usize, ReadError> {
        let mut cursor = Cursor::new(self.source.bytes(), at, "snapshot");
        cursor.peek();
        let start = cursor.at;
        let text = cursor.skip_value()?;
        let layout = Layout::parse(text).map_err(|problem| ReadError {
            section: "snapshot".to_owned(),
            offset: start,
            problem,
        })?;
        self.layout = Some(layout);
        Ok(cursor.at)
    }

    fn read_nodes(&mut self, at: usize) -> Result<usize, ReadError> {
        let layout = self.layout.as_ref().expect("early members are deferred");
        let fields = layout.node;
        let hint = self.plausible_rows(layout.node_count, fields.stride, at);
        let mut columns = NodeColumns::with_capacity(fields, hint);
        let end = self.array("nodes", fields.stride).read(at, &mut columns)?;
        if columns.len() > u32::MAX as usize - 1 {
            return Err(self.too_many("nodes", at, columns.len()));
        }
        let (counted, rows) = (layout.node_count, end.rows);
        columns.cut(rows);
        self.nodes = Some(columns);
        self.note_count("nodes", counted, rows);
        self.end_array("nodes", end)
    }

    fn read_edges(&mut self, at: usize) -> Result<usize, ReadError> {
        let layout = self
            .layout
            .as_ref()
            .expect("nodes are read, so the layout is");
        let nodes = self
            .nodes
            .as_ref()
            .expect("early members are deferred")
            .len();
        let fields = layout.edge;
        let hint = self.plausible_rows(layout.edge_count, fields.stride, at);
        let is_strict = !self.options.salvage;
        let mut columns =
            EdgeColumns::with_capacity(fields, layout.node.stride, nodes, is_strict, hint);
        let end = self.array("edges", fields.stride).read(at, &mut columns)?;
        if columns.kind.len() > u32::MAX as usize - 1 {
            return Err(self.too_many("edges", at, columns.kind.len()));
        }
        let (counted, rows) = (layout.edge_count, end.rows);
        columns.cut(rows);
        self.edges = Some(columns);
        self.note_count("edges", counted, rows);
        self.end_array("edges", end)
    }

    fn read_strings(&mut self, at: usize) -> Result<usize, ReadError> {
        let strings = read_strings(
            &self.source,
            at,
            self.options.salvage,
            self.options.progress,
        )?;
        self.strings = Some(strings.table);
        if let Some(damage) = &strings.damage {
            self.note_damage(damage);
        }
        Ok(strings.after)
    }

    fn read_flat(
        &mut self,
        section: &str,
        at: usize,
        fields: impl Fn(&Layout) -> &Fields,
    ) -> Result<(Vec<u64>, usize), ReadError> {
        let layout = self.layout.as_ref().expect("early members are deferred");
        let stride = fields(layout).stride();
        if stride == 0 {
            return Ok((Vec::new(), self.skip(section, at)?));
        }
        let mut columns = FlatColumns {
            stride,
            values: Vec::new(),
        };
        let end = self.array(section, stride).read(at, &mut columns)?;
        columns.values.truncate(end.rows * stride);
        let after = self.end_array(section, end)?;
        Ok((columns.values, after))
    }

    fn read_trace_tree(&mut self, at: usize) -> Result<usize, ReadError> {
        let layout = self.layout.as_ref().expect("early members are deferred");
        let mut cursor = Cursor::new(self.source.bytes(), at, "trace_tree");
        let (nodes, negatives) = tables::read_trace_tree(&mut cursor, &layout.trace_node)?;
        let after = cursor.at;
        self.traces.nodes = nodes;
        self.note_negatives("trace_tree", negatives);
        Ok(after)
    }

    fn read_signed(
        &mut self,
        section: &str,
        at: usize,
        column: impl Fn(&mut ScopeTables) -> &mut Vec<i64>,
    ) -> Result<usize, ReadError> {
        let mut cursor = Cursor::new(self.source.bytes(), at, section);
        let values = read_signed_array(&mut cursor)?;
        *column(self.scopes.get_or_insert_default()) = values;
        Ok(cursor.at)
    }

    fn array<'a>(&'a self, section: &'a str, stride: usize) -> ArrayReader<'a> {
        ArrayReader {
            source: &*self.source,
            section,
            stride,
            salvage: self.options.salvage,
            progress: self.options.progress,
        }
    }

    /// A header's count, as far as the bytes left can hold so many rows: a number costs at
    /// least a digit and a comma.
    fn plausible_rows(&self, count: Option<u64>, stride: usize, at: usize) -> usize {
        let possible = (self.source.bytes().len() - at) / (2 * stride);
        count
            .map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX))
            .min(possible)
    }

    fn too_many(&self, section: &str, at: usize, rows: usize) -> ReadError {
        Cursor::new(self.source.bytes(), at, section).error(Problem::TooLarge(format!(
            "{rows} rows are more than 32 bits count"
        )))
    }

    fn note_count(&mut self, section: &str, counted: Option<u64>, rows: usize) {
        if let Some(counted) = counted
            && counted != rows as u64
        {
            self.warn(format!(
                "the header counts {counted} {section}, the file has {rows}"
            ));
        }
    }

    fn end_array(&mut self, section: &str, end: ArrayEnd) -> Result<usize, ReadError> {
        self.note_negatives(section, end.negatives);
        if let Some(damage) = &end.damage {
            self.note_damage(damage);
        }
        Ok(end.after)
    }

    fn note_negatives(&mut self, section: &str, negatives: u64) {
        if negatives > 0 {
            self.warn(format!(
                "{negatives} negative numbers in `{section}` were read as 0"
            ));
        }
    }

    fn warn(&mut self, message: String) {
        self.warnings.push(Warning {
            message,
            is_loss: false,
        });
    }

    fn note_damage(&mut self, damage: &ReadError) {
        // That the file ends was said of the section it ends in; the same damage comes up again
        // when its section is skipped.
        let is_end = matches!(damage.problem, Problem::Truncated(_));
        if self
            .damage
            .as_ref()
            .is_some_and(|first| is_end || first == damage)
        {
            return;
        }
        self.lose(format!("damaged: {damage}"));
        self.damage.get_or_insert_with(|| damage.clone());
    }

    /// Puts the columns together.
    fn finish(mut self) -> Result<Snapshot, ReadError> {
        let Some(layout) = self.layout.take() else {
            return Err(self.not_a_snapshot());
        };
        let Some(mut nodes) = self.nodes.take().filter(|nodes| nodes.len() > 0) else {
            return Err(self.missing("nodes"));
        };
        let salvage = self.options.salvage;
        let edges = match self.edges.take() {
            Some(edges) => edges,
            None if salvage => {
                self.lose("`edges` is missing: no object refers to another".to_owned());
                EdgeColumns::with_capacity(layout.edge, layout.node.stride, nodes.len(), false, 0)
            }
            None => return Err(self.missing("edges")),
        };
        let strings = match self.strings.take() {
            Some(strings) => strings,
            None if salvage => {
                self.lose("`strings` is missing: names read `#<number>`".to_owned());
                StringTable::from_texts::<&str>([])
            }
            None => return Err(self.missing("strings")),
        };
        let first_edge = self.offsets(&mut nodes, &edges)?;
        let (object_id, self_size) = nodes.take_ids_and_sizes();
        let mut columns = GraphColumns {
            format: SnapshotFormat::V8,
            root: self.root(&layout, nodes.len())?,
            node_types: layout.node_types.clone(),
            edge_types: layout.edge_types.clone(),
            node_type: nodes.kind,
            node_name: nodes.name,
            object_id,
            self_size,
            first_edge,
            edge_type: edges.kind,
            edge_label: edges.label,
            edge_target: edges.target,
            strings,
            locations: Vec::new(),
            traces: std::mem::take(&mut self.traces),
            v8: None,
        };
        if layout.node.trace_node_id.is_some() && !nodes.trace.is_empty() {
            nodes.trace.resize(columns.node_type.len(), 0);
            columns.traces.trace_of_node = nodes.trace;
        }
        columns
            .edge_type
            .truncate(columns.first_edge[columns.node_type.len()] as usize);
        columns.edge_label.truncate(columns.edge_type.len());
        columns.edge_target.truncate(columns.edge_type.len());
        if salvage {
            self.drop_dangling_edges(&mut columns);
        }
        if let Some(values) = self.locations.take() {
            let (locations, dropped) = tables::locations(&values, &layout, columns.node_type.len());
            columns.locations = locations;
            if dropped > 0 {
                self.warn(format!("{dropped} locations belong to no node"));
            }
        }
        name_unknown_types(&mut columns);
        self.check_names(&columns);
        self.check_ids(&columns);
        columns.v8 = Some(V8Facts {
            meta_json: layout.meta_json,
            extra_native_bytes: layout.extra_native_bytes,
            has_root_index: layout.root_index.is_some(),
            detachedness: layout.node.detachedness.map(|_| Detachedness {
                marked: std::mem::take(&mut nodes.detachedness),
            }),
            scopes: self.scopes.take(),
        });
        let graph = HeapGraph::from_columns(columns).map_err(|error| ReadError {
            section: "file".to_owned(),
            offset: self.end,
            problem: Problem::Inconsistent(error.to_string()),
        })?;
        Ok(Snapshot {
            graph,
            warnings: self.warnings,
        })
    }

    fn lose(&mut self, message: String) {
        self.warnings.push(Warning {
            message,
            is_loss: true,
        });
    }

    fn missing(&self, member: &str) -> ReadError {
        // Nothing useful is left, and the damage says why.
        if let Some(damage) = &self.damage {
            return damage.clone();
        }
        Cursor::new(self.source.bytes(), self.end, "file").error(Problem::NotASnapshot(format!(
            "it has no `{member}`, or an empty one"
        )))
    }

    fn not_a_snapshot(&self) -> ReadError {
        if let Some(damage) = &self.damage {
            return damage.clone();
        }
        let members = match self.other_members.as_slice() {
            [] => "it is an empty object".to_owned(),
            members => {
                let names: Vec<_> = members
                    .iter()
                    .take(6)
                    .map(|name| format!("`{name}`"))
                    .collect();
                format!("it has no `snapshot` but {}", names.join(", "))
            }
        };
        Cursor::new(self.source.bytes(), 0, "file").error(Problem::NotASnapshot(members))
    }

    fn root(&self, layout: &Layout, nodes: usize) -> Result<NodeId, ReadError> {
        let index = layout.root_index.unwrap_or(0);
        let stride = layout.node.stride as u64;
        if index.is_multiple_of(stride) && index / stride < nodes as u64 {
            return Ok(NodeId((index / stride) as u32));
        }
        Err(
            Cursor::new(self.source.bytes(), 0, "snapshot").error(Problem::Inconsistent(format!(
                "`root_index` {index} is not the index of a node"
            ))),
        )
    }

    /// Turns the edge counts into offsets, in place.
    fn offsets(
        &mut self,
        nodes: &mut NodeColumns,
        edges: &EdgeColumns,
    ) -> Result<Vec<u32>, ReadError> {
        let mut offsets = std::mem::take(&mut nodes.edge_count);
        let total = edges.kind.len() as u64;
        let mut sum = 0_u64;
        for slot in &mut offsets {
            let count = u64::from(*slot);
            *slot = sum.min(total) as u32;
            sum += count;
        }
        offsets.push(sum.min(total) as u32);
        if sum != total {
            let problem = format!("the nodes count {sum} edges, the file has {total}");
            if !self.options.salvage {
                return Err(Cursor::new(self.source.bytes(), self.end, "edges")
                    .error(Problem::Inconsistent(problem)));
            }
            self.lose(problem);
        }
        Ok(offsets)
    }

    /// Takes out edges to nodes that do not exist.
    fn drop_dangling_edges(&mut self, columns: &mut GraphColumns) {
        let mut kept = 0_usize;
        let mut from = 0;
        for node in 0..columns.node_type.len() {
            let to = columns.first_edge[node + 1] as usize;
            columns.first_edge[node] = kept as u32;
            for edge in from..to {
                if columns.edge_target[edge] != NO_TARGET {
                    columns.edge_type[kept] = columns.edge_type[edge];
                    columns.edge_label[kept] = columns.edge_label[edge];
                    columns.edge_target[kept] = columns.edge_target[edge];
                    kept += 1;
                }
            }
            from = to;
        }
        let dropped = from - kept;
        if let Some(last) = columns.first_edge.last_mut() {
            *last = kept as u32;
        }
        columns.edge_type.truncate(kept);
        columns.edge_label.truncate(kept);
        columns.edge_target.truncate(kept);
        if dropped > 0 {
            self.lose(format!(
                "{dropped} edges point to nodes that are missing and were dropped"
            ));
        }
    }

    fn check_names(&mut self, columns: &GraphColumns) {
        let strings = columns.strings.len() as u32;
        // Nearly always none: the maximum is found without a branch for each row.
        if columns
            .node_name
            .iter()
            .map(|name| name.0)
            .max()
            .is_none_or(|max| max < strings)
        {
            return;
        }
        let unnamed = columns
            .node_name
            .iter()
            .filter(|name| name.0 >= strings)
            .count();
        let message =
            format!("{unnamed} nodes have names that the strings lack; they read `#<number>`");
        self.warnings.push(Warning {
            message,
            is_loss: self.options.salvage,
        });
    }

    fn check_ids(&mut self, columns: &GraphColumns) {
        let duplicates = super::duplicates::count_duplicates(&columns.object_id);
        if duplicates > 0 {
            self.warn(format!(
                "{duplicates} nodes have an object id that another node has, too"
            ));
        }
    }
}

/// Gives type numbers beyond the header's list a name and the kind `Other`.
fn name_unknown_types(columns: &mut GraphColumns) {
    let largest = columns.node_type.iter().copied().max().unwrap_or(0) as usize;
    for number in columns.node_types.len()..=largest {
        let name = format!("unknown({number})");
        columns.node_types.push(NodeType {
            name,
            kind: NodeKind::Other,
        });
    }
    let largest = columns
        .edge_type
        .iter()
        .copied()
        .max()
        .map_or(0, |kind| kind as usize + 1);
    for number in columns.edge_types.len()..largest {
        let name = format!("unknown({number})");
        columns.edge_types.push(EdgeType {
            name,
            kind: EdgeKind::Other,
        });
    }
}
