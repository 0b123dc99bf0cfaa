// The oracle: what Chrome DevTools' own heap snapshot worker says about a file.
//
//   node oracle.mjs [OPTION...] FILE [FILE2]
//
// `cargo xtask test` puts it at `$HEAPATLAS_PEERS_DIR/devtools/oracle.mjs`. Needs Node 18 or later.
// FILE may be gzip-compressed. Large files need `node --max-old-space-size=MB oracle.mjs …`.
//
// Prints one JSON object:
//
//   nodes, edges            counts
//   total                   bytes
//   maxJSObjectId
//   statistics              {total, native: {total, typedArrays},
//                            v8heap: {total, code, jsArrays, strings, system}}
//   aggregates              {KEY: {name, count, distance, shallow, retained}}, one for each class;
//                           KEY is `,NAME`, or `SCRIPT,LINE,COLUMN,NAME` when a location is known
//
// With FILE2, `{base: {…}, current: {…}, compare: {…}}`: the object above for both files, and
//
//   compare.totals          {new, deleted, delta, allocSize, freedSize, sizeDelta}
//   compare.classes         [{key, name, new, deleted, delta, allocSize, freedSize, sizeDelta}],
//                           the classes that changed, by falling |sizeDelta|
//
// Options:
//
//   --brief     no `aggregates` and no `compare.classes`: counts and totals only (all is computed)
//   --filters   adds `filters`: {NAME: {classes, objects, shallow}} for DevTools' five named filters
//   --values    adds `values`, for each node in file order: {id, type, name, class, shallow,
//               retained, distance, dominator (id), detachedness}
//   --timings   adds `timings`: {PHASE: {cpu_ms, wall_ms}}; phases `load` (reading and parsing),
//               `build` (dominators, distances, …), `aggregates`; `compare` for two files
//
// A file that the worker cannot load makes it exit with 1 and a message on stderr.

import './polyfill.mjs';
import {createReadStream, openSync, readSync, closeSync} from 'node:fs';
import {Worker} from 'node:worker_threads';
import {createGunzip} from 'node:zlib';
import {HeapSnapshotLoader, NodeFilter} from './worker.mjs';

/** DevTools' own front end hands the file to the worker in pieces of this many bytes. */
const CHUNK_BYTES = 10_000_000;

const NAMED_FILTERS = [
  'duplicatedStrings',
  'objectsRetainedByDetachedDomNodes',
  'objectsRetainedByConsole',
  'objectsRetainedByContexts',
  'objectsRetainedByEventHandlers',
];

async function main(args) {
  const options = new Set(args.filter(arg => arg.startsWith('--')));
  const files = args.filter(arg => !arg.startsWith('--'));
  if (files.length < 1 || files.length > 2) {
    throw new Error('usage: node oracle.mjs [--brief] [--filters] [--values] [--timings] FILE [FILE2]');
  }
  const opened = [];
  for (const file of files) {
    opened.push(await open(file, options));
  }
  const [base, current] = opened;
  const report = current ? compare(base, current, options) : base.report;
  process.stdout.write(JSON.stringify(report, null, 1) + '\n');
}

async function open(file, options) {
  const clock = new PhaseClock();
  const loader = new HeapSnapshotLoader({sendEvent() {}});
  await feed(loader, file);
  await loader.parsingComplete;
  clock.endOf('load');

  const secondary = new Worker(new URL('./secondary.mjs', import.meta.url));
  const {port1, port2} = new MessageChannel();
  secondary.postMessage(port2, [port2]);
  port1.ref();
  const snapshot = await loader.buildSnapshot(port1);
  port1.close();
  await secondary.terminate();
  clock.endOf('build');

  const aggregates = snapshot.aggregatesWithFilter(new NodeFilter());
  clock.endOf('aggregates');
  return {snapshot, report: reportOf(snapshot, aggregates, clock, options)};
}

async function feed(loader, file) {
  const raw = createReadStream(file, {highWaterMark: CHUNK_BYTES});
  const text = isGzip(file) ? raw.pipe(createGunzip({chunkSize: CHUNK_BYTES})) : raw;
  text.setEncoding('utf8');
  for await (const chunk of text) {
    loader.write(chunk);
    await new Promise(setImmediate);  // Lets the loader parse this piece before the next is read.
  }
  loader.close();
}

