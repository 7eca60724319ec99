import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const dir = new URL("../", import.meta.url);
const pkg = JSON.parse(readFileSync(new URL("package.json", dir), "utf8"));

test("each condition leads to a file, and workers get theirs", () => {
  assert.deepEqual(Object.keys(pkg.exports["."]), ["types", "workerd", "edge-light", "deno", "bun", "node", "browser", "default"]);
  for (const entry of Object.values(pkg.exports)) {
    for (const file of typeof entry === "string" ? [entry] : Object.values(entry)) assert.ok(existsSync(new URL(file, dir)), file);
  }
  for (const [condition, file] of Object.entries({ workerd: "worker.js", "edge-light": "worker.js", browser: "index.js", node: "index.js" })) {
    const where = execFileSync(process.execPath, [`--conditions=${condition}`, "--input-type=module", "-e", 'console.log(import.meta.resolve("counterfoil-edge"))'], { cwd: fileURLToPath(dir), encoding: "utf8" });
    assert.ok(where.trim().endsWith(file), `${condition}: ${where}`);
  }
});

test("whoever has the package alone has its licence", () => {
  assert.equal(readFileSync(new URL("LICENSE", dir), "utf8"), readFileSync(new URL("../../LICENSE", dir), "utf8"));
});

test("it depends on nothing, and carries no module inside its code", () => {
  assert.equal(pkg.dependencies, undefined);
  let all = 0;
  for (const file of readdirSync(dir).filter((name) => name.endsWith(".js"))) {
    const text = readFileSync(new URL(file, dir), "utf8");
    all += text.length;
    assert.ok(!/AGFzbQ/.test(text), `${file} holds a module in base64`);
    for (const [, how] of text.matchAll(/\bawait import\(([^)]*)\)/g)) assert.match(how, /^\/\* webpackIgnore: true \*\/ \/\* @vite-ignore \*\/ files$/, `${file}: a bundler looks for it`);
    for (const [, from] of text.matchAll(/\bfrom "([^"]+)"/g)) assert.ok(from.startsWith("./"), `${file} imports ${from}`);
  }
  assert.ok(all < 56 << 10, `${all} bytes of JavaScript`);
  assert.ok(statSync(new URL("wasi.js", dir)).size < 4 << 10);
});
