//! JSON for programs. **This is a contract**: docs/reference/json.md describes each field, and
//! tests hold both. Fields are added, never renamed, moved or taken away.
//!
//! The types here are ours alone; analysis results are converted into them, so that a change there
//! does not break a user's script. Lists are converted while they are written. What is printed of
//! allocation profiles stands in `profile_json`.

use std::io::{self, Write};

use heapatlas_analysis::{
    AllocatingFunction, Change, ClassChange, ClassRow, ClassSeries, Comparison, DuplicateStrings,
    EdgeView, GrowthPoint, Heap, NativeContext, NativeContexts, NodeView, PathShare, PathStep,
    Series, Statistics, StringGroup, Summary, Suspect, TimelineSample,
};
use heapatlas_model::edge_type_name;
use serde::{Serialize, Serializer};

use crate::commands::details::{Details, DistanceCount, line_and_column};

/// The version that each object begins with.
pub const VERSION: u32 = 1;

/// Writes a value and ends the line.
pub fn write(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// A list that is converted row by row while it is written.
pub struct Rows<I>(pub I);

impl<I> Serialize for Rows<I>
where
    I: Iterator + Clone,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// `summary --json`, with these of its classes, and with `--details` if there are any.
pub fn summary(
    out: &mut dyn Write,
    summary: &Summary,
    classes: &[&ClassRow],
    details: Option<(&Details, &Heap)>,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<C, D> {
        version: u32,
        format: &'static str,
        nodes: u64,
        edges: u64,
        total_bytes: u64,
        statistics: Option<StatisticsObject>,
        classes: C,
        #[serde(flatten)]
        details: Option<D>,
    }
    let object = Object {
        version: VERSION,
        format: summary.format,
        nodes: summary.nodes,
        edges: summary.edges,
        total_bytes: summary.total_bytes,
        statistics: summary.statistics.map(StatisticsObject::new),
        classes: Rows(classes.iter().map(|row| ClassObject::new(row))),
        details: details.map(|(details, heap)| details_object(details, heap)),
    };
    write(out, &object)
}

fn details_object<'a>(details: &'a Details, heap: &'a Heap) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Object<D, N, S, A, T> {
        distances: D,
        native_contexts: N,
        duplicate_strings: S,
        allocation_sites: A,
        samples: T,
    }
    Object {
        distances: Rows(details.distances.iter().map(DistanceObject::new)),
        native_contexts: contexts_object(&details.native_contexts, heap),
        duplicate_strings: strings_object(&details.duplicate_strings),
        allocation_sites: Rows(details.allocation_sites.iter().map(SiteObject::new)),
        samples: Rows(details.samples.iter().map(SampleObject::new)),
    }
}

#[derive(Serialize)]
struct DistanceObject {
    distance: Option<u32>,
    collector_distance: Option<u32>,
    nodes: u64,
}

impl DistanceObject {
    fn new(count: &DistanceCount) -> Self {
        Self {
            distance: count.distance,
            collector_distance: count.collector_distance,
            nodes: count.nodes,
        }
    }
}

fn contexts_object<'a>(contexts: &'a NativeContexts, heap: &'a Heap) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Object<C> {
        contexts: C,
        shared_bytes: u64,
        unattributed_bytes: u64,
    }
    #[derive(Serialize)]
    struct ContextObject {
        id: u64,
        name: String,
        shallow_bytes: u64,
        retained_bytes: u64,
        attributed_bytes: u64,
    }
    let context = |context: &NativeContext| ContextObject {
        id: heap.graph().object_id(context.node),
        name: heap.display_name(context.node),
        shallow_bytes: heap.shallow_bytes(context.node),
        retained_bytes: heap.retained_bytes(context.node),
        attributed_bytes: context.attributed_bytes,
    };
    Object {
        contexts: Rows(contexts.contexts.iter().map(context)),
        shared_bytes: contexts.shared_bytes,
        unattributed_bytes: contexts.unattributed_bytes,
    }
}

