// One isolate: CPython in WebAssembly with exactly the given folders, as workerd would start it.

import { readFileSync } from "node:fs";
import { loadPyodide } from "pyodide";
import { Connections } from "./connections.mjs";
import { bindingOf } from "./d1.mjs";

const ENTRYPOINT = new URL("inside/entrypoint.py", import.meta.url);
const NEARLY_OUT_OF_CPU = 24; // SIGXCPU, by which workerd tells Python
const GRACE_MILLISECONDS = 300;
const originalFetch = globalThis.fetch;

class ScheduledController {
  constructor(cron, scheduledTime) {
    Object.assign(this, { cron, scheduledTime, type: "scheduled" });
  }
  noRetry() {}
}

class ExecutionContext {
  pending = [];
  waitUntil(promise) {
    this.pending.push(Promise.resolve(promise));
  }
  passThroughOnException() {}
}

export class Isolate {
  static async start({ folders, vars, platform, compatibilityFlags = {} }) {
    const isolate = new Isolate();
    isolate.connections = new Connections();
    isolate.env = { ...vars, DB: bindingOf(platform, isolate.connections) };
    isolate.logs = [];
    isolate.py = await loadPyodide({
      env: { PYTHONDONTWRITEBYTECODE: "1" },
      stdout: (line) => isolate.logs.push(line),
      stderr: (line) => isolate.logs.push(line),
    });
    globalThis.fetch = (...request) => isolate.connections.fetch(originalFetch, ...request);
    isolate.#mount(folders);
    isolate.#provideSdk(compatibilityFlags);
    isolate.#listenForInterrupts();
    return isolate;
  }

  #mount(folders) {
    const path = [];
    for (const [place, folder] of Object.entries(folders)) {
      this.py.FS.mkdirTree(place);
      this.py.FS.mount(this.py.FS.filesystems.NODEFS, { root: folder }, place);
      path.push(place);
    }
    this.py.globals.set("_path", this.py.toPy(path));
    this.py.runPython("import sys; sys.path[:0] = _path; del _path");
    this.py.FS.writeFile("/harness_entrypoint.py", readFileSync(ENTRYPOINT));
    this.py.runPython("sys.path.append('/')");
    this.entrypoint = this.py.pyimport("harness_entrypoint");
  }

  // What the vendor's SDK (`import workers`) asks its runtime for.
  #provideSdk(flags) {
    const { env } = this;
    this.py.registerJsModule("_pyodide_entrypoint_helper", {
      patchWaitUntil() {},
      cloudflareWorkersModule: { env, waitUntil() {} },
      cloudflareSocketsModule: {},
      doAnImport: (name) => import(name),
    });
    this.py.registerJsModule("_cloudflare_compat_flags", flags);
  }

  #listenForInterrupts() {
    this.interrupts = new Uint8Array(new SharedArrayBuffer(1));
    this.py.setInterruptBuffer(this.interrupts);
  }

  // Import the Worker's main module under the rules of the global scope → milliseconds of CPU.
  load(module) {
    const began = process.cpuUsage();
    this.worker = this.entrypoint.load(module);
    this.connections.globalScope = false;
    return milliseconds(process.cpuUsage(began));
  }

  scheduled(cron, time) {
    const controller = new ScheduledController(cron, time);
    return this.#call("scheduled", [controller, undefined, undefined]);
  }

  async fetch({ url, method, headers, body }) {
    const request = new Request(url, { method, headers, body });
    const response = await this.#call("fetch", [request]);
    const text = await response.text();
    return { status: response.status, headers: Object.fromEntries(response.headers), text };
  }

  async #call(method, parameters) {
    const context = new ExecutionContext();
    const result = await this.entrypoint.call(this.worker, context, this.env, method, parameters);
    await Promise.all(context.pending);
    return result;
  }

  python(code) {
    this.connections.globalScope = false;
    this.py.globals.set("env", this.entrypoint.wrapped(this.env));
    this.py.globals.set("raw_env", this.env);
    return this.py.runPythonAsync(code);
  }

  // Let the platform run out of patience as so many more calls have been answered: an exception at
  // whatever instruction is executed next, no answer to any further call, and soon the end.
  cutOffAfter(calls) {
    this.connections.cutOffAfter(calls, () => {
      this.interrupts[0] = NEARLY_OUT_OF_CPU;
      this.connections.dead = true;
      setTimeout(() => this.#end("the platform ended the isolate"), GRACE_MILLISECONDS);
    });
  }

  #end;
  ended = new Promise((resolve) => {
    this.#end = resolve;
  });
}

export function milliseconds({ user, system }) {
  return (user + system) / 1000;
}
