// For Node, Deno and Bun: node logout-named.mjs <origin> <flavour>. It is run where a node_modules folder is beside it, and finds the package by its name, as all do who have installed it.
import process from "node:process";
import condition from "conditions";
import { createGuard } from "counterfoil-edge";
import { obey } from "./logout.js";

const [origin, flavour] = process.argv.slice(2);
await obey(createGuard, import.meta.resolve(`counterfoil-edge/${flavour}.wasm`), origin, { condition, resolved: import.meta.resolve("counterfoil-edge") });