function isGzip(file) {
  const handle = openSync(file);
  const magic = Buffer.alloc(2);
  readSync(handle, magic, 0, 2, 0);
  closeSync(handle);
  return magic.equals(Buffer.from([0x1f, 0x8b]));
}

function reportOf(snapshot, aggregates, clock, options) {
  const report = {
    nodes: snapshot.nodeCount,
    edges: snapshot.containmentEdges.length / snapshot.edgeFieldsCount,
    total: snapshot.totalSize,
    maxJSObjectId: snapshot.maxJsNodeId(),
    statistics: snapshot.getStatistics(),
  };
  if (!options.has('--brief')) {
    report.aggregates = aggregatesReport(aggregates);
  }
  if (options.has('--filters')) {
    report.filters = Object.fromEntries(NAMED_FILTERS.map(name => [name, filterTotals(snapshot, name)]));
  }
  if (options.has('--values')) {
    report.values = nodeValues(snapshot);
  }
  if (options.has('--timings')) {
    report.timings = clock.phases;
  }
  return report;
}

function aggregatesReport(aggregates) {
  return Object.fromEntries(Object.entries(aggregates).map(([key, {name, count, distance, self, maxRet}]) =>
    [key, {name, count, distance, shallow: self, retained: maxRet}]));
}

function filterTotals(snapshot, filterName) {
  const filter = new NodeFilter();
  filter.filterName = filterName;
  const classes = Object.values(snapshot.aggregatesWithFilter(filter));
  return {
    classes: classes.length,
    objects: sum(classes, ({count}) => count),
    shallow: sum(classes, ({self}) => self),
  };
}

function nodeValues(snapshot) {
  const values = [];
  const dominator = snapshot.createNode(0);
  for (let it = snapshot.allNodes(); it.hasNext(); it.next()) {
    const node = it.item();
    dominator.nodeIndex = snapshot.dominatorsTree[node.ordinal()] * snapshot.nodeFieldCount;
    values.push({
      id: node.id(),
      type: node.type(),
      name: node.name(),
      class: node.className(),
      shallow: node.selfSize(),
      retained: node.retainedSize(),
      distance: node.distance(),
      dominator: dominator.id(),
      detachedness: node.detachedness(),
    });
  }
  return values;
}

function compare(base, current, options) {
  const clock = new PhaseClock();
  const before = base.snapshot.aggregatesForDiff(current.snapshot.interfaceDefinitions());
  const diff = current.snapshot.calculateSnapshotDiff('base', before);
  clock.endOf('compare');
  const classes = Object.entries(diff).map(([key, row]) => ({
    key,
    name: row.name,
    new: row.addedCount,
    deleted: row.removedCount,
    delta: row.countDelta,
    allocSize: row.addedSize,
    freedSize: row.removedSize,
    sizeDelta: row.sizeDelta,
  }));
  const totals = Object.fromEntries(['new', 'deleted', 'delta', 'allocSize', 'freedSize', 'sizeDelta']
    .map(column => [column, sum(classes, row => row[column])]));
  const report = {changedClasses: classes.length, totals};
  if (!options.has('--brief')) {
    report.classes = classes.sort((a, b) => Math.abs(b.sizeDelta) - Math.abs(a.sizeDelta));
  }
  if (options.has('--timings')) {
    report.timings = clock.phases;
  }
  return {base: base.report, current: current.report, compare: report};
}

function sum(rows, value) {
  return rows.reduce((total, row) => total + value(row), 0);
}

/** Splits the time since its making into phases. CPU time is that of all threads. */
class PhaseClock {
  phases = {};
  #cpu = process.cpuUsage();
  #wall = performance.now();

  endOf(phase) {
    const {user, system} = process.cpuUsage(this.#cpu);
    this.phases[phase] = {
      cpu_ms: Math.round((user + system) / 1000),
      wall_ms: Math.round(performance.now() - this.#wall),
    };
    this.#cpu = process.cpuUsage();
    this.#wall = performance.now();
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`error: ${error.stack ?? error}\n`);
  process.exit(1);
}
