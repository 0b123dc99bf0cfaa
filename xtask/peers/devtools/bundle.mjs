// Bundles the heap snapshot worker of Chrome DevTools, which npm has as TypeScript sources only,
// into `worker.mjs` next to this script.
//
// The worker needs little of what it imports. What would drag in half of the front end (translated
// texts, the code mirror editor, the browser's host runtime) is replaced by the stubs below.

import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {build} from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const frontEnd = join(here, 'node_modules/chrome-devtools-frontend/front_end');
const workerFolder = join(frontEnd, 'entrypoints/heap_snapshot_worker');

const ENTRY = `
export {HeapSnapshotProgress, SecondaryInitManager} from './HeapSnapshot.js';
export {HeapSnapshotLoader} from './HeapSnapshotLoader.js';
export {NodeFilter} from '../../models/heap_snapshot/HeapSnapshotModel.js';
`;

/** What stands in for an imported module, by the end of its path in the sources. */
const STUBS = {
  'core/i18n/i18n.js': 'export const i18n = {serializeUIString: string => string};',
  'core/platform/HostRuntime.js': 'export const HOST_RUNTIME = {};',
  'core/text_utils/text_utils.js': `export * as TextUtils from '${frontEnd}/core/text_utils/TextUtils.ts';`,
  'core/text_utils/ContentData.js': 'export class ContentData {}',
  'core/text_utils/ContentProvider.js': 'export class SearchMatch {}',
  'models/heap_snapshot/heap_snapshot.js':
      `export * as HeapSnapshotModel from '${frontEnd}/models/heap_snapshot/HeapSnapshotModel.ts';`,
};

const stubs = {
  name: 'stubs',
  setup(build) {
    build.onResolve({filter: /^\./}, ({path, resolveDir}) => {
      const target = join(resolveDir, path);
      const stub = Object.keys(STUBS).find(end => target === join(frontEnd, end));
      return stub && {path: stub, namespace: 'stub'};
    });
    build.onLoad({filter: /.*/, namespace: 'stub'}, ({path}) => ({contents: STUBS[path], resolveDir: here}));
  },
};

await build({
  stdin: {contents: ENTRY, resolveDir: workerFolder, sourcefile: 'worker-entry.js'},
  outfile: join(here, 'worker.mjs'),
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node18',
  logLevel: 'warning',
  plugins: [stubs],
});
