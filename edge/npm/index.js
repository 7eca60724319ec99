// counterfoil-edge checks Counterfoil's session tokens, revocation included. What is decided is decided by the WebAssembly module; here is what waits for
// something: fetching keys and the revocation feed, verifying signatures with WebCrypto, asking the origin.
import { bounded, End } from "./fetch.js";
import { Module, refusal } from "./module.js";
import { compile } from "./load.js";
import { base64url, verifyFrame, verifySignature } from "./verify.js";

export { ABI } from "./module.js";

const POLICIES = { "best-effort": -1, strict: 0, paranoid: 1 };
const FEED_TYPE = "application/vnd.counterfoil.revocations";
const KEYS_EACH = 300_000, KEYS_AGAIN = 10_000; // ms between fetches of the key set; after a key that is not in it
const READ_LOST = 3_000; // ms after which a read that another request began may be over without an end
const RESTART_PAUSE = 500; // ms from a module that did not start to the next try
const MAX_KEY_FETCHES = 16; // at once
const MAX_ASKS = 128, MAX_VERIFIES = 192; // at once
const MAX_WAITING = 1024; // checks that wait for keys
const READ_FLOOR = 20; // ms between the follower's questions, whatever happens
const ASK_FAILURES = 5, ASK_PAUSE = 500, ASK_PAUSE_MOST = 8_000;

const busy = refusal("stale: too many checks under way");
const unverified = refusal("stale: the host cannot verify this signature");
const trapped = refusal("stale: the module failed");
const closed = refusal("stale: the guard is closed");

/** Makes a guard. It rejects if the options or the module are not what they must be; that the origin cannot be reached is no such thing. */
export async function createGuard(options) {
  const o = checked(options);
  const compiled = await compile(o.module, o.fetch);
  const module = await Module.start(compiled);
  if (module.hostCrypto && !globalThis.crypto?.subtle) throw new TypeError("counterfoil-edge: no WebCrypto here; use the module own.wasm");
  await warmUp(module);
  const guard = new Guard(o, compiled, module); // says what is wrong with the configuration
  begin(guard);
  return guard;
}

let begin;

export class Guard {
  #core;

  constructor(options, compiled, module) {
    if (!(options instanceof Checked)) throw new TypeError("counterfoil-edge: guards are made by createGuard");
    this.#core = new Core(options, compiled, module);
  }

  static {
    begin = (guard) => guard.#core.begin();
  }

  /** Decides about a token: {ok: true, claims} or {ok: false, error, reason}. */
  check(token, options) {
    if (options === undefined) return this.#core.check(token, POLICIES["best-effort"]);
    const { policy = "best-effort", waitUntil } = options;
    return this.#core.check(token, known(policy), waitUntil);
  }

  /** Decides about a token and asks the origin whether its session lives, whatever the list says. */
  state(token) {
    return this.#core.state(token);
  }

  /** Says how much the revocation list can prove about its own age, and what failed last. */
  status() {
    return this.#core.status();
  }

  /** Waits until the list is fresh, for a time in ms, and says whether it is. Before that a guard under "strict" asks about each token. */
  ready(timeout = 10_000) {
    return this.#core.ready(timeout);
  }

  /** Fetches keys and revocations now. It never rejects; status tells what became of it. */
  refresh() {
    return this.#core.refresh();
  }

  /** Ends what goes on in the background. A closed guard refuses everything. */
  close() {
    this.#core.close();
  }
}

class Checked {}

