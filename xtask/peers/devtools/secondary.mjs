// The second thread of the DevTools worker: retainers, dominators and retained sizes.

import './polyfill.mjs';
import {parentPort} from 'node:worker_threads';
import {SecondaryInitManager} from './worker.mjs';

parentPort.once('message', port => {
  port.ref();  // A port listened to by `addEventListener` does not keep the thread alive.
  new SecondaryInitManager(port);
});
