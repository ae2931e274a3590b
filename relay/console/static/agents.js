// The list of agents: their states, stores and traffic, as they are now.

import { get, may, session } from "/console/static/api.js";
import { announce, el, icon, show } from "/console/static/dom.js";
import { look } from "/console/static/live.js";
import { empty, heading, requests, sparkline, state } from "/console/static/parts.js";
import { language, ms, say, time } from "/console/static/say.js";

const STATES = ["online", "degraded", "offline", "never", "revoked"];
const STORES_SHOWN = 4;
const TYPING_MS = 200;
const STILL = Array(10).fill(0);

export async function openAgents(place) {
  const counts = el("div.chips", { role: "group", "aria-label": say("agents.by_state") });
  const search = el("input", { type: "search", placeholder: say("agents.search"), "aria-label": say("agents.search") });
  const list = el("ul.rows", { role: "list" });
  const none = el("div");
  const more = el("button.more", { type: "button" }, say("more"));
  const add = may("manage") && el("a.button.primary", { href: "/console/agents/new" }, icon("plus"), say("agents.add"));
  place.append(heading(say("nav.agents"), { tools: [add] }), el("div.filters", {}, counts, search), list, none, el("div.more-foot", {}, more));
  const view = { wanted: null, words: "", parts: 1, items: [], more: false };
  let typing = 0;

  function draw() {
    show(list, view.items, (agent) => agent.id, agentRow);
    const filtered = view.words || view.wanted;
    const first = !filtered && may("manage") && el("a.button.primary", { href: "/console/agents/new" }, say("agents.add"));
    none.replaceChildren(...(view.items.length ? [] : [empty(say(filtered ? "agents.no_fit" : "agents.none"), first)]));
    more.parentNode.hidden = !view.more;
  }

  async function refresh() {
    const [status, found] = await Promise.all([get("/v1/status"), readAgents(view)]);
    view.items = found.items.map(rowOf);
    view.more = found.next !== null;
    show(counts, [{ state: null, count: total(status) }, ...STATES.map((name) => ({ state: name, count: status.agents[name] ?? 0 }))]
      .filter((each) => each.count || each.state === null || each.state === view.wanted)
      .map((each) => ({ ...each, pressed: view.wanted === each.state })), (each) => String(each.state), chip);
    draw();
  }

  function chip({ state: name, count, pressed }) {
    const act = () => {
      Object.assign(view, { wanted: name, parts: 1 });
      look();
    };
    return el(`button.chip.${name ?? "all"}`, { type: "button", "aria-pressed": String(pressed), "data-focus": `chip-${name}`, onclick: act },
      el("span.dot", { "aria-hidden": "true" }), say(name ? `state.${name}` : "agents.all"), " ", el("b", {}, String(count)));
  }

  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      Object.assign(view, { words: search.value.trim(), parts: 1 });
      look();
    }, TYPING_MS);
  });
  more.addEventListener("click", () => {
    view.parts += 1;
    look();
  });
  return { refresh };
}

const total = (status) => Object.values(status.agents).reduce((sum, count) => sum + count, 0);

async function readAgents({ wanted, words, parts }) {
  const all = { items: [], next: null };
  for (let part = 0; part < parts; part += 1) {
    const query = new URLSearchParams({ ...(wanted && { state: wanted }), ...(words && { q: words }), ...(all.next && { cursor: all.next }) });
    const found = await get(`/v1/agents?${query}`);
    all.items.push(...found.items);
    all.next = found.next;
    if (all.next === null) break;
  }
  return all;
}

/** Of an agent what its row shows. */
export function rowOf(agent) {
  const { id, name, account, state: now, since, flapping, traffic } = agent;
  return { id, name, account, state: now, since, flapping, traffic, stores: storesOf(agent) };
}

