// Shows the corpus to counterfoil-edge and returns a line for each of its lines, as play.go does for Go. It runs in every runtime as it is.
import { createGuard } from "../../../edge/npm/index.js";
import { Module } from "../../../edge/npm/module.js";
import { verifyFrame } from "../../../edge/npm/verify.js";

const bytesOf = (s) => Uint8Array.from(s, (c) => c.charCodeAt(0));
const fromBase64 = (s) => bytesOf(atob(s ?? ""));

/** What went wrong when f was called, or "". */
function told(f) {
  try {
    return f() ?? "";
  } catch (e) {
    return e.message.replace("counterfoil-edge: ", "");
  }
}

/** Makes a guard whose clock shows what the corpus says, and which reaches nobody. */
function guardOf(module, set, clock) {
  return createGuard({
    module, issuer: set.issuer, audience: set.audience, leeway: set.leeway, maxLife: set.maxLife, keys: set.jwks, list: 64,
    origin: "https://nobody.test", follow: "never", policy: "best-effort", fetch: () => Promise.reject(new Error("nobody there")),
    clock: { wall: () => clock.now, steady: () => clock.now },
  });
}

/** Hands a frame in, and verifies its signature if the module leaves that to its host. */
async function takeFrame(m, frame, at) {
  const now = { wall: at, steady: at };
  const r = m.frame(frame, now, now);
  if (r.verify === undefined) return r;
  const [ok, digest] = await verifyFrame(r.verify, frame);
  return m.finishFrame(ok, digest, now);
}

const reader = (l) => `issuer ${l.issuer}\naudience ${l.audience}\npolicy best-effort\nlist 64\n` + (l.frameKeys ?? []).map((k) => `frame-key ${k}\n`).join("")
  + (l.maxFrame ? `max-frame ${l.maxFrame}\n` : "") + (l.skipNonce ? "skip-nonce yes\n" : "");

/** Another token with the same signature. */
function altered(token) {
  const at = token.indexOf(".") + 10;
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
}

/** Plays the lines of a stream of bytes. */
export async function play(module, stream) {
  const clock = { now: 0 };
  let shown = 0;
  const plain = await Module.start(module);
  let guard;
  const show = (r) => (r.ok ? "accepted" : `${r.error}: ${r.reason}`);
  const kinds = {
    async set(l) {
      guard?.close();
      clock.now = 1;
      try {
        guard = await guardOf(module, l, clock);
        return "";
      } catch (e) {
        guard = await guardOf(module, { ...l, jwks: undefined }, clock); // this flavour knows no such keys
        return e.message.replace("counterfoil-edge: keys: ", "");
      }
    },
    reader: (l) => told(() => plain.configure(reader(l))),
    keys(l) {
      return told(() => plain.configure("issuer i\naudience a\nlist 64\n")) || plain.keys(bytesOf(l.jwks ?? "")) || "accepted";
    },
    async token(l) {
      clock.now = l.at;
      const token = l.token ?? "", first = guard.check(token);
      // What the host verifies lies where the next check writes.
      const other = ++shown % 8 === 0 ? await guard.check(altered(token)) : { ok: false };
      const answer = show(await first);
      let answers = answer + (other.ok ? ", and so is another" : "");
      for (let i = 0; i < (l.often ? 2 : 0); i++) {
        const again = show(await guard.check(l.token ?? ""));
        if (again !== answer) answers += `, then ${again}`;
      }
      return answers;
    },
    async frame(l) {
      const q = plain.question(fromBase64(l.nonce));
      const r = await takeFrame(plain, fromBase64(l.frame), l.at);
      const state = JSON.stringify(plain.state(l.at, l.at));
      return `${q.full ? "whole" : "part"}${q.after && " " + q.after}|${r.error ?? "ok"}|${r.records ?? 0}|${state}`;
    },
  };
  const out = [];
  for await (const text of lines(stream)) {
    const l = JSON.parse(text);
    out.push(await kinds[l.kind](l));
  }
  guard?.close();
  return out.join("\n") + "\n";
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}