fn strings_object(strings: &DuplicateStrings) -> impl Serialize {
    #[derive(Serialize)]
    struct Object<G, P> {
        groups: G,
        perhaps: P,
    }
    Object {
        groups: Rows(strings.groups.iter().map(StringGroupObject::new)),
        perhaps: Rows(strings.perhaps.iter().map(StringGroupObject::new)),
    }
}

#[derive(Serialize)]
struct StringGroupObject<'a> {
    text: &'a str,
    count: usize,
    shallow_bytes: u64,
}

impl<'a> StringGroupObject<'a> {
    fn new(group: &'a StringGroup) -> Self {
        Self {
            text: &group.text,
            count: group.nodes.len(),
            shallow_bytes: group.shallow_bytes,
        }
    }
}

#[derive(Serialize)]
struct SiteObject<'a> {
    function: &'a str,
    script: &'a str,
    script_id: u32,
    line: Option<u32>,
    column: Option<u32>,
    blocks: u64,
    bytes: u64,
    live_blocks: u64,
    live_bytes: u64,
}

impl<'a> SiteObject<'a> {
    fn new(site: &'a AllocatingFunction) -> Self {
        let place = line_and_column(site);
        Self {
            function: &site.name,
            script: &site.script_name,
            script_id: site.script_id,
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            blocks: site.blocks,
            bytes: site.bytes,
            live_blocks: site.live_blocks,
            live_bytes: site.live_bytes,
        }
    }
}

#[derive(Serialize)]
struct SampleObject {
    timestamp_us: u64,
    last_object_id: u64,
    live_blocks: u64,
    live_bytes: u64,
}

impl SampleObject {
    fn new(sample: &TimelineSample) -> Self {
        Self {
            timestamp_us: sample.timestamp_us,
            last_object_id: sample.last_object_id,
            live_blocks: sample.live_blocks,
            live_bytes: sample.live_bytes,
        }
    }
}

#[derive(Serialize)]
struct StatisticsObject {
    total: u64,
    code: u64,
    strings: u64,
    js_arrays: u64,
    typed_arrays: u64,
    native: u64,
    system: u64,
}

impl StatisticsObject {
    fn new(statistics: Statistics) -> Self {
        Self {
            total: statistics.total,
            code: statistics.code,
            strings: statistics.strings,
            js_arrays: statistics.js_arrays,
            typed_arrays: statistics.typed_arrays,
            native: statistics.native,
            system: statistics.system,
        }
    }
}

#[derive(Serialize)]
struct ClassObject<'a> {
    name: &'a str,
    key: &'a str,
    count: u64,
    distance: Option<u32>,
    shallow_bytes: u64,
    retained_bytes: Option<u64>,
}

impl<'a> ClassObject<'a> {
    fn new(row: &'a ClassRow) -> Self {
        Self {
            name: &row.name,
            key: &row.key,
            count: row.count,
            distance: row.distance,
            shallow_bytes: row.shallow_bytes,
            retained_bytes: row.retained_bytes,
        }
    }
}

/// `compare A B --json`, with these of its classes.
pub fn comparison(
    out: &mut dyn Write,
    comparison: &Comparison,
    classes: &[&ClassChange],
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<S> {
        version: u32,
        #[serde(flatten)]
        step: S,
    }
    write(
        out,
        &Object {
            version: VERSION,
            step: step_object(comparison, classes),
        },
    )
}

/// `compare A B C… --json`: for each step these of its classes, and these of the series.
pub fn series(
    out: &mut dyn Write,
    series: &Series,
    step_classes: &[Vec<&ClassChange>],
    classes: &[&ClassSeries],
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<S, C> {
        version: u32,
        steps: S,
        classes: C,
    }
    let steps = series.steps.iter().zip(step_classes);
    let object = Object {
        version: VERSION,
        steps: Rows(steps.map(|(step, classes)| step_object(step, classes))),
        classes: Rows(classes.iter().map(|class| ClassSeriesObject::new(class))),
    };
    write(out, &object)
}

fn step_object<'a>(comparison: &Comparison, classes: &'a [&ClassChange]) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Step<C> {
        totals: ChangeObject,
        classes: C,
    }
    Step {
        totals: ChangeObject::new(&comparison.totals),
        classes: Rows(classes.iter().map(|class| ClassChangeObject::new(class))),
    }
}

