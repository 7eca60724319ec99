// For browsers: the page's own origin is the guard's.
import { createGuard } from "../../../edge/npm/index.js";
import { obey } from "./logout.js";

await obey(createGuard, new URL("/module.wasm", location.href), location.origin, {});
