// A worker in front of an application: it knows by itself who is asking, and whether their session has ended.
import { createGuard } from "counterfoil-edge";
import module from "counterfoil-edge/host.wasm";
import { env } from "cloudflare:workers";

const COOKIE = "__Host-Http-session";

// What everybody may ask for, logged in or not. It is passed on without a look at the token, so that whoever was logged out can log in again.
const OPEN = ["/login", "/session/", "/.well-known/", "/health/"];

// Made while the worker loads, when nobody waits yet.
const guard = await createGuard({
  module, origin: env.ORIGIN, issuer: env.ISSUER, audience: env.AUDIENCE, frameKeys: [env.FRAME_KEY],
  credential: { name: env.EDGE_NAME, secret: env.EDGE_SECRET }, policy: env.POLICY || "strict",
  maxStale: Number(env.MAX_STALE || 10_000), leeway: Number(env.LEEWAY || 10_000), // the application's
});

export default {
  async fetch(request, _env, ctx) {
    const { pathname } = new URL(request.url);
    const token = OPEN.some((p) => (p.endsWith("/") ? pathname.startsWith(p) : pathname === p)) ? undefined : presented(request.headers);
    if (token === undefined) return pass(request);
    const r = await guard.check(token, { waitUntil: (work) => ctx.waitUntil(work) });
    if (r.ok) return pass(request, r.claims);
    switch (r.error) {
      case "expired": // the application renews it, or says that it is over
        return pass(request);
      case "stale": // nobody can say, and nothing is said against the token
        return refuse(503, "Service Unavailable", { "retry-after": "1" });
    }
    return refuse(401, "Unauthorized", { "www-authenticate": "Bearer" });
  },
};

/** The token of a request: the bearer token, beside which the application looks at the cookie. Of two cookies none, since nobody knows which of them it would take. */
function presented(headers) {
  const authorization = headers.get("authorization");
  if (authorization !== null) return /^Bearer ([^\s,]+)$/i.exec(authorization)?.[1] ?? "";
  const values = (headers.get("cookie") ?? "").split(";").map((c) => c.trim()).filter((c) => c.startsWith(COOKIE + "="));
  return values.length === 1 ? values[0].slice(COOKIE.length + 1) : undefined;
}

/** Asks the application, with the token as it came. Who is asking is said by this worker alone: what the client says of it does not get through. */
function pass(request, claims) {
  const headers = new Headers(request.headers);
  for (const name of [...headers.keys()]) if (/^x[-_]user/.test(name)) headers.delete(name);
  if (claims !== undefined) {
    headers.set("x-user-session", claims.sid);
    if (claims.sub !== undefined) headers.set("x-user", encodeURIComponent(claims.sub)); // a header has no room for every name
  }
  const { pathname, search } = new URL(request.url);
  return fetch(env.ORIGIN + pathname + search, { method: request.method, headers, body: request.body, redirect: "manual" });
}

function refuse(status, text, headers) {
  return new Response(text + "\n", { status, headers: { "cache-control": "no-store", "content-type": "text/plain; charset=utf-8", ...headers } });
}
