// For browsers: fetches what it needs from where it came from, and sends the answers back.
import { play } from "./driver.js";

try {
  const module = await WebAssembly.compileStreaming(fetch("/module.wasm"));
  const { body } = await fetch("/corpus");
  await fetch("/answers", { method: "POST", body: await play(module, body) });
} catch (e) {
  await fetch("/failure", { method: "POST", body: String(e?.stack ?? e) });
}
