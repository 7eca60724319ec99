// For browsers: fetches what it needs from where it came from, and sends the figures back.
import * as jose from "/internal/e2e/edge/runtimes/node_modules/jose/dist/webapi/index.js";
import { contenders, measure, start, warmUp } from "./bench.js";

try {
  const bytes = {};
  for (const name of ["host", "own"]) bytes[name] = new Uint8Array(await (await fetch(`/edge/npm/${name}.wasm`)).arrayBuffer());
  const list = await contenders({
    modules: { host: await WebAssembly.compile(bytes.host), own: await WebAssembly.compile(bytes.own) }, data: await (await fetch("/data.json")).json(), jose,
  });
  const started = { host: await start(bytes.host), own: await start(bytes.own) };
  await warmUp(list);
  // The clock of a page that is not isolated from others has steps of 0.1 ms: turns are longer here.
  const rows = await measure(list, 20, 12);
  await fetch("/figures", { method: "POST", body: JSON.stringify({ started, rows }) });
} catch (e) {
  await fetch("/failure", { method: "POST", body: String(e?.stack ?? e) });
}
