// memlab as a rival in the benchmark: opens a snapshot, computes dominators and retained sizes, and
// groups the objects into classes.
//
//   node memlab.mjs FILE
//
// Prints {nodes, edges, total, classes} as JSON: enough to see that it did the same work.

import memlab from '@memlab/heap-analysis';

const heap = await quietly(() => memlab.getFullHeapFromFile(process.argv[2]));
const classes = new Map();
let total = 0;
heap.nodes.forEach(node => {
  // As the others do: named objects by name, everything else by what it is.
  const key = ['object', 'native'].includes(node.type) ? node.name : `(${node.type})`;
  const row = classes.get(key) ?? {count: 0, shallow: 0, retained: 0};
  row.count += 1;
  row.shallow += node.self_size;
  row.retained = Math.max(row.retained, node.retainedSize);
  classes.set(key, row);
  total += node.self_size;
});
const report = {nodes: heap.nodes.length, edges: heap.edges.length, total, classes: classes.size};
process.stdout.write(JSON.stringify(report) + '\n');

/** memlab writes its progress to stdout. */
async function quietly(work) {
  const {write} = process.stdout;
  process.stdout.write = () => true;
  try {
    return await work();
  } finally {
    process.stdout.write = write;
  }
}
