// For Node, Deno and Bun: node run.mjs <host.wasm> <own.wasm> <data> <modules of npm> <rounds>
import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { contenders, measure, start, warmUp } from "./bench.js";

const [host, own, data, npm, rounds] = process.argv.slice(2);
const require = createRequire(pathToFileURL(npm + "/x.js"));
const bytes = { host: await readFile(host), own: await readFile(own) };
const list = await contenders({
  modules: { host: await WebAssembly.compile(bytes.host), own: await WebAssembly.compile(bytes.own) }, data: JSON.parse(await readFile(data, "utf8")),
  jose: await import(pathToFileURL(npm + "/jose/dist/webapi/index.js").href), fastJwt: require("fast-jwt"),
  pem: (key) => createPublicKey({ key, format: "jwk" }).export({ type: "spki", format: "pem" }),
});
const started = { host: await start(bytes.host), own: await start(bytes.own) };
await warmUp(list);
const rows = await measure(list, Number(rounds));
console.log(JSON.stringify({ started, rows }));
process.exit(0);
