// What whoever writes TypeScript writes, and what must not compile. Checked by `npm run types`, which make wasm does; never run.
import { ABI, createGuard, type Answer, type Guard } from "../../index.js";
import module from "counterfoil-edge/host.wasm";
import own from "counterfoil-edge/own.wasm";

const guard: Guard = await createGuard({
  module: new URL("../../host.wasm", "file:///"),
  issuer: "https://app.example",
  audience: "https://app.example",
  origin: "https://app.example",
  credential: { name: "edge-1", secret: "secret" },
  frameKeys: ["frame-ed25519:key"],
  policy: "paranoid",
  maxStale: 5_000,
});

const answer: Answer = await guard.check("token", { policy: "strict", waitUntil: (work) => void work.catch(() => {}) });
if (answer.ok) {
  const subject: string | undefined = answer.claims.sub;
  const role: unknown = answer.claims["role"];
  void [subject, role];
  // @ts-expect-error claims are not for writing
  answer.claims.sub = "root";
} else {
  const status: 401 | 503 = answer.error === "stale" ? 503 : 401;
  const reason: string = answer.reason;
  void [status, reason];
  // @ts-expect-error no claims beside a refusal
  void answer.claims;
}
const live: Answer = await guard.state("token");
const fresh: boolean = guard.status().fresh;
await guard.refresh();
const ready: boolean = await guard.ready();
void ready;
guard.close();
void [live, fresh, ABI];

// A worker imports the module.
for (const compiled of [module, own]) await createGuard({ module: compiled, issuer: "i", audience: "a", origin: new URL("https://app.example") });

// @ts-expect-error a module is no number
await createGuard({ module: 5, issuer: "i", audience: "a", origin: "https://app.example" });
// @ts-expect-error issuer, audience and origin are required
await createGuard({ module: new ArrayBuffer(8) });
// @ts-expect-error a misspelt policy must not become another one
await guard.check("token", { policy: "lax" });
// @ts-expect-error a token is a string
await guard.check(undefined);
