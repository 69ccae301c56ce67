// Xero's MCP server, run as its own process with the page's preload, and asked by way of its tools.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { FOLDER, serve, SETUP } from "./protocol.mjs";

const MAIN = `${FOLDER}/node_modules/@xeroapi/xero-mcp-server/dist/index.js`;
const LANDLORD = "6a0d2b0c-41f3-4f5e-9b67-2f1f2a5c9d10"; // whom the simulator does not know it makes
const credentials = { XERO_CLIENT_ID: "client-id", XERO_CLIENT_SECRET: "client-secret" };
const server = spawn(process.execPath, ["--import", SETUP, MAIN], {
  cwd: FOLDER,
  env: { ...process.env, ...credentials },
  stdio: ["pipe", "pipe", "inherit"],
});
const waiting = new Map();
let last = 0;

createInterface({ input: server.stdout }).on("line", (line) => {
  const answer = JSON.parse(line);
  waiting.get(answer.id)?.(answer);
});

function ask(method, params) {
  const id = ++last;
  server.stdin.write(JSON.stringify({ jsonrpc: "2.0", id, method, params }) + "\n");
  return new Promise((resolve) => waiting.set(id, resolve));
}

class Refused extends Error {}

// The text of a tool's answer. The server reports an error in a text that begins with "Error".
async function tool(name, given) {
  const { result, error } = await ask("tools/call", { name, arguments: given });
  const text = result?.content?.map((each) => each.text).join("\n") ?? error.message;
  if (error || result.isError || text.startsWith("Error")) throw new Refused(text);
  return text;
}

const found = (text, pattern) => text.match(pattern)?.[1];
const page = async (number) => {
  const text = await tool("list-contacts", { page: Number(number) });
  return { count: Number(found(text, /Found (\d+)/)) };
};
const steps = {
  page,
  create: async (name) => ({ id: found(await tool("create-contact", { name }), /ID: ([\w-]+)/) }),
  update: async (contactId, name) => {
    return { name: found(await tool("update-contact", { contactId, name }), /Contact updated: (.*) \(ID/) };
  },
  bill: async (reference) => {
    const lineItems = [{ description: "Rent", quantity: 1, unitAmount: 10, accountCode: "200", taxType: "NONE" }];
    const text = await tool("create-invoice", { contactId: LANDLORD, lineItems, type: "ACCPAY", reference });
    return { id: found(text, /ID: ([\w-]+)/) };
  },
  connections: page.bind(null, "1"), // it asks for them, and for a token, with every tool
  refresh: async () => ({ changed: Boolean(await page("1")) }),
};

// Its texts for people, back to the statuses that they stand for.
const TEXTS = { "Too many requests": 429, "Authentication failed": 401, "don't have permission": 403, "not found": 404 };

function refusal(error) {
  if (!(error instanceof Refused)) return null;
  const known = Object.entries(TEXTS).find(([text]) => error.message.includes(text));
  return { status: known?.[1] ?? Number(found(error.message, /\b([45]\d\d)\b/)), text: error.message };
}

const about = { protocolVersion: "2025-03-26", capabilities: {}, clientInfo: { name: "driver", version: "1" } };
await ask("initialize", about);
server.stdin.write(JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" }) + "\n");
process.on("exit", () => server.kill());
await serve(steps, refusal);
await once(server, "exit");
