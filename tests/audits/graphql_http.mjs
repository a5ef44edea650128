// Runs the server audits of graphql-http against the URL given and prints one JSON line for each:
// {"id", "name", "status": "ok" | "notice" | "warn" | "error", "reason"}.
import { serverAudits } from "graphql-http";

for (const audit of serverAudits({ url: process.argv[2], fetchFn: fetch })) {
  const { id, name, status, reason } = await audit.fn();
  console.log(JSON.stringify({ id, name, status, reason }));
}
