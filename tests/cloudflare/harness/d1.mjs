// A D1 binding as a Worker gets it. Miniflare's own are nameless proxies; the vendor's SDK knows
// a binding by its constructor's name, so these have workerd's names and pass everything on.

export function bindingOf(database, connections) {
  class D1PreparedStatement {
    constructor(statement) {
      this.statement = statement;
    }
    bind(...values) {
      return new D1PreparedStatement(this.statement.bind(...values));
    }
    all() {
      return connections.through(() => this.statement.all(), 1);
    }
    run() {
      return connections.through(() => this.statement.run(), 1);
    }
    first(column) {
      return connections.through(() => this.statement.first(column), 1);
    }
    raw(options) {
      return connections.through(() => this.statement.raw(options), 1);
    }
  }
  class D1Database {
    prepare(sql) {
      return new D1PreparedStatement(database.prepare(sql));
    }
    batch(statements) {
      const all = Array.from(statements, ({ statement }) => statement);
      return connections.through(() => database.batch(all), all.length);
    }
    exec(sql) {
      return connections.through(() => database.exec(sql), 1);
    }
  }
  return new D1Database();
}
