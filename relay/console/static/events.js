// What happens, as it happens: the relay's notices since this page was opened, and what the relay still remembers.

import { el, show } from "/console/static/dom.js";
import { notices } from "/console/static/live.js";
import { empty, heading } from "/console/static/parts.js";
import { get } from "/console/static/api.js";
import { clockTime, known, say, wholeTime } from "/console/static/say.js";

const BAD = new Set(["agent.offline", "agent.clone", "store.unreachable", "store.key_refused", "tunnel.down", "agent.flapping"]);
const TRANSPORTS = { tcp: "TCP", websocket: "WebSocket" };
const WARN = new Set(["agent.degraded", "agent.version_behind", "certificate.expiring", "token.expiring"]);

export async function openEvents(place) {
  const list = el("ol.notices", { role: "list" }), none = el("div");
  place.append(heading(say("nav.events"), { under: say("events.about") }), list, none);
  let names = await namesNow();
  let strangers = false;

  function draw() {
    const named = notices.map((notice) => ({ ...notice, agentName: names[notice.agent], connectionName: names[notice.connection] }));
    show(list, named, (notice) => `${notice.id}-${notice.kind}`, row);
    none.replaceChildren(...(notices.length ? [] : [empty(say("events.none"))]));
  }

  async function refresh() {
    if (strangers) {
      strangers = false;
      names = await namesNow();
    }
    draw();
  }

  function notice({ agent, connection }) {
    strangers ||= [agent, connection].some((id) => id && !names[id]);
    draw();
  }
  return { refresh, notice };
}

/** Of agents and connections, by id. */
async function namesNow() {
  const [agents, connections] = await Promise.all([get("/v1/agents?as=options"), get("/v1/connections")]);
  return Object.fromEntries([...agents.map(({ value, label }) => [value, label]), ...connections.items.map(({ id, name }) => [id, name])]);
}

function row(notice) {
  const { kind, details } = notice;
  const planned = kind === "agent.offline" && details?.planned;
  const tone = details?.planned ? "calm" : BAD.has(kind) ? "bad" : WARN.has(kind) ? "warn" : "calm";
  return el(`li.happening.${tone}`, {},
    el("time", { datetime: new Date(notice.at * 1000).toISOString(), title: wholeTime(notice.at) }, clockTime(notice.at)),
    el("span.dot", { "aria-hidden": "true" }),
    el("p.line", {}, el("b", {}, known(planned ? "event.agent.offline.planned" : `event.${kind}`, kind)), about(notice)));
}

function about({ agent, agentName, connection, connectionName, details }) {
  const more = [details?.transport && TRANSPORTS[details.transport], details?.remote, details?.reason].filter(Boolean).join(" · ");
  return [
    details?.record && el("span", {}, known(`record.${details.record}`, details.record)),
    agent && el("a", { href: `/console/agents/${agent}` }, agentName ?? agent),
    connection && el("a", { href: `/console/connections/${connection}` }, connectionName ?? connection),
    details?.store && el("code", {}, details.store),
    details?.subject && !agent && !connection && el("code", {}, details.subject),
    more && el("span.muted", {}, more),
  ];
}
