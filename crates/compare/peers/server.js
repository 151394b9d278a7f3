// Echo and broadcast on Node, as one writes them there.
// Usage: node server.js echo|broadcast [--port N]
"use strict";
const net = require("node:net");

const [mode, , port] = process.argv.slice(2);
const clients = new Set();

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  if (mode === "echo") {
    socket.pipe(socket);
    return;
  }
  clients.add(socket);
  let rest = Buffer.alloc(0);
  socket.on("data", (data) => {
    rest = rest.length ? Buffer.concat([rest, data]) : data;
    const end = rest.lastIndexOf(10) + 1;
    if (end === 0) return;
    const lines = rest.subarray(0, end);
    rest = rest.subarray(end);
    for (const client of clients) {
      if (client !== socket) client.write(lines);
    }
  });
  socket.on("close", () => clients.delete(socket));
});

server.listen({ host: "127.0.0.1", port: Number(port ?? 3000), backlog: 4096 }, () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port}`);
});
