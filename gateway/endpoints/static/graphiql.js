// GraphiQL on this gateway: who asks is told by the fields above it, a sample or an address gives it its query.
"use strict";
// The name by which what GraphiQL is made of asks for the nonce of styles that it adds.
window.__webpack_nonce__ = document.currentScript.dataset.nonce;
const byId = (id) => document.getElementById(id);

function caller(withRole = true) {
  const headers = {};
  const credential = byId("credential").value.trim();
  if (credential) headers.Authorization = "Bearer " + credential;
  if (withRole && byId("role").value) headers["Recordgate-Roles"] = byId("role").value;
  return headers;
}

async function ask(params, options = {}) {
  const answer = await fetch("/graphql", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/graphql-response+json, application/json",
      ...caller(),
      ...options.headers,
    },
    body: JSON.stringify(params),
  });
  return answer.json();
}

const given = new URLSearchParams(location.hash.slice(1));
let samples = [];
let shown = { query: given.get("query") ?? undefined, variables: given.get("variables") ?? undefined };
let round = 0;
const root = ReactDOM.createRoot(byId("graphiql"));

function draw() {
  // Another caller sees another schema: the key makes GraphiQL ask anew.
  root.render(React.createElement(GraphiQL, {
    key: round,
    fetcher: ask,
    query: shown.query,
    variables: shown.variables,
    defaultQuery: samples.length ? samples[0].query : "{\n  __typename\n}",
    isHeadersEditorEnabled: true,
    shouldPersistHeaders: false,
    defaultEditorToolsVisibility: shown.variables ? "variables" : false,
  }));
}

async function read(path, headers) {
  const answer = await fetch(path, { headers });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || "status " + answer.status);
  return body;
}

async function know() {
  const roles = byId("role");
  const chosen = roles.value;
  try {
    const viewer = await read("/graphiql/viewer", caller(false));
    roles.replaceChildren(new Option("all of yours", ""), ...viewer.roles.map((r) => new Option(r, r)));
    roles.value = viewer.roles.includes(chosen) ? chosen : "";
    roles.disabled = viewer.roles.length === 0;
    byId("who").textContent = viewer.name + (roles.value ? " as " + roles.value : "");
    samples = await read("/graphiql/samples", caller());
  } catch (error) {
    byId("who").textContent = error.message;
    samples = [];
  }
  byId("samples").replaceChildren(new Option("choose", ""), ...samples.map((s, i) => new Option(s.name, i)));
}

byId("samples").addEventListener("change", (event) => {
  const sample = samples[event.target.value];
  if (sample) { shown = { query: sample.query, variables: "" }; draw(); }
});
for (const id of ["credential", "role"]) {
  byId(id).addEventListener("change", async () => { await know(); round += 1; draw(); });
}
byId("caller").addEventListener("submit", (event) => event.preventDefault());
know().then(draw);