/** Checks the options and fills in the defaults. Nothing here is fetched or drawn at random: workers may do neither while they load. */
function checked(options) {
  const fail = (what) => {
    throw new TypeError(`counterfoil-edge: ${what}`);
  };
  if (typeof options !== "object" || options === null) fail("createGuard takes an object");
  const names = [
    "module", "issuer", "audience", "origin", "credential", "frameKeys", "keys", "policy", "maxStale", "leeway", "maxLife", "entries", "list", "maxFrame",
    "askTimeout", "follow", "paths", "fetch", "clock",
  ];
  for (const name of Object.keys(options)) if (!names.includes(name)) fail(`there is no option ${name}`);
  // One that is undefined is one that is not there.
  const given = (from) => Object.fromEntries(Object.entries(from ?? {}).filter(([, value]) => value !== undefined));
  const line = (name, value) => {
    if (typeof value !== "string" || value === "" || /[\0-\x1f\x7f]/.test(value)) fail(`${name} must be text without control characters`);
    return value;
  };
  const whole = (name, value, most) => {
    if (!Number.isInteger(value) || value < 0 || value > most) fail(`${name} must be a whole number up to ${most}`);
    return value;
  };
  const o = Object.assign(new Checked(), {
    policy: "strict", maxStale: 10_000, leeway: 10_000, maxLife: 900_000, entries: 4096, list: 65536, maxFrame: 8 << 20, askTimeout: 500, follow: "poll",
    fetch: globalThis.fetch?.bind(globalThis), clock: defaultClock, ...given(options),
  });
  let origin;
  try {
    origin = new URL(o.origin);
  } catch {
    fail("origin must be an absolute URL");
  }
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(origin.hostname);
  if (origin.protocol !== "https:" && !(origin.protocol === "http:" && local)) fail("origin must be https, or http on this machine");
  if (origin.username || origin.password || origin.search || origin.hash) fail("origin must be an URL without user, query and fragment");
  if (origin.pathname !== "/") fail("origin must be an URL without path; what is not where it usually is goes into paths");
  const paths = {
    keys: "/.well-known/jwks.json", feed: "/session/revocations", introspect: "/session/introspect", active: "/session/active", ...given(o.paths),
  };
  for (const [name, path] of Object.entries(paths)) {
    if (!["keys", "feed", "introspect", "active"].includes(name) || typeof path !== "string" || !path.startsWith("/") || path.startsWith("//")) fail(`paths.${name} must be a path of the origin`);
    const url = new URL(path, origin);
    if (url.origin !== origin.origin || url.search || url.hash) fail(`paths.${name} must be a path of the origin`);
    paths[name] = url.href;
  }
  o.paths = paths;
  if (!Object.hasOwn(POLICIES, o.policy)) fail("policy must be best-effort, strict or paranoid");
  if (!["poll", "request", "never"].includes(o.follow)) fail("follow must be poll, request or never");
  if (typeof o.fetch !== "function") fail("no fetch here");
  try {
    if (!Number.isFinite(o.clock.wall()) || !Number.isFinite(o.clock.steady())) throw new Error();
  } catch {
    fail("clock must be {wall, steady}, functions that return ms");
  }
  o.maxStale = whole("maxStale", o.maxStale, 17 * 60_000) || 10_000;
  if (o.maxStale < 1_000) fail("maxStale must be 1000 or more");
  o.list = whole("list", o.list, 1 << 24) || 65536;
  o.maxFrame = whole("maxFrame", o.maxFrame, 64 << 20) || 8 << 20;
  o.askTimeout = whole("askTimeout", o.askTimeout, 10_000) || 500;
  const frameKeys = o.frameKeys === undefined ? [] : [o.frameKeys].flat();
  if (o.credential !== undefined) {
    const { name, secret } = o.credential ?? {};
    if (typeof name !== "string" || !/^[\x21-\x39\x3b-\x7e]{1,128}$/.test(name) || typeof secret !== "string" || !/^[\w-]{43}$/.test(secret)) fail("credential must be {name, secret} as the origin gave it out");
    o.authorization = "Basic " + btoa(`${name}:${secret}`);
    delete o.credential;
  }
  // Without a credential there is no feed: under strict each check then asks, with the token itself.
  o.reads = o.authorization !== undefined && frameKeys.length > 0;
  if (o.follow !== "never" && (o.authorization !== undefined) !== frameKeys.length > 0) fail("the feed takes both a credential and frameKeys");
  o.config = [
    ["issuer", line("issuer", o.issuer)], ["audience", line("audience", o.audience)], ...frameKeys.map((k) => ["frame-key", line("frameKeys", k)]),
    ["policy", o.policy], ["leeway", whole("leeway", o.leeway, 60_000)], ["max-life", whole("maxLife", o.maxLife, 900_000)], ["max-stale", o.maxStale],
    ["entries", whole("entries", o.entries, 1 << 20) || -1], ["list", o.list], ["max-frame", o.maxFrame],
  ].map(([name, value]) => `${name} ${value}\n`).join("");
  if (o.keys !== undefined) {
    o.keys = new TextEncoder().encode(typeof o.keys === "string" ? o.keys : JSON.stringify(o.keys));
  }
  return o;
}

function known(policy) {
  if (!Object.hasOwn(POLICIES, policy)) throw new TypeError("counterfoil-edge: policy must be best-effort, strict or paranoid");
  return POLICIES[policy];
}