#[derive(Serialize)]
struct ChangeObject {
    new: u64,
    deleted: u64,
    delta: i64,
    allocated_bytes: u64,
    freed_bytes: u64,
    delta_bytes: i64,
}

impl ChangeObject {
    fn new(change: &Change) -> Self {
        Self {
            new: change.new,
            deleted: change.deleted,
            delta: change.delta(),
            allocated_bytes: change.allocated_bytes,
            freed_bytes: change.freed_bytes,
            delta_bytes: change.delta_bytes(),
        }
    }
}

#[derive(Serialize)]
struct ClassChangeObject<'a> {
    name: &'a str,
    key: &'a str,
    #[serde(flatten)]
    change: ChangeObject,
    paths: Vec<PathShareObject<'a>>,
}

impl<'a> ClassChangeObject<'a> {
    fn new(class: &'a ClassChange) -> Self {
        Self {
            name: &class.name,
            key: &class.key,
            change: ChangeObject::new(&class.change),
            paths: class.paths.iter().map(PathShareObject::new).collect(),
        }
    }
}

#[derive(Serialize)]
struct PathShareObject<'a> {
    path: &'a str,
    count: u64,
}

impl<'a> PathShareObject<'a> {
    fn new(share: &'a PathShare) -> Self {
        Self {
            path: &share.path,
            count: share.count,
        }
    }
}

#[derive(Serialize)]
struct ClassSeriesObject<'a> {
    name: &'a str,
    key: &'a str,
    count: &'a [u64],
    shallow_bytes: &'a [u64],
    retained_bytes: &'a [u64],
}

impl<'a> ClassSeriesObject<'a> {
    fn new(class: &'a ClassSeries) -> Self {
        Self {
            name: &class.name,
            key: &class.key,
            count: &class.count,
            shallow_bytes: &class.shallow_bytes,
            retained_bytes: &class.retained_bytes,
        }
    }
}

/// `leaks --json`.
pub fn leaks(out: &mut dyn Write, suspects: &[Suspect]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<S> {
        version: u32,
        suspects: S,
    }
    let suspects = Rows(suspects.iter().map(SuspectObject::new));
    write(
        out,
        &Object {
            version: VERSION,
            suspects,
        },
    )
}

#[derive(Serialize)]
struct SuspectObject<'a> {
    id: &'a str,
    kind: &'a str,
    detector: &'a str,
    name: &'a str,
    growth: Vec<GrowthObject>,
    retained_bytes: u64,
    path: Vec<StepObject<'a>>,
    why: &'a str,
}

impl<'a> SuspectObject<'a> {
    fn new(suspect: &'a Suspect) -> Self {
        Self {
            id: &suspect.id,
            kind: suspect.kind,
            detector: suspect.detector,
            name: &suspect.name,
            growth: suspect.growth.iter().map(GrowthObject::new).collect(),
            retained_bytes: suspect.retained_bytes,
            path: suspect.path.iter().map(StepObject::new).collect(),
            why: &suspect.why,
        }
    }
}

#[derive(Serialize)]
struct GrowthObject {
    count: u64,
    bytes: u64,
}

impl GrowthObject {
    fn new(point: &GrowthPoint) -> Self {
        Self {
            count: point.count,
            bytes: point.bytes,
        }
    }
}

#[derive(Serialize)]
struct StepObject<'a> {
    edge: Option<&'a str>,
    node: &'a str,
}

impl<'a> StepObject<'a> {
    fn new(step: &'a PathStep) -> Self {
        Self {
            edge: step.edge.as_deref(),
            node: &step.node,
        }
    }
}

/// An object and what surrounds it, for `show`.
pub struct ObjectView {
    /// The object.
    pub node: NodeView,
    /// Its immediate dominator's number.
    pub dominator: u64,
    /// What it refers to.
    pub fields: Vec<EdgeView>,
    /// Who refers to it.
    pub retainers: Vec<EdgeView>,
    /// From its immediate dominator up to the root.
    pub dominators: Vec<NodeView>,
    /// What it immediately dominates.
    pub dominated: Vec<NodeView>,
    /// From the root down to it.
    pub path: Vec<(Option<EdgeView>, NodeView)>,
    /// The same in one line.
    pub path_in_words: String,
}

