// A sandbox of Countersign for one run of Jest: on a free port, with its data in a directory that goes with it. Tests find it in two
// variables of their environment.

const { spawn } = require("node:child_process");
const { mkdtempSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { createInterface } = require("node:readline");

module.exports = async () => {
  const directory = mkdtempSync(join(tmpdir(), "countersign-"));
  const program = process.env.COUNTERSIGN_BIN ?? "countersign";
  const server = spawn(program, ["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir", directory], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  globalThis.countersign = { server, directory };
  const ready = await new Promise((resolve, reject) => {
    server.once("error", reject);
    // One line once it takes calls; none if it could not start.
    createInterface({ input: server.stdout }).once("line", resolve).once("close", () => reject(new Error("the sandbox did not start")));
  });
  const { api_url, token } = JSON.parse(ready);
  process.env.GATEWAY_URL = api_url;
  process.env.GATEWAY_TOKEN = token;
};
