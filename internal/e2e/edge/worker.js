// For workerd: the corpus is the body of a request.
import module from "module.wasm";
import { play } from "./driver.js";

export default {
  async fetch(request) {
    return new Response(await play(module, request.body));
  },
};
