// `node generated.js SEED CAPTURES`: native allocations from JavaScript that the compiler has optimized.

const { createHash } = require("node:crypto");
const { deflateRawSync } = require("node:zlib");

const [seed, captures] = process.argv.slice(2).map(Number);

function hash(text, depth) {
  if (depth > 0) return hash(text + depth, depth - 1);
  return createHash("sha256").update(text).digest();
}

const callers = [
  (n) => hash(`${n}`, n % 7),
  (n) => Buffer.alloc(5000 + (n % 100)),
  (n) => JSON.parse(JSON.stringify({ n, list: [n, n, n] })).list.map((x) => Buffer.from(`${x}`.repeat(9000))),
  (n) => new TextEncoder().encode(`${n}`.repeat(50)),
  (n) => (n % 50 === 0 ? deflateRawSync(`${n}`.repeat(100)) : n),
];

let sum = 0;
for (let n = seed; n < seed + captures / 12; n++) {
  const result = callers[n % callers.length](n);
  sum += result.length ?? 1;
}
console.log(sum > 0);
