// The page for all addresses below /console: which part of it shows what, and how one comes from one to the other.

import { openAgent } from "/console/static/agent.js";
import { openAgents } from "/console/static/agents.js";
import { begin, may, session, signOut } from "/console/static/api.js";
import { openAudit } from "/console/static/audit.js";
import { openConnection, openConnections } from "/console/static/connections.js";
import { openForm } from "/console/static/connection-form.js";
import { el } from "/console/static/dom.js";
import { openEvents } from "/console/static/events.js";
import { follow, start } from "/console/static/live.js";
import { openNewAgent } from "/console/static/new-agent.js";
import { empty, trouble } from "/console/static/parts.js";
import { say } from "/console/static/say.js";
import { listen } from "/console/static/theme.js";
import { openTokens } from "/console/static/tokens.js";

const ID = "([a-z]{3}_[a-z2-7]{16})";
/** Address, the scope that it takes, and what opens it: open(place, ...ids) answers what `live.follow` wants. */
const ROOMS = [
  ["agents", "status", openAgents],
  ["agents/new", "manage", openNewAgent],
  [`agents/${ID}`, "status", openAgent],
  ["connections", "status", openConnections],
  [`connections/new(?:/${ID})?`, "manage", (place, agent) => openForm(place, { agent })],
  [`connections/${ID}`, "status", openConnection],
  [`connections/${ID}/edit`, "manage", (place, id) => openForm(place, { id })],
  ["events", "status", openEvents],
  ["tokens", "manage", openTokens],
  ["audit", "manage", openAudit],
].map(([path, scope, open]) => [new RegExp(`^/console/${path}$`), scope, open]);

const main = document.getElementById("main");
let shown = 0;

async function open(first = false) {
  const mine = ++shown;
  const place = el("div.page");
  mark();
  try {
    const page = await find(place);
    if (mine !== shown) return;
    const looked = follow(page);
    if (page.early) looked.catch(() => {});
    else await looked;
  } catch (error) {
    place.append(trouble(error));
  }
  if (mine !== shown) return;
  if (!place.querySelector("h1")) place.prepend(el("h1.unseen", { tabindex: "-1" }, "Postern"));
  main.replaceChildren(place);
  const title = place.querySelector("h1");
  document.title = title.textContent === "Postern" ? "Postern" : `${title.textContent} · Postern`;
  scrollTo(0, 0);
  if (!first) (place.querySelector("[data-first]") ?? title).focus();
}

async function find(place) {
  for (const [path, scope, openRoom] of ROOMS) {
    const found = path.exec(location.pathname);
    if (!found) continue;
    if (!may(scope)) return nothing(place, say("trouble.forbidden"));
    return openRoom(place, ...found.slice(1));
  }
  return nothing(place, say("nowhere"));
}

function nothing(place, text) {
  place.append(el("h1", { tabindex: "-1" }, "Postern"), empty(text, el("a", { href: "/console/agents" }, say("nav.agents"))));
  return { refresh: async () => {} };
}

function mark() {
  const room = location.pathname.split("/")[2];
  for (const link of document.querySelectorAll("[data-room]")) {
    if (link.dataset.room === room) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Go to another address of the console. */
function go(address) {
  history.pushState(null, "", address);
  return open();
}

function isOurs(event, link) {
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  return plain && link.origin === location.origin && link.pathname.startsWith("/console/") && !link.target;
}

function pulse(mode) {
  document.getElementById("pulse").dataset.mode = mode;
  document.getElementById("pulse-text").textContent = say(`pulse.${mode}`);
}

await begin();
listen();
document.querySelector('[data-action="sign-out"]').addEventListener("click", signOut);
for (const link of document.querySelectorAll("[data-needs]")) link.hidden = !may(link.dataset.needs);
document.getElementById("whose").textContent = say("whose", { scope: session.scope });
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || link.hash || !isOurs(event, link)) return;
  event.preventDefault();
  go(link.pathname);
});
document.addEventListener("go", (event) => go(event.detail));
addEventListener("popstate", () => open());
start(pulse);
await open(true);
document.documentElement.dataset.ready = "";
