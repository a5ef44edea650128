// The one member of the replica set, and the account of recordgate: it reads and writes the database recordgate.
// Run by mongosh before each start of the stack; it says the same each time.
const { readFileSync } = require("node:fs");
const secret = (name) => readFileSync(`/run/secrets/${name}`, "utf8").trim();

const root = connect(
  `mongodb://root:${encodeURIComponent(secret("mongodb_admin_password"))}@mongodb:27017/admin?directConnection=true`,
);
try {
  root.adminCommand({ replSetGetStatus: 1 });
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  root.adminCommand({
    replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "mongodb:27017" }] },
  });
}
for (let tries = 0; !root.hello().isWritablePrimary; tries++) {
  if (tries === 60) throw new Error("the replica set has no primary after a minute");
  sleep(1000);
}

const database = root.getSiblingDB("recordgate");
const account = {
  pwd: secret("mongodb_password"),
  roles: [{ role: "readWrite", db: "recordgate" }],
};
if (database.getUser("recordgate") === null) database.createUser({ user: "recordgate", ...account });
else database.updateUser("recordgate", account);
print("MongoDB: the account recordgate is there");
