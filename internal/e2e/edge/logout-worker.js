// For workerd: a request brings the token.
import module from "module.wasm";
import options from "options.json";
import { createGuard } from "../../../edge/npm/worker.js";

const guard = await createGuard({ ...options, module });

export default {
  async fetch(request, _env, ctx) {
    return Response.json(await guard.check(await request.text(), { waitUntil: (work) => ctx.waitUntil(work) }));
  },
};
