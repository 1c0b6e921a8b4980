// Ends the sandbox that start-sandbox.js started, and leaves nothing of it.

const { once } = require("node:events");
const { rmSync } = require("node:fs");

module.exports = async () => {
  const { server, directory } = globalThis.countersign;
  if (server.exitCode === null) {
    server.kill();
    await once(server, "exit");
  }
  rmSync(directory, { recursive: true, force: true });
};
