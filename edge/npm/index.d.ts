declare global {
  // For programs whose types know of no WebAssembly, as Node's; it adds nothing to those that do.
  namespace WebAssembly {
    interface Module {}
  }
}

/** The version of the module's interface that this package speaks. */
export const ABI: number;

export type Policy = "best-effort" | "strict" | "paranoid";

/** Where the keys come from: a JWK set. */
export interface KeySet {
  keys: object[];
}

export interface Options {
  /** The module of this package, host.wasm or own.wasm: compiled, as bytes, or where it is. Workers forbid compiling bytes. */
  module: (WebAssembly.Module & object) | ArrayBuffer | ArrayBufferView | URL | string;
  issuer: string;
  audience: string;
  /** Where keys, revocations and answers come from: https, or http on this machine, without a path. Redirects are not followed. */
  origin: string | URL;
  /** What the origin gave this edge. Without one it cannot follow the feed, and asks about each token under "strict". */
  credential?: { name: string; secret: string };
  /** Who may sign the feed, as text: frame-ed25519:… */
  frameKeys?: string | string[];
  /** The keys, instead of fetching them. */
  keys?: KeySet | string;
  /** Default "strict". */
  policy?: Policy;
  /** How old the revocation list may be, ms: from 1,000 on. Default 10,000, and so is 0. */
  maxStale?: number;
  /** How far clocks may differ, ms. Default 10,000, and so is 0; at most 60,000. */
  leeway?: number;
  /** The longest life of a token that is taken, ms. Default and most 900,000, and so is 0. */
  maxLife?: number;
  /** Places for verified tokens. Default 4,096, 0 for none. Some ten times the tokens in use keep nearly all of them warm: a place that is free takes some 80 bytes. */
  entries?: number;
  /** How many revocations are remembered. Default 65,536, and so is 0. */
  list?: number;
  /** The longest answer of the feed, bytes. Default 8 MiB, and so is 0. */
  maxFrame?: number;
  /** How long the origin may take to answer a question, ms. Default 500, and so is 0; at most 10,000. The first checks wait twice as long for the keys, 1,024 of them; more are refused as stale. */
  askTimeout?: number;
  /** "poll" keeps a request open to the feed; "request" reads it when a check finds that it is time, for workers; "never" leaves it to refresh. */
  follow?: "poll" | "request" | "never";
  paths?: { keys?: string; feed?: string; introspect?: string; active?: string };
  fetch?: typeof fetch;
  /** What time it is, ms: since 1970, and by a clock that only runs forward and never shows zero. */
  clock?: { wall(): number; steady(): number };
}

/** What a token says. Members besides these are the application's own. It is frozen. */
export interface Claims {
  readonly iss: string;
  readonly aud: string;
  readonly sub?: string;
  readonly sid: string;
  readonly gen: number;
  readonly iat: number;
  readonly exp: number;
  readonly auth_time?: number;
  /** When the session began, if that was before iat. */
  readonly sst?: number;
  readonly [name: string]: unknown;
}

export interface Accepted {
  readonly ok: true;
  readonly claims: Claims;
}

export interface Refused {
  readonly ok: false;
  /** What to do: "invalid" and "revoked": log in; "expired": renew; "stale": try again soon, nothing is said against the token (503). */
  readonly error: "invalid" | "expired" | "revoked" | "stale";
  /** Why, in stable words, for logs. */
  readonly reason: string;
}

export type Answer = Accepted | Refused;

export interface Status {
  /** Whether the list can prove that it is not older than maxStale, and why not. */
  fresh: boolean;
  reason: string;
  /** ms; -1 if nobody knows. */
  age: number;
  asOf: number;
  epoch: string;
  birth: number;
  position: string;
  entries: number;
  keys: number;
  /** What time it is, as corrected by the feed. */
  now: number;
  /** Bytes that the module holds. */
  memory: number;
  /** What failed last, "" if it worked since. */
  failures: { keys: string; feed: string; ask: string };
}

export class Guard {
  private constructor();
  /** Decides about a token. A policy counts if it is stricter than the guard's. */
  check(token: string, options?: { policy?: Policy; waitUntil?: (work: Promise<unknown>) => void }): Promise<Answer>;
  /** Decides about a token and asks the origin whether its session lives, whatever the list says. */
  state(token: string): Promise<Answer>;
  status(): Status;
  /** Waits until there are keys and, with a credential, the list is fresh, for a time in ms (default 10,000), and says whether it is so. */
  ready(timeout?: number): Promise<boolean>;
  /** Fetches keys and revocations now. It never rejects; status tells what became of it. */
  refresh(): Promise<void>;
  /** Ends the following, which otherwise keeps a program running. A closed guard refuses everything, as stale. */
  close(): void;
}

/** Makes a guard. It rejects, with a TypeError, if the options or the module are not what they must be; that the origin cannot be reached is no such thing. */
export function createGuard(options: Options): Promise<Guard>;
