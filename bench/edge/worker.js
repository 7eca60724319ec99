// For workerd, whose clocks stand still while a request is worked on: whoever asks takes the time. /list; /arrive?c=<number>&n=<checks>, and
// then /run?c=<number>; /start?module=<name>; /empty
import data from "data.json";
import host from "host.wasm";
import own from "own.wasm";
import * as jose from "../../internal/e2e/edge/runtimes/node_modules/jose/dist/webapi/index.js";
import { Module } from "../../edge/npm/module.js";
import { arrive, contenders, warmUp } from "./bench.js";

const list = await contenders({ modules: { host, own }, data, jose });
let warm = false, arrived = [];

export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    switch (pathname) {
      case "/list":
        if (!warm) await warmUp(list);
        warm = true;
        return Response.json(list.map(({ group, name }) => ({ group, name })));
      case "/arrive":
        arrived = arrive(list[Number(searchParams.get("c"))], Number(searchParams.get("n")));
        return new Response("done");
      case "/run":
        await list[Number(searchParams.get("c"))].run(arrived);
        return new Response("done");
      case "/start":
        await Module.start(searchParams.get("module") === "host" ? host : own);
        return new Response("done");
    }
    return new Response("empty");
  },
};
