import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { bounded, End } from "../fetch.js";
import { serve } from "./origin.js";

let server, elsewhere, open = 0;
before(async () => {
  elsewhere = await serve((req, res) => res.writeHead(200, { "content-type": "application/json" }).end("{}"));
  server = await serve((req, res) => {
    const begin = (headers = {}) => res.writeHead(200, { "content-type": "application/json; charset=utf-8", ...headers });
    open++;
    res.on("close", () => open--);
    const how = {
      "/good": () => begin().end('{"a":1}'),
      "/empty": () => begin().end(),
      "/silent": () => {},
      "/begun": () => begin().write("{"),
      "/drip": () => { begin(); const t = setInterval(() => res.write(" "), 5); res.on("close", () => clearInterval(t)); },
      "/flood": () => { begin(); const flood = () => { while (!res.destroyed && res.write(Buffer.alloc(65536))); }; res.on("drain", flood); flood(); },
      "/declared": () => begin({ "content-length": "1000000" }).write("{"),
      "/html": () => res.writeHead(200, { "content-type": "text/html" }).end("<html>"),
      "/untyped": () => res.writeHead(200).end("{}"),
      "/redirect": () => res.writeHead(302, { location: elsewhere.url }).end(),
      "/here": () => res.writeHead(307, { location: "/good" }).end(),
      "/error": () => res.writeHead(503, { "content-type": "application/json" }).end("{}"),
      "/reset": () => res.destroy(),
      "/cut": () => { begin({ "content-length": "100" }).write("{"); setTimeout(() => res.destroy(), 20); },
    }[req.url];
    how();
  });
});
after(async () => {
  await server.stop();
  await elsewhere.stop();
});

const get = (path, more) => bounded(fetch, server.url + path, {}, { type: "application/json", most: 1000, timeout: 300, ...more });

test("what is as it must be", async () => {
  assert.equal(new TextDecoder().decode(await get("/good")), '{"a":1}');
  assert.equal((await get("/empty")).length, 0);
});

for (const [path, why] of Object.entries({
  "/silent": /in time/, "/begun": /in time/, "/drip": /in time/, "/flood": /too long/, "/declared": /too long/, "/html": /another type/, "/untyped": /another type/, "/redirect": /elsewhere/,
  "/here": /elsewhere/, "/error": /status 503/, "/reset": /./, "/cut": /./,
})) {
  test(`${path} ends`, async () => {
    const began = performance.now();
    await assert.rejects(get(path), why);
    assert.ok(performance.now() - began < 3000);
  });
}

test("no connection is left", async () => {
  for (let i = 0; i < 200 && open > 0; i++) await new Promise((done) => setTimeout(done, 10));
  assert.equal(open, 0);
});

test("whoever closes need not wait", async () => {
  const closed = new End();
  const waiting = get("/silent", { timeout: 60_000, end: closed });
  closed.now();
  await assert.rejects(waiting, /closed/);
  await assert.rejects(get("/good", { end: closed }), /closed/);
});

test("a fetch that knows no bounds is bounded too", async () => {
  const deaf = () => new Promise(() => {});
  await assert.rejects(bounded(deaf, "https://origin.test", {}, { type: "application/json", most: 10, timeout: 20 }), /in time/);
});
