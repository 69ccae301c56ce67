// The proxy that Node's documentation leads to: node:http on both sides, connections kept, bodies piped.
"use strict";
const http = require("node:http");
const https = require("node:https");

const upstream = new URL(process.env.UPSTREAM);
const client = upstream.protocol === "https:" ? https : http;
const agent = new client.Agent({ keepAlive: true });

http.createServer((request, response) => {
  const sent = client.request(
    {
      agent,
      host: upstream.hostname,
      port: upstream.port,
      method: request.method,
      path: request.url,
      headers: { ...request.headers, host: upstream.host },
    },
    (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    },
  );
  sent.on("error", () => response.destroy());
  request.pipe(sent);
}).listen(Number(process.env.PORT), "127.0.0.1");
