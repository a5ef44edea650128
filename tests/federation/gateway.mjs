// Composes subgraphs (NAME=URL …), and serves the supergraph; prints its URL, or what is wrong with the composition.
import { composeServices } from "@theguild/federation-composition";
import { createGatewayRuntime } from "@graphql-hive/gateway-runtime";
import http from "@graphql-mesh/transport-http";
import { createServer } from "node:http";
import { parse } from "graphql";

const services = [];
for (const argument of process.argv.slice(2)) {
  const at = argument.indexOf("=");
  const [name, url] = [argument.slice(0, at), argument.slice(at + 1)];
  services.push({ name, url, typeDefs: parse(await (await fetch(url)).text()) });
}
const composed = composeServices(services);
if (composed.errors?.length) {
  console.log(JSON.stringify({ errors: composed.errors.map((e) => e.message) }));
  process.exit(0);
}
const gateway = createGatewayRuntime({
  supergraph: composed.supergraphSdl,
  transports: { http },
  logging: false,
  propagateHeaders: {
    fromClientToSubgraphs({ request }) {
      const token = request.headers.get("recordgate-token");
      return token ? { "recordgate-token": token } : {};
    },
    fromSubgraphsToClient({ response }) {
      const token = response.headers.get("recordgate-token");
      return token ? { "recordgate-token": token } : {};
    },
  },
});
const server = createServer(gateway);
server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/graphql` }));
});
