// A D1 binding as a Worker gets it, with workerd's names: the vendor's SDK knows a binding by its
// constructor. The real binding is in a Worker of Miniflare's, which this one sends its calls to;
// Miniflare's own proxies block Node's thread, and lose their answers under load.

export const SERVANT = `
  const blob = (value) => (value?.blob ? Uint8Array.from(value.blob) : value);
  export default {
    async fetch(request, { DB }) {
      try {
        const all = (await request.json()).map(({ sql, values }) =>
          DB.prepare(sql).bind(...values.map(blob)));
        const results = all.length === 1 ? [await all[0].all()] : await DB.batch(all);
        return Response.json({ results });
      } catch (error) {
        return Response.json({ error: error.message });
      }
    },
  };
`;

// Run statements, all or none → their results.
export async function run(platform, statements) {
  const body = JSON.stringify(statements);
  const response = await platform.dispatchFetch("http://d1/", { method: "POST", body });
  const { results, error } = await response.json();
  if (error) throw new Error(error);
  return results;
}

export function bindingOf(platform, connections) {
  class D1PreparedStatement {
    constructor(sql, values = []) {
      this.sent = { sql, values };
    }
    bind(...values) {
      return new D1PreparedStatement(this.sent.sql, values.map(sendable));
    }
    all() {
      return connections.through(async () => (await run(platform, [this.sent]))[0], 1);
    }
    run() {
      return this.all();
    }
  }
  class D1Database {
    prepare(sql) {
      return new D1PreparedStatement(sql);
    }
    batch(statements) {
      const all = Array.from(statements, ({ sent }) => sent);
      return connections.through(() => run(platform, all), all.length);
    }
  }
  return new D1Database();
}

function sendable(value) {
  if (ArrayBuffer.isView(value)) return { blob: Array.from(value) };
  if (value === null || ["number", "string", "boolean"].includes(typeof value)) return value;
  throw new Error(`D1_TYPE_ERROR: Type '${typeof value}' not supported for value '${value}'`);
}