/// `show FILE @ID --json`; lists are cut at `limit`.
pub fn object(out: &mut dyn Write, view: &ObjectView, limit: usize) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<'a, F, R, U, D, P> {
        version: u32,
        object: NodeObject<'a>,
        dominator: u64,
        fields: F,
        retainers: R,
        dominators: U,
        dominated: D,
        path: P,
        path_in_words: &'a str,
    }
    let object = Object {
        version: VERSION,
        object: NodeObject::new(&view.node),
        dominator: view.dominator,
        fields: Rows(view.fields.iter().take(limit).map(EdgeObject::new)),
        retainers: Rows(view.retainers.iter().take(limit).map(EdgeObject::new)),
        dominators: Rows(view.dominators.iter().map(NodeObject::new)),
        dominated: Rows(view.dominated.iter().take(limit).map(NodeObject::new)),
        path: Rows(
            view.path
                .iter()
                .map(|(edge, node)| PathNodeObject::new(edge.as_ref(), node)),
        ),
        path_in_words: &view.path_in_words,
    };
    write(out, &object)
}

/// `show FILE CLASS --json`: classes of that name or key, and these of their objects.
pub fn class(out: &mut dyn Write, classes: &[&ClassRow], objects: &[NodeView]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<C, O> {
        version: u32,
        classes: C,
        objects: O,
    }
    let object = Object {
        version: VERSION,
        classes: Rows(classes.iter().map(|row| ClassObject::new(row))),
        objects: Rows(objects.iter().map(NodeObject::new)),
    };
    write(out, &object)
}

#[derive(Serialize)]
struct NodeObject<'a> {
    id: u64,
    #[serde(rename = "type")]
    type_name: &'a str,
    class: &'a str,
    name: &'a str,
    shallow_bytes: u64,
    retained_bytes: u64,
    distance: Option<u32>,
    detachedness: Option<&'static str>,
    location: Option<LocationObject>,
}

impl<'a> NodeObject<'a> {
    fn new(node: &'a NodeView) -> Self {
        Self {
            id: node.object_id,
            type_name: &node.type_name,
            class: &node.class,
            name: &node.display_name,
            shallow_bytes: node.shallow_bytes,
            retained_bytes: node.retained_bytes,
            distance: node.distance,
            detachedness: detachedness_word(node.detachedness),
            location: node.location.map(LocationObject::new),
        }
    }
}

/// The word for a state; `None` where the writer did not know it.
pub fn detachedness_word(state: u8) -> Option<&'static str> {
    match state {
        1 => Some("attached"),
        2 => Some("detached"),
        _ => None,
    }
}

#[derive(Serialize)]
struct LocationObject {
    script_id: u32,
    line: u32,
    column: u32,
}

impl LocationObject {
    /// People and editors count lines and columns from 1, files from 0.
    fn new((script_id, line, column): (u32, u32, u32)) -> Self {
        Self {
            script_id,
            line: line.saturating_add(1),
            column: column.saturating_add(1),
        }
    }
}

#[derive(Serialize)]
struct EdgeObject<'a> {
    edge_type: &'static str,
    edge: &'a str,
    node: NodeObject<'a>,
}

impl<'a> EdgeObject<'a> {
    fn new(edge: &'a EdgeView) -> Self {
        Self {
            edge_type: edge_type_name(edge.kind),
            edge: &edge.label,
            node: NodeObject::new(&edge.node),
        }
    }
}

#[derive(Serialize)]
struct PathNodeObject<'a> {
    edge_type: Option<&'static str>,
    edge: Option<&'a str>,
    node: NodeObject<'a>,
}

impl<'a> PathNodeObject<'a> {
    fn new(edge: Option<&'a EdgeView>, node: &'a NodeView) -> Self {
        Self {
            edge_type: edge.map(|edge| edge_type_name(edge.kind)),
            edge: edge.map(|edge| edge.label.as_str()),
            node: NodeObject::new(node),
        }
    }
}
