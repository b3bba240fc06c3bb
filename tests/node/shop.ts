// An application in TypeScript: what it knows of the API is generated from the OpenAPI document.
// node shop.js BASE_URL KEY prints one line of JSON with what it was told.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Message = components["schemas"]["MessageIn"];
type Status = components["schemas"]["StatusOut"];
type Problem = components["schemas"]["ProblemOut"];

const [baseUrl = "", key = ""] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

const receipt: Message = {
  template: "receipt",
  to: "Ada <ada@example.org>",
  data: { order: { number: 7 }, total: "12.50" },
  tags: ["shop"],
  metadata: { order: "7" },
};

function told(problem: Problem | undefined): [number, string[]] {
  if (problem === undefined) throw new Error("this should have been refused");
  return [problem.status, (problem.errors ?? []).map((one) => one.field)];
}

async function hand(message: Message, key?: string): Promise<[string, boolean]> {
  const params = { header: key === undefined ? {} : { "Idempotency-Key": key } };
  const { data, error, response } = await api.POST("/v1/messages", { body: message, params });
  if (error !== undefined) throw new Error(error.detail);
  return [data.id, response.headers.get("Idempotent-Replayed") === "true"];
}

async function settled(id: string): Promise<Status> {
  for (;;) {
    const { data, error } = await api.GET("/v1/messages/{id}", { params: { path: { id } } });
    if (error !== undefined) throw new Error(error.detail);
    if (data.state === "accepted") return data;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function main(): Promise<void> {
  const [id] = await hand(receipt, "order-7");
  const again = await hand(receipt, "order-7");
  const status = await settled(id);
  const batch = await api.POST("/v1/messages/batch", {
    body: { messages: [{ ...receipt, to: ["bob@example.org"] }, { to: "bob@example.org", text: "Hi" }] },
  });
  const query = { tag: "shop", to: "bob@example.org", limit: 5 };
  const listed = await api.GET("/v1/messages", { params: { query } });
  const missing = await api.POST("/v1/messages", { body: { ...receipt, data: {} } });
  const conflict = await api.POST("/v1/messages", {
    body: { ...receipt, to: "eve@example.org" },
    params: { header: { "Idempotency-Key": "order-7" } },
  });
  const nobody = await api.GET("/v1/messages/{id}", { params: { path: { id: "0".repeat(27) } } });
  const preview = await api.GET("/v1/templates/{name}/preview", { params: { path: { name: "receipt" } } });
  const answer = {
    id,
    again,
    state: status.state,
    metadata: status.metadata,
    attempts: status.attempts.map((one) => one.code),
    batch: batch.data?.results.map((one) => one.status),
    refused: told(batch.data?.results[1]?.problem ?? undefined),
    listed: listed.data?.messages.map((one) => one.to),
    missing: told(missing.error),
    conflict: told(conflict.error),
    nobody: told(nobody.error),
    preview: preview.data?.subject,
  };
  console.log(JSON.stringify(answer));
}

await main();
