# The worker on this machine: what Cloudflare's runtime is told. What a bundler would do is done by name here.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "here", network = (allow = ["local"])), # the application is on this machine
  ],
  sockets = [(name = "http", address = "127.0.0.1:3000", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  compatibilityDate = "2026-01-01",
  globalOutbound = "here",
  modules = [
    (name = "main.js", esModule = embed "worker.js"),
    (name = "counterfoil-edge", esModule = embed "../../edge/npm/worker.js"),
    (name = "counterfoil-edge/host.wasm", wasm = embed "../../edge/npm/host.wasm"),
    (name = "index.js", esModule = embed "../../edge/npm/index.js"),
    (name = "fetch.js", esModule = embed "../../edge/npm/fetch.js"),
    (name = "load.js", esModule = embed "../../edge/npm/load.js"),
    (name = "module.js", esModule = embed "../../edge/npm/module.js"),
    (name = "texts.js", esModule = embed "../../edge/npm/texts.js"),
    (name = "verify.js", esModule = embed "../../edge/npm/verify.js"),
    (name = "wasi.js", esModule = embed "../../edge/npm/wasi.js"),
  ],
  bindings = [
    (name = "ORIGIN", fromEnvironment = "ORIGIN"),
    (name = "ISSUER", fromEnvironment = "ISSUER"),
    (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
    (name = "FRAME_KEY", fromEnvironment = "FRAME_KEY"),
    (name = "EDGE_NAME", fromEnvironment = "EDGE_NAME"),
    (name = "EDGE_SECRET", fromEnvironment = "EDGE_SECRET"),
    (name = "LEEWAY", fromEnvironment = "LEEWAY"),
    (name = "MAX_STALE", fromEnvironment = "MAX_STALE"),
    (name = "POLICY", fromEnvironment = "POLICY"),
  ],
);