const { performance } = globalThis;

const defaultClock = {
  wall: () => Date.now(),
  steady: performance === undefined ? () => 0 : () => performance.now() + 1,
};

// Not the guard's clock, which may be what is broken.
const ticks = performance === undefined ? () => Date.now() : () => performance.now();

const random = (n) => crypto.getRandomValues(new Uint8Array(n));

class Core {
  #o;
  #compiled;
  #module; // undefined: dead
  #restartAt = -Infinity; // when another one may be started, in ticks
  #seeded = false;
  #closed = new End();
  #keysAt = -Infinity; // steady
  #keysBytes;
  #fetching; // the last fetch of keys, while it is under way
  #fetches = new Gate(MAX_KEY_FETCHES, 6_000);
  #readAt = -Infinity;
  #reading; // ends when the last of the reads that have begun does
  #readBegan = 0;
  #reads = 0;
  #verifies = new Gate(MAX_VERIFIES, 5_000);
  #asks = new Gate(MAX_ASKS, 11_000);
  #waiting = new Gate(MAX_WAITING, 30_000);
  #failures = 0;
  #openUntil = -Infinity;
  #pause = 0;
  #cryptoKeys = new Map();
  #last = { keys: "", feed: "", ask: "" };
  #instance;

  constructor(o, compiled, module) {
    this.#o = o;
    this.#compiled = compiled;
    this.#use(module);
  }

  begin() {
    if (this.#o.follow !== "poll") return;
    if (this.#o.keys === undefined) this.#forever("keys", () => this.#keepKeys());
    if (this.#o.reads) this.#follow();
  }

  /** Takes a step again and again until the guard is closed, whatever becomes of it: the clock may throw. */
  async #forever(what, step) {
    while (!this.#closed.over) {
      try {
        await step();
      } catch (e) {
        this.#last[what] = String(e?.message ?? e);
        await this.#sleep(1_000);
      }
    }
  }

  close() {
    this.#closed.now();
    this.#module = undefined;
  }

  #wall() {
    return this.#o.clock.wall();
  }

  #steady() {
    return this.#o.clock.steady();
  }

  #now() {
    return { wall: this.#wall(), steady: this.#steady() };
  }

