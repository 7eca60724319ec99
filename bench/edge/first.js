// A worker for workerd that has just started, with the guard made as it loads: /check checks a token, anything else is an empty answer.
import data from "data.json";
import module from "module.wasm";
import { createGuard } from "../../edge/npm/index.js";

const guard = await createGuard({
  module, issuer: data.issuer, audience: data.audience, keys: { keys: data.jwks.keys.filter((k) => k.alg === "EdDSA") }, origin: "https://nobody.test",
  follow: "never", policy: "best-effort",
});

export default {
  async fetch(request) {
    if (new URL(request.url).pathname !== "/check") return new Response("empty");
    const r = await guard.check(data.tokens.EdDSA[0]);
    return new Response(r.ok ? "good" : r.reason);
  },
};
