// The loop of the drivers in Node.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

export const { TENANT, FOLDER, SETUP } = process.env;

export const digest = (content) => ({
  bytes: content.length,
  sha256: createHash("sha256").update(content).digest("hex"),
});

// Does what comes, until the end of input. `refusal` describes the client's own errors, and no other.
export async function serve(steps, refusal) {
  const attempt = async (step, words) => {
    try {
      return { ok: true, ...(await step(...words)) };
    } catch (error) {
      const told = refusal(error) ?? { crashed: true, text: String(error?.stack ?? error) };
      return { ok: false, error: error?.name ?? typeof error, ...told };
    }
  };
  const burst = async (times) => {
    const told = await Promise.all(Array.from({ length: Number(times) }, () => attempt(steps.page, ["1"])));
    const failed = told.filter((each) => !each.ok);
    return { done: told.length - failed.length, failed };
  };
  console.log("{}");
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...words] = line.split("\t");
    console.log(JSON.stringify(await attempt({ ...steps, burst }[name], words)));
  }
  process.exit();
}