  /** Makes a module that has just started the guard's, with all that can be done while a worker loads. */
  #use(module) {
    this.#cryptoKeys = new Map(); // those who are still importing for the module before keep theirs
    module.configure(this.#o.config);
    this.#keysBytes ??= this.#o.keys;
    if (this.#keysBytes !== undefined) this.#last.keys = module.keys(this.#keysBytes);
    if (this.#o.keys !== undefined && this.#last.keys !== "") throw new TypeError(`counterfoil-edge: keys: ${this.#last.keys}`);
    this.#seeded = false;
    this.#module = module;
  }

  /** Gives the module a seed, as soon as there is randomness. */
  #seed() {
    this.#seeded = true;
    this.#instance ??= base64url(random(9));
    this.#module.seed(random(32));
  }

  /**
   * Calls into the module. One that traps is dead: what was asked of it is refused, and another one takes its place. Whatever began with one module ends with it: the next one
   * gives out the same numbers for other tickets and other keys.
   */
  #call(f, on = this.#module) {
    if (this.#module === undefined) this.#restart();
    if (this.#module === undefined || on !== this.#module) return this.#dead();
    try {
      if (!this.#seeded) this.#seed();
      return f(this.#module);
    } catch (cause) {
      return this.#trap(cause);
    }
  }

  #dead() {
    return this.#closed.over ? closed : trapped;
  }

  #trap(cause) {
    this.#last.feed = String(cause?.message ?? cause);
    this.#module = undefined;
    this.#restartAt = -Infinity;
    this.#restart();
    return trapped;
  }

  /** Starts a module in the place of one that is dead. Where that fails, for want of memory perhaps, a later call tries again. */
  #restart() {
    if (this.#closed.over || ticks() < this.#restartAt) return;
    this.#restartAt = ticks() + RESTART_PAUSE;
    Module.start(this.#compiled).then((m) => {
      if (this.#closed.over || this.#module !== undefined) return;
      this.#use(m);
      this.#readAt = -Infinity;
    }).catch((cause) => {
      this.#last.feed = `the module does not start: ${cause?.message ?? cause}`;
    });
  }

  check(token, policy, waitUntil) {
    if (typeof token !== "string") throw new TypeError("counterfoil-edge: a token is a string");
    const first = this.#first(waitUntil);
    if (first === undefined) return this.#check(token, policy);
    return first.then((r) => (r === busy ? r : this.#check(token, policy)));
  }

  /** What a check waits for before it can begin: nothing, or a promise, which is of busy if too many wait. */
  #first(waitUntil) {
    const o = this.#o;
    const keyless = o.keys === undefined && this.#keysBytes === undefined;
    if (o.follow === "request") return keyless ? this.#waiting.pass(() => this.#due(waitUntil)) : this.#due(waitUntil);
    // The first keys are on their way; as long as a request waits for them.
    if (keyless && this.#fetching !== undefined) return this.#waiting.pass(() => within(this.#fetching, o.askTimeout * 2));
    return undefined;
  }

  /** As #call, written out: this is where all the time of a token that was seen before goes. */
  #check(token, policy) {
    const m = this.#module;
    let r;
    if (m !== undefined) {
      try {
        if (!this.#seeded) this.#seed();
        r = m.check(token, policy, this.#wall(), this.#steady());
      } catch (cause) {
        r = this.#trap(cause);
      }
    } else {
      this.#restart();
      r = this.#dead();
    }
    if (r.ok === true || r.ticket === undefined && r.reason !== "unknown key") return Promise.resolve(r);
    return this.#rest(token, policy, r);
  }

  async #rest(token, policy, r, how = {}) {
    let on = this.#module;
    if (r.reason === "unknown key") {
      const news = await this.#waiting.pass(() => this.#newKeys());
      if (news === busy) return busy;
      if (news) r = this.#call((m) => m.check(token, policy, this.#wall(), this.#steady()));
      on = this.#module;
    }
    if (r.verify !== undefined) {
      const { ticket, verify } = r;
      const place = this.#verifies.enter();
      if (place === undefined) {
        this.#call((m) => m.drop(ticket), on);
        return busy;
      }
      let ok;
      try {
        const verified = verifySignature(verify, this.#cryptoKeys);
        if (typeof verified !== "boolean") this.#call((m) => m.ahead(ticket), on); // it may be another thread that is at work
        ok = typeof verified === "boolean" ? verified : await verified;
      } catch {
        // The host does not know the algorithm, or does not take the key: which says nothing of the signature.
      }
      this.#verifies.leave(place);
      if (typeof ok !== "boolean") {
        this.#call((m) => m.drop(ticket), on);
        return unverified;
      }
      r = this.#call((m) => m.finish(ticket, ok, this.#wall(), this.#steady()), on);
    }
    if (r.otherwise === undefined) return r;
    how.asked = true;
    return this.#judge(r, token, on);
  }

  async #judge({ ticket, otherwise }, token, on) {
    const active = await this.#ask(token);
    if (active === undefined) {
      this.#call((m) => m.drop(ticket), on);
      return otherwise;
    }
    return this.#call((m) => m.judge(ticket, active, this.#wall(), this.#steady()), on);
  }

  async state(token) {
    if (typeof token !== "string") throw new TypeError("counterfoil-edge: a token is a string");
    if (await this.#first() === busy) return busy;
    const policy = POLICIES["best-effort"];
    const how = {};
    const r = await this.#rest(token, policy, this.#call((m) => m.check(token, policy, this.#wall(), this.#steady())), how);
    if (!r.ok || how.asked) return r;
    const active = await this.#ask(token);
    if (active === undefined) return refusal("stale: nobody answered");
    return active ? r : refusal("revoked: session not alive");
  }

  /** Asks the origin whether the session lives; undefined if it does not say. Questions are bounded in time and in number, and after several failures there is a pause. */
  async #ask(token) {
    if (this.#steady() < this.#openUntil || this.#closed.over) return undefined;
    const active = await this.#asks.pass(() => this.#askNow(token));
    return active === busy ? undefined : active;
  }

  async #askNow(token) {
    const o = this.#o;
    const request = o.authorization !== undefined
      ? [o.paths.introspect, {
        method: "POST",
        headers: { authorization: o.authorization, accept: "application/json", "content-type": "application/x-www-form-urlencoded" },
        body: "token=" + encodeURIComponent(token),
      }]
      : [o.paths.active, { headers: { authorization: "Bearer " + token, accept: "application/json" } }];
    try {
      const bytes = await bounded(o.fetch, ...request, { type: "application/json", most: 16384, timeout: o.askTimeout, end: this.#closed });
      const { active } = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
      if (typeof active !== "boolean") throw new Error("the answer does not say whether the token is active");
      this.#failures = this.#pause = 0;
      this.#last.ask = "";
      return active;
    } catch (e) {
      this.#last.ask = String(e?.message ?? e);
      if (++this.#failures >= ASK_FAILURES) {
        this.#pause = Math.min(this.#pause * 2 || ASK_PAUSE, ASK_PAUSE_MOST);
        this.#openUntil = this.#steady() + this.#pause;
        this.#failures = ASK_FAILURES - 1; // the next one is a trial
      }
      return undefined;
    }
  }

  /** Looks for a key that is not in the set, not too often, and reports whether it is worth another look. */
  #newKeys() {
    // Of those who come while a fetch is under way none is refused for it.
    if (this.#fetching !== undefined) return this.#o.follow === "request" ? this.#shareKeys() : this.#fetching;
    return this.#steady() - this.#keysAt >= KEYS_AGAIN && this.#fetchKeys();
  }

  /**
   * Waits for the keys that another request fetches, or fetches them, and reports as #fetchKeys does. In workers that request may end and take along what it was fetching, which
   * then never comes: whoever waits for half of its time, or hears that it failed, fetches them itself, once.
   */
  async #shareKeys() {
    const theirs = this.#fetching;
    if (theirs === undefined) return this.#fetchKeys();
    const before = this.#keysBytes;
    if (await within(theirs, this.#o.askTimeout)) return true;
    if (this.#keysBytes !== before) return true; // somebody else was faster
    const mine = this.#fetches.pass(() => this.#fetchKeys()).then((ok) => (ok === busy ? this.#fetching ?? false : ok));
    return Promise.race([mine, theirs.then((ok) => ok || mine)]);
  }

  /** Fetches the key set, and reports whether there is one that the module took. */
  #fetchKeys() {
    if (this.#o.keys !== undefined) return Promise.resolve(false);
    const fetching = this.#fetchKeysNow().finally(() => {
      if (this.#fetching === fetching) this.#fetching = undefined;
    });
    return (this.#fetching = fetching);
  }

  async #fetchKeysNow() {
    try {
      this.#keysAt = this.#steady();
      const bytes = await bounded(this.#o.fetch, this.#o.paths.keys, { headers: { accept: "application/jwk-set+json, application/json" } }, {
        type: ["application/jwk-set+json", "application/json"], most: 1 << 20, timeout: 5_000, end: this.#closed,
      });
      const why = this.#call((m) => m.keys(bytes));
      if (why !== "") throw new Error(typeof why === "string" ? why : why.reason);
      this.#keysBytes = bytes;
      this.#last.keys = "";
      return true;
    } catch (e) {
      this.#last.keys = String(e?.message ?? e);
      return false;
    }
  }

  /** Reads the feed once. Rejects when it did not work. The module knows one question and one frame, so a read waits for the one before. */
  async #read(wait) {
    const now = this.#steady(); // first of all: it may throw, and what nobody ends would be waited for
    const before = this.#reading, left = READ_LOST - (now - this.#readBegan);
    let end;
    const reading = (this.#reading = new Promise((done) => (end = done)));
    this.#readBegan = now;
    try {
      // In workers the one before may never end. If it does after all, its frame is not the answer to the question of now.
      if (before !== undefined && this.#o.follow !== "request") await before;
      else if (before !== undefined && left > 0) await within(before, left);
      const number = ++this.#reads;
      const mine = () => {
        if (number !== this.#reads) throw new Error("another question was asked meanwhile");
      };
      const o = this.#o;
      const nonce = random(16);
      const q = this.#call((m) => m.question(nonce));
      const on = this.#module;
      if (q === undefined || q.ok === false) throw new Error("the module takes no question");
      const params = new URLSearchParams({ instance: this.#instance, nonce: base64url(nonce) });
      if (q.after !== "") params.set("after", q.after);
      if (q.full) params.set("full", "1");
      else if (wait > 0) params.set("wait", (wait / 1000).toFixed(3));
      const sent = this.#now();
      const bytes = await bounded(o.fetch, `${o.paths.feed}?${params}`, { headers: { authorization: o.authorization, accept: FEED_TYPE } }, {
        type: FEED_TYPE, most: o.maxFrame + 1024, timeout: (q.full ? 0 : wait) + 5_000, end: this.#closed,
      });
      mine();
      let r = this.#call((m) => m.frame(bytes, sent, this.#now()), on);
      if (r.verify !== undefined) {
        const [ok, digest] = await verifyFrame(r.verify, bytes);
        mine();
        r = this.#call((m) => m.finishFrame(ok, digest, this.#now()), on);
      }
      if (r.records === undefined) throw new Error(`frame refused: ${r.error === "stale" ? r.reason : r.error}`);
      this.#last.feed = "";
      this.#readAt = this.#steady();
      return r.records;
    } catch (e) {
      this.#last.feed = String(e?.message ?? e);
      throw e;
    } finally {
      end();
      if (this.#reading === reading) this.#reading = undefined;
    }
  }

  /** Keys that do not come must not keep news waiting, so nothing else waits for them here. */
  async #keepKeys() {
    const due = this.#steady() - this.#keysAt >= (this.#last.keys === "" ? KEYS_EACH : 1_000);
    if (due && this.#fetching === undefined) await this.#fetchKeys();
    await this.#sleep(1_000);
  }

  #follow() {
    let failures = 0, wholes = 0;
    const wait = Math.floor(this.#o.maxStale / 3);
    this.#forever("feed", async () => {
      const began = this.#steady();
      let records = 0;
      try {
        records = await this.#read(wait);
        failures = 0;
      } catch {
        failures++;
      }
      // A feed that does not wait must not keep this busy, and a chain that breaks each time not either.
      wholes = this.#call((m) => m.state(this.#wall(), this.#steady())).fresh ? 0 : wholes + 1;
      const spent = this.#steady() - began;
      if (failures > 0) await this.#sleep(Math.random() * Math.min(100 * 2 ** Math.min(failures, 10), 5_000));
      else if (records === 0 && spent < wait / 2) await this.#sleep(Math.min(wait / 2 - spent, 1_000));
      else if (wholes > 2) await this.#sleep(Math.min(50 * 2 ** Math.min(wholes, 10), 2_000));
      const short = READ_FLOOR - (this.#steady() - began);
      if (short > 0) await this.#sleep(Math.min(short, READ_FLOOR));
    });
  }

  /** Waits, and keeps the program running only if somebody waits for this. */
  #sleep(ms, awaited = false) {
    const closed = this.#closed;
    return new Promise((done) => {
      const end = () => {
        clearTimeout(timer);
        closed.delete(end);
        done();
      };
      const timer = setTimeout(end, ms);
      if (!awaited) timer.unref?.();
      closed.add(end);
    });
  }

  /** Where nothing runs between requests: reads what is due, and returns a promise if the decision has to wait for it. */
  #due(waitUntil) {
    const now = this.#steady();
    const o = this.#o;
    // As long as there are no keys nothing can be decided, so whoever comes while they are on their way waits too.
    const none = o.keys === undefined && this.#keysBytes === undefined;
    const needKeys = none ? this.#fetching !== undefined || now - this.#keysAt >= 1_000 : o.keys === undefined && now - this.#keysAt >= KEYS_EACH;
    // A request that has ended takes what it was fetching along; after some seconds another one may ask.
    const needRead = o.reads && now - this.#readAt >= o.maxStale / 4 && !(this.#reading !== undefined && now - this.#readBegan < READ_LOST);
    if (!needKeys && !needRead) return undefined;
    const work = Promise.all([none && needKeys ? this.#shareKeys() : needKeys ? this.#fetchKeys() : true, needRead ? this.#read(0).catch(() => {}) : 0]);
    waitUntil?.(work);
    if (!none && this.#call((m) => m.state(this.#wall(), now)).fresh) return undefined;
    return within(work, o.askTimeout * 2);
  }

  async refresh() {
    await this.#fetchKeys();
    // A read that waits for news, under "poll", is as new as can be.
    if (this.#o.reads && !(this.#reading !== undefined && this.#o.follow === "poll")) await this.#read(0).catch(() => {});
  }

  async ready(timeout) {
    const end = this.#steady() + timeout;
    for (;;) {
      const s = this.status();
      if ((s.fresh || !this.#o.reads) && s.keys > 0) return true; // without a credential nothing is followed, and the origin is asked
      if (!(this.#steady() < end) || this.#closed.over) return false;
      if (this.#o.follow === "poll") await this.#sleep(20, true);
      else await this.refresh().then(() => this.#sleep(250, true));
    }
  }

  status() {
    const s = this.#call((m) => m.state(this.#wall(), this.#steady()));
    const list = s.ok === false ? { fresh: false, reason: s.reason, age: -1, asOf: -1, epoch: "", birth: 0, position: "", entries: 0, keys: 0, now: 0 } : s;
    return { ...list, memory: this.#module?.memory ?? 0, failures: { ...this.#last } };
  }
}

// A token and its key, neither of which is anybody's: the first check of a module costs some milliseconds, and they are better spent while a worker loads.
const SAMPLE_KEYS = '{"keys":[{"kid":"--6IM5l0OosLj9yWskISYhUA3n_3CURQkmrYMSha_ck","alg":"EdDSA","use":"sig","kty":"OKP","crv":"Ed25519","x":"6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw"}]}';
const SAMPLE = "eyJhbGciOiJFZERTQSIsImtpZCI6Ii0tNklNNWwwT29zTGo5eVdza0lTWWhVQTNuXzNDVVJRa21yWU1TaGFfY2siLCJ0eXAiOiJzZXNzaW9uK2p3dCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjoiaHR0cHM6Ly9zZXJ2aWNlLnRlc3QiLCJzdWIiOiJ1c2VyLTciLCJzaWQiOiJhYmNBQUVDQXdRRkJnY0lDUW9MREEwT0R3IiwiZ2VuIjoxLCJpYXQiOjE4OTM0OTkyMDAsImV4cCI6MTg5MzQ5OTUwMH0.DOGw09lf2SSHTm9QqfnjBEtkNpot90_l7lwdMloZE3O2-4aDRLz7lgElNMP_eM6vcbFua6TPIy504nE5Iw1_Cg";

/**
 * Takes the way that a check takes, to its end, with a configuration that knows nobody else. The guard makes the module forget all that: it configures it anew before its first call.
 */
async function warmUp(m) {
  const now = 1893499200000;
  for (let i = 0; i < 2; i++) {
    m.configure("issuer https://issuer.test\naudience https://service.test\npolicy best-effort\nlist 64\nentries 64\n");
    m.keys(new TextEncoder().encode(SAMPLE_KEYS));
    const r = m.check(SAMPLE, -1, now, 1);
    if (r.verify !== undefined) m.finish(r.ticket, await soon((async () => verifySignature(r.verify, new Map()))()), now, 1);
    m.check(SAMPLE, -1, now, 1);
    m.state(now, 1);
  }
}

/** Lets so many in at once. In workers what a request waited for is gone with the request and never leaves; when it has been full for long enough, all who are counted are such. */
class Gate {
  #most;
  #longest;
  #inside = 0;
  #full = 0; // when it became full
  #era = 1; // who came in before the last time that all were forgotten is not counted any more

  /** @param {number} longest ms that anybody may be inside */
  constructor(most, longest) {
    this.#most = most;
    this.#longest = longest;
  }

  /** Returns what to leave with; undefined without room. */
  enter() {
    if (this.#inside === this.#most) {
      if (ticks() - this.#full < this.#longest) return undefined;
      this.#inside = 0;
      this.#era++;
    }
    if (++this.#inside === this.#most) this.#full = ticks();
    return this.#era;
  }

  leave(era) {
    if (era === this.#era) this.#inside--;
  }

  /** Returns what f does; if that is a promise, it is inside until then. Without room f is not called, and what is returned is a promise of busy. */
  pass(f) {
    const place = this.enter();
    if (place === undefined) return Promise.resolve(busy);
    let result;
    try {
      result = f();
    } finally {
      if (!(result instanceof Promise)) this.leave(place);
    }
    return result instanceof Promise ? result.finally(() => this.leave(place)) : result;
  }
}

/** Waits for a promise, but not for longer than ms. */
function within(promise, ms) {
  let timer;
  const late = new Promise((done) => (timer = setTimeout(done, ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits for a signature, but not for long, where there are timers: what it would warm up is not worth more. */
async function soon(verified) {
  let timer;
  const late = new Promise((done) => {
    try {
      timer = setTimeout(done, 100, false);
    } catch {
      // workers have none while they load
    }
  });
  return Promise.race([verified, late]).catch(() => false).finally(() => clearTimeout(timer));
}
