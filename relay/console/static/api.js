// How the page asks /v1: with the browser's session, and the mark that shows that the page itself is asking.

const PATIENCE_MS = 15_000;
export const TEST_PATIENCE_MS = 90_000;
export let session = null;

/** What the relay refused, in its words. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || String(status));
    this.status = status;
    this.code = problem.code || "";
    this.errors = problem.errors || [];
  }
}

/** Learn who is signed in. Leads to the sign-in where nobody is. */
export async function begin() {
  session = await ask("GET", "/console/session");
}

export const get = (path) => ask("GET", path);
export const post = (path, body, patience) => ask("POST", path, body, patience);
export const patch = (path, body) => ask("PATCH", path, body);
export const remove = (path) => ask("DELETE", path);

/** The scopes include each other, in this order. */
const SCOPES = ["status", "read", "forward", "manage", "operate"];
export const may = (scope) => SCOPES.indexOf(session.scope) >= SCOPES.indexOf(scope);
export const scopesWithin = () => SCOPES.slice(0, SCOPES.indexOf(session.scope) + 1);

export async function signOut() {
  await remove("/console/session");
  location.assign("/console/sign-in");
}

async function ask(method, path, body, patience = PATIENCE_MS) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Postern-Session"] = session?.mark ?? "";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method === "POST" && path !== "/v1/connections/test") headers["Idempotency-Key"] = crypto.randomUUID();
  const answer = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(patience),
    cache: "no-store",
    redirect: "error",
  });
  if (answer.status === 401) return away();
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, content);
  return content;
}

let leaving = false;

/** The session is over: sign in, and come back. */
function away() {
  if (!leaving) location.replace(`/console/sign-in?to=${encodeURIComponent(location.pathname)}`);
  leaving = true;
  return new Promise(() => {});
}
