// Makes real, large V8 heap snapshots: the TypeScript compiler's own heap.
//
//   node typescript-heap.mjs SOURCES STEP...
//
// SOURCES is a folder that is searched for `.ts` files. The steps run in order, in one process,
// so that two `write` steps give two snapshots of one growing heap, with stable object ids:
//
//   program:K    parses and binds the sources K times more, and keeps the K programs alive
//   leak:N       adds N records to a list that is never emptied
//   write:FILE   writes a heap snapshot and says so on stderr
//
// Needs the packages of `package.json` in this folder.

import {readdirSync} from 'node:fs';
import {Session} from 'node:inspector';
import {join} from 'node:path';
import {writeHeapSnapshot} from 'node:v8';
import ts from 'typescript';

/** One program over this many files gives a snapshot of about 116 MB. */
const FILES_PER_PROGRAM = 235;

class RequestRecord {
  constructor(number) {
    this.url = `/api/orders/${number}`;
    this.headers = {accept: 'text/html', trace: `trace-${number}`};
    this.tags = [`tag-${number % 97}`, {weight: number * 1.5}];
    this.done = () => this.url;
  }
}

const kept = {programs: [], records: new Map()};
globalThis.kept = kept;

function main([sources, ...steps]) {
  inspectSelf();
  const files = typescriptFiles(sources);
  for (const step of steps) {
    const [verb, value] = [step.slice(0, step.indexOf(':')), step.slice(step.indexOf(':') + 1)];
    switch (verb) {
      case 'program': addPrograms(files, Number(value)); break;
      case 'leak': leakRecords(Number(value)); break;
      case 'write': write(value); break;
      default: throw new Error(`unknown step ${step}`);
    }
  }
}

/** Every n-th file of the tree in name order, so that all kinds of sources take part. */
function typescriptFiles(folder) {
  const all = readdirSync(folder, {recursive: true})
      .filter(name => name.endsWith('.ts') && !name.endsWith('.d.ts'))
      .sort();
  const stride = Math.max(1, Math.floor(all.length / FILES_PER_PROGRAM));
  return all.filter((_, index) => index % stride === 0)
      .slice(0, FILES_PER_PROGRAM)
      .map(name => join(folder, name));
}

function addPrograms(files, count) {
  for (let i = 0; i < count; i++) {
    const program = ts.createProgram(files, {noResolve: true, noLib: true});
    program.getTypeChecker();  // Binds the files: symbols and their maps.
    kept.programs.push(program);
  }
}

function leakRecords(count) {
  const first = kept.records.size;
  for (let number = first; number < first + count; number++) {
    kept.records.set(number, new RequestRecord(number));
  }
}

function write(file) {
  writeHeapSnapshot(file);
  process.stderr.write(`wrote ${file}\n`);
}

/** Leaves an inspector session open for the life of the process, for two reasons. */
function inspectSelf() {
  const session = new Session();
  session.connect();
  // Without its line tables, Node 20 scans the compiler's 9 MB of source once for every function
  // it writes: minutes instead of seconds. Enabling the debugger builds the tables.
  session.post('Debugger.enable');
  session.post('Debugger.disable');
  // Without tracking, V8 is not told where the collector moves objects, and more than half of the
  // objects have another id in the next snapshot.
  session.post('HeapProfiler.enable');
  session.post('HeapProfiler.startTrackingHeapObjects', {trackAllocations: false});
}

main(process.argv.slice(2));
process.exit();  // The open session would keep the process alive.
