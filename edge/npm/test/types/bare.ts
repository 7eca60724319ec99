// A program whose types have URL and fetch, and nothing else of the web: as those of Node have.
import { createGuard } from "../../index.js";
import module from "counterfoil-edge/own.wasm";

declare global {
  class URL {
    readonly href: string;
  }
  function fetch(url: string): Promise<unknown>;
}

await createGuard({ module, issuer: "i", audience: "a", origin: "https://app.example" });
