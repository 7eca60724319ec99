// For Node, Deno and Bun: node run.mjs <module> <corpus> <answers>
import { createReadStream } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import process from "node:process";
import { Readable } from "node:stream";
import { play } from "./driver.js";

const [module, corpus, answers] = process.argv.slice(2);
const stream = Readable.toWeb(createReadStream(corpus));
await writeFile(answers, await play(await WebAssembly.compile(await readFile(module)), stream));
