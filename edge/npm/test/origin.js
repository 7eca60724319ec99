// Starts the origin of the tests, a Go program, and ends it when the test does.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** Builds and starts an origin. */
export async function startOrigin() {
  const dir = mkdtempSync(join(tmpdir(), "counterfoil-edge-"));
  const program = join(dir, "origin");
  const built = spawnSync("go", ["build", "-buildvcs=false", "-o", program, "./internal/edge/origin"], { cwd: root, encoding: "utf8", timeout: 240_000 });
  if (built.status !== 0) throw new Error(built.stderr);
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const line = await new Promise((done, fail) => {
    lines.once("line", done);
    child.once("exit", (code) => fail(new Error(`the origin ended with ${code}`)));
  });
  const d = JSON.parse(line);
  return {
    ...d,
    /** What createGuard takes of it. */
    options: { issuer: d.issuer, audience: d.audience, origin: d.origin, credential: d.credential, frameKeys: d.frameKey },
    async login(subject = "alice") {
      const r = await fetch(`${d.origin}/login`, { method: "POST", body: new URLSearchParams({ subject }) });
      return (await r.json()).access;
    },
    async logout(token) {
      const r = await fetch(`${d.origin}/session/logout`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
      if (r.status !== 204) throw new Error(`logout: ${r.status}`);
    },
    async stop() {
      child.removeAllListeners("exit");
      const ended = new Promise((done) => child.once("exit", done));
      child.stdin.end();
      await ended;
      rmSync(dir, { recursive: true });
    },
  };
}

/** Serves handler on this machine. */
export async function serve(handler) {
  const server = createServer(handler);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  };
}

/** Passes requests on to an origin, as long as interfere does not answer instead by returning true. */
export function proxy(origin, interfere = () => false) {
  return serve(async (req, res) => {
    try {
      if (await interfere(req, res)) return;
      const body = [];
      for await (const chunk of req) body.push(chunk);
      const headers = Object.fromEntries(["authorization", "content-type"].filter((n) => n in req.headers).map((n) => [n, req.headers[n]]));
      const r = await fetch(origin + req.url, { method: req.method, headers, body: body.length ? Buffer.concat(body) : undefined, redirect: "manual" });
      res.writeHead(r.status, { "content-type": r.headers.get("content-type") ?? "" });
      res.end(Buffer.from(await r.arrayBuffer()));
    } catch {
      res.destroy();
    }
  });
}

/** Waits until what is said holds, for at most some seconds. */
export async function until(what, holds, ms = 10_000) {
  const end = performance.now() + ms;
  for (;;) {
    if (await holds()) return;
    if (performance.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}
