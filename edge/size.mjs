// Prints how large the modules are, raw and compressed as they travel, and fails if one is larger than it may be. KiB; brotli is what counts.
//
//   node edge/size.mjs <file> <most> …
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const kib = (n) => (n / 1024).toFixed(1);
const args = process.argv.slice(2);
console.log("module".padEnd(28), "raw".padStart(8), "gzip".padStart(8), "brotli".padStart(8), "at most".padStart(8));
for (let i = 0; i < args.length; i += 2) {
  const bytes = readFileSync(args[i]);
  const brotli = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  }).length;
  const most = Number(args[i + 1]);
  const met = brotli <= most * 1024;
  console.log(
    basename(args[i]).padEnd(28),
    ...[kib(bytes.length), kib(gzipSync(bytes, { level: 9 }).length), kib(brotli), String(most)].map((s) => s.padStart(8)),
    met ? "met" : "short",
  );
  if (!met) process.exitCode = 1;
}
