// What the vendor's client makes of a Hrana server: `node libsql_client.mjs URL TOKEN` prints it.

import { createClient } from "@libsql/client/http";

const [url, authToken] = process.argv.slice(2);
const client = createClient({ url, authToken, intMode: "bigint" });
const insert = (id, value) => ({ sql: "INSERT INTO kept VALUES (?, ?)", args: [id, value] });

await client.batch(["CREATE TABLE kept (id INTEGER PRIMARY KEY, value)", insert(1, 2n ** 53n + 1n)], "write");
await client.execute(insert(2, new Uint8Array([0, 255])));
await client.executeMultiple("INSERT INTO kept VALUES (3, 1.5); INSERT INTO kept VALUES (4, NULL);");

const committed = await client.transaction("write");
await committed.execute(insert(5, "five; with \u0000 and é"));
await committed.commit();

const rolledBack = await client.transaction("write");
await rolledBack.execute(insert(6, "six"));
await rolledBack.rollback();

let refused;
try {
  await client.batch([insert(7, "seven"), insert(1, "again")], "write");
} catch (error) {
  refused = error.code;
}
const { rows } = await client.execute("SELECT id, value, typeof(value) FROM kept ORDER BY id");
const plain = (value) => {
  if (typeof value === "bigint") return String(value);
  return value instanceof ArrayBuffer ? [...new Uint8Array(value)] : value;
};
console.log(JSON.stringify({ refused, rows: rows.map((row) => [0, 1, 2].map((i) => plain(row[i]))) }));
client.close();
