// A Koa application beside the one on Fiber: it takes the tokens that Fiber gave out, knows when their sessions have ended, and shows the same
// count of visits. It has no session store, no secret, and no Redis.
//
//   make module                                          # the edge module; Node, for its size
//   npm ci --prefix examples/koa
//   go run ./examples/worker -env > /tmp/edge.env &      # the Fiber application, and what this one is told
//   until [ -s /tmp/edge.env ]; do sleep 1; done         # it is built first
//   (set -a; . /tmp/edge.env; PORT=3002 npm start --prefix examples/koa)
//
// In another terminal, log in at the one and look at the other:
//
//   curl -c jar -b jar -d name=ada http://127.0.0.1:3001/login
//   curl -c jar -b jar http://127.0.0.1:3001/            # ada, visit 1, says Fiber
//   curl -b jar http://127.0.0.1:3002/                   # and so does Koa
import { readFile } from "node:fs/promises";
import { createGuard } from "counterfoil-edge";
import Koa from "koa";

const COOKIE = "__Host-Http-session";
const { ORIGIN, ISSUER, AUDIENCE, FRAME_KEY, EDGE_NAME, EDGE_SECRET, LEEWAY, MAX_STALE, PORT } = process.env;

const guard = await createGuard({
  module: await readFile(new URL(import.meta.resolve("counterfoil-edge/host.wasm"))),
  origin: ORIGIN, issuer: ISSUER, audience: AUDIENCE, frameKeys: [FRAME_KEY], credential: { name: EDGE_NAME, secret: EDGE_SECRET },
  leeway: Number(LEEWAY || 10_000), maxStale: Number(MAX_STALE || 10_000),
});

const WHAT_TO_DO = { invalid: "log in", revoked: "log in", expired: "renew the session at the application", stale: "try again soon" };

const app = new Koa();

// What koa-session is elsewhere: who is asking, or an answer that says why that is not known.
app.use(async (ctx, next) => {
  const token = presented(ctx.get("cookie"));
  const r = token === undefined ? { ok: false, error: "invalid" } : await guard.check(token);
  if (!r.ok) {
    ctx.set("cache-control", "no-store");
    ctx.throw(r.error === "stale" ? 503 : 401, WHAT_TO_DO[r.error]);
  }
  ctx.state = { user: r.claims.sub, token };
  await next();
});

app.use(async (ctx) => {
  const answer = await fetch(new URL("/visits", ORIGIN), {
    headers: { authorization: `Bearer ${ctx.state.token}` }, redirect: "error", signal: AbortSignal.timeout(2_000),
  });
  if (!answer.ok) ctx.throw(answer.status);
  const { visits } = await answer.json();
  ctx.body = `${ctx.state.user}, visit ${visits}\n`;
});

/** The token of the cookie; none if there are two. */
function presented(header) {
  const values = header.split(";").map((c) => c.trim()).filter((c) => c.startsWith(COOKIE + "="));
  return values.length === 1 ? values[0].slice(COOKIE.length + 1) : undefined;
}

const server = app.listen(Number(PORT || 3002), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
