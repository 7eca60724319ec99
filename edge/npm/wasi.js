// As much of WASI (snapshot preview 1) as the Go runtime needs to start: no files, no arguments, no environment. What it prints as it dies is in the error that ends it.

const SUCCESS = 0, BADF = 8;

/** @returns {{imports: WebAssembly.Imports, bind(memory: WebAssembly.Memory): void}} */
export function wasi() {
  /** @type {WebAssembly.Memory} */
  let memory;
  const view = () => new DataView(memory.buffer);
  const none = (countAt, sizeAt) => {
    view().setUint32(countAt, 0, true);
    view().setUint32(sizeAt, 0, true);
    return SUCCESS;
  };
  let printed = "";
  return {
    bind(m) {
      memory = m;
    },
    imports: {
      wasi_snapshot_preview1: {
        args_sizes_get: none,
        environ_sizes_get: none,
        args_get: () => SUCCESS,
        environ_get: () => SUCCESS,
        sched_yield: () => SUCCESS,
        // Go does not start while a clock shows zero, which is what workers see before their first request.
        clock_time_get(id, _precision, at) {
          const ms = id === 0 ? Date.now() : (globalThis.performance?.now() ?? Date.now());
          view().setBigUint64(at, BigInt(Math.max(Math.round(ms * 1e6), 1)), true);
          return SUCCESS;
        },
        // Workers have no randomness before their first request either. What matters is seeded later.
        random_get(at, n) {
          const bytes = new Uint8Array(memory.buffer, at, n);
          try {
            for (let i = 0; i < n; i += 65536) crypto.getRandomValues(bytes.subarray(i, Math.min(i + 65536, n)));
          } catch {
            for (let i = 0; i < n; i++) bytes[i] = (i * 151 + 17) & 255;
          }
          return SUCCESS;
        },
        fd_write(_fd, vectors, count, writtenAt) {
          const v = view();
          let written = 0;
          for (let i = 0; i < count; i++) {
            const at = v.getUint32(vectors + 8 * i, true), n = v.getUint32(vectors + 8 * i + 4, true);
            if (printed.length < 4096) printed += new TextDecoder().decode(new Uint8Array(memory.buffer, at, n));
            written += n;
          }
          v.setUint32(writtenAt, written, true);
          return SUCCESS;
        },
        // The runtime asks to be woken when it has nothing to do; nothing here ever waits.
        poll_oneoff(_in, out, count, eventsAt) {
          const v = view();
          new Uint8Array(memory.buffer, out, 32 * count).fill(0);
          v.setUint32(eventsAt, count, true);
          return SUCCESS;
        },
        fd_close: () => BADF,
        fd_fdstat_get: () => BADF, fd_fdstat_set_flags: () => BADF, fd_prestat_get: () => BADF, fd_prestat_dir_name: () => BADF,
        proc_exit(code) {
          throw new Error(`counterfoil-edge: the module ended with ${code}: ${printed.slice(0, 400)}`);
        },
      },
    },
  };
}
