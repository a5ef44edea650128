// Relay's rules on the schema in the file given, one JSON line for each finding. Connections, their
// arguments and PageInfo are held by graphql-schema-linter; it knows no rule for nodes, so those of
// https://relay.dev/graphql/objectidentification.htm stand here.
import { readFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { buildSchema, isInterfaceType, isObjectType } from "graphql";

const file = process.argv[2];
const rules = ["connection-types", "connection-arguments", "page-info"].map((r) => `relay-${r}-spec`);
const linter = createRequire(import.meta.url).resolve("graphql-schema-linter/lib/cli.js");
const lint = spawnSync(process.execPath, [linter, "--rules", rules.join(","), "--format", "json", file]);
const found = JSON.parse(lint.stdout).errors;

const schema = buildSchema(readFileSync(file, "utf8"));
const node = schema.getType("Node");
const root = schema.getQueryType().getFields().node;
const must = (holds, message) => holds || found.push({ rule: "relay-node", message });
must(isInterfaceType(node) && String(node.getFields().id?.type) === "ID!", "Node has id: ID!");
must(root && root.type === node, "Query.node gives a Node, or null");
must(root && root.args.length === 1 && String(root.args[0].type) === "ID!", "Query.node takes id: ID! only");
for (const type of Object.values(schema.getTypeMap())) {
  const record = isObjectType(type) && schema.getType(`${type.name}Connection`);
  must(!record || type.getInterfaces().includes(node), `${type.name} has a connection and is a Node`);
}
for (const finding of found) console.log(JSON.stringify(finding));
console.log(JSON.stringify({ checked: rules.length + 1 }));
