// xero-node.
import { readFile } from "node:fs/promises";
import { digest, serve, SETUP, TENANT } from "./protocol.mjs";

const { xero, refresh } = await import(SETUP);
const api = xero.accountingApi;
const none = undefined;

const steps = {
  page: async (number) => ({ count: (await contacts(none, Number(number))).length }),
  where: async (condition) => ({ count: (await contacts(condition)).length }),
  create: async (name) => {
    const { body } = await api.createContacts(TENANT, { contacts: [{ name }] });
    return { id: body.contacts[0].contactID };
  },
  update: async (id, name) => {
    const { body } = await api.updateContact(TENANT, id, { contacts: [{ name }] });
    return { name: body.contacts[0].name };
  },
  bill: async (reference) => {
    const lineItems = [{ description: "Rent", quantity: 1, unitAmount: 10 }];
    const invoice = { type: "ACCPAY", contact: { name: "Landlord" }, lineItems, reference };
    const { body } = await api.createInvoices(TENANT, { invoices: [invoice] });
    return { id: body.invoices[0].invoiceID };
  },
  upload: async (id, path) => {
    const content = await readFile(path);
    const options = { headers: { "Content-Type": "application/octet-stream" } };
    await api.createInvoiceAttachmentByFileName(TENANT, id, "file.bin", content, none, none, options);
    return digest(content);
  },
  download: async (id) => {
    const octets = "application/octet-stream";
    return digest((await api.getInvoiceAttachmentByFileName(TENANT, id, "file.bin", octets)).body);
  },
  connections: async () => ({ count: (await xero.updateTenants(false)).length }),
  refresh: async () => {
    const before = xero.readTokenSet().access_token;
    await refresh();
    return { changed: xero.readTokenSet().access_token !== before };
  },
};

async function contacts(where, page) {
  return (await api.getContacts(TENANT, none, where, none, none, page)).body.contacts;
}

// It rejects with an object, or with that object as JSON.
function refusal(error) {
  const told = typeof error === "string" ? JSON.parse(error) : error;
  const status = told?.response?.statusCode ?? told?.response?.status;
  if (status === undefined) return told?.isAxiosError ? { text: told.message } : null;
  const body = told.body ?? told.response.data;
  return { status, text: typeof body === "string" ? body : JSON.stringify(body) };
}

await serve(steps, refusal);
