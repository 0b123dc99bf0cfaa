// What the DevTools worker expects of its world, and older Nodes do not have.

globalThis.self ??= globalThis;

Promise.withResolvers ??= function() {
  let resolve, reject;
  const promise = new Promise((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return {promise, resolve, reject};
};

Array.prototype.toSorted ??= function(compare) {
  return [...this].sort(compare);
};