/** One agent as a row. `before` is how it was when it was drawn last. */
export function agentRow(agent, before) {
  const turned = before && before.state !== agent.state;
  if (turned) announce(say("agents.turned", { name: agent.name, state: say(`state.${agent.state}`) }));
  return el(`li.row.agent.${agent.state}${turned ? ".turned" : ""}`, { "data-agent": agent.id, "data-state": agent.state },
    el("div.row-name", {},
      el("a", { href: `/console/agents/${agent.id}`, "data-focus": agent.id }, agent.name),
      el("p.muted", {}, state(agent.state), " ", sinceWhen(agent), agent.flapping && el("span.errors", {}, say("agents.flapping")), elsewhere(agent))),
    el("ul.stores", { role: "list", "aria-label": say("agents.stores") }, agent.stores.slice(0, STORES_SHOWN).map(storeChip), rest(agent)),
    (agent.traffic || agent.state === "online") && el("div.row-traffic", {}, traffic(agent.traffic)));
}

/** To an operator, whose it is, where it is another account's. */
export function elsewhere({ account }) {
  return account === session.account ? null : el("code", { title: say("account") }, account);
}

function sinceWhen(agent) {
  if (agent.state === "never") return say("agents.never");
  if (agent.state === "online") return el("span", {}, say("agents.for"), " ", time(agent.since, "lasting"));
  return time(agent.since);
}

function rest(agent) {
  const hidden = agent.stores.length - STORES_SHOWN;
  return hidden > 0 && el("li.muted", {}, say("agents.more_stores", { n: hidden }));
}

function traffic(told) {
  const series = told?.series ?? STILL;
  const count = told?.requests ?? 0;
  const errors = Object.values(told?.errors ?? {}).reduce((sum, each) => sum + each, 0);
  return [
    sparkline(series, requests(count)),
    el("p.figures", {}, el("span", {}, requests(count)),
      told && told.p95_ms !== null && el("span.muted", {}, ` · p95 ${ms(told.p95_ms)}`),
      errors > 0 && el("span.errors", {}, " ", say("traffic.errors", { n: errors }))),
  ];
}

/** What an agent publishes, each with what is known of it: [{ name, url, last, health, words, remedy }]. */
export function storesOf(agent) {
  const published = new Map();
  for (const tunnel of agent.tunnels) for (const name of tunnel.stores) published.set(name, { name });
  for (const told of agent.stores) published.set(told.store, { name: told.store, told });
  return [...published.values()].map(({ name, told }) => ({ name, url: urlOf(agent, name), last: told?.last_success ?? null, ...judged(told) }));
}

/** What is known of a store, as a colour, a word, and what to do where something is wrong. */
export function judged(told) {
  const health = (tone, word) => ({ health: tone, words: say(`store.${word}`), remedy: tone === "bad" ? told.remedy?.[language] : null });
  if (told?.reachable === false) return health("bad", "unreachable");
  if (told?.answering === false) return health("bad", "not_answering");
  if (told?.key === false) return health("bad", "key_refused");
  if (told?.answering) return health("good", "answering");
  if (told?.reachable) return health("good", "reachable");
  return health("unknown", "unknown");
}

/** The address to write in a connection for `shop.lan:80`: as the agent was told, where it said so. */
function urlOf(agent, name) {
  const [, host, port] = /^(.*):(\d+)$/.exec(name) ?? [null, name, "80"];
  const plain = port === "80" ? `http://${host}` : port === "443" ? `https://${host}` : `http://${name}`;
  const said = agent.instances.flatMap((instance) => instance.stores).map((store) => store.split("=")[0]);
  const secure = `https://${name}`;
  return said.find((store) => store === plain || store === secure) ?? plain;
}

export function storeChip({ name, health, words }) {
  return el(`li.store.${health}`, { title: words }, el("span.dot", { "aria-hidden": "true" }), el("span.store-name", {}, name), health === "bad" ? el("span.errors", {}, words) : el("span.unseen", {}, ` (${words})`));
}
