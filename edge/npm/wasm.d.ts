/// <reference path="./index.d.ts" />
/** The module, compiled, as workers import it. */
declare const module: WebAssembly.Module;
export default module;
