// One screen from a name to a running agent: the command to copy, and the row that turns green by itself.

import { get, post, session } from "/console/static/api.js";
import { agentRow, rowOf } from "/console/static/agents.js";
import { announce, el, icon, show } from "/console/static/dom.js";
import { look } from "/console/static/live.js";
import { busy, clearComplaints, complain, copyable, field, heading } from "/console/static/parts.js";
import { say } from "/console/static/say.js";

const WAITING_MS = 1000;

export async function openNewAgent(place) {
  const name = el("input", { type: "text", required: true, maxlength: "100", autocomplete: "off", "data-first": true });
  const store = el("input", { type: "text", required: true, pattern: "https?://[A-Za-z0-9.:=_\\[\\]\\-]+", inputmode: "url", autocomplete: "off", spellcheck: "false", placeholder: "http://shop.lan", value: "http://" });
  const button = el("button.primary", { type: "submit" }, say("new_agent.create"));
  const form = el("form.card", {}, field("name", say("name"), name, say("new_agent.name_hint")), field("store", say("new_agent.store"), store, say("new_agent.store_hint")), el("div.form-foot", {}, button));
  const next = el("div");
  place.append(heading(say("agents.add"), { back: "/console/agents", backText: say("nav.agents") }), form, next);
  const page = { refresh: async () => {}, early: true };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearComplaints(form);
    try {
      const made = await busy(button, () => post("/v1/agents", { name: name.value }));
      const parts = waiting(made, store.value);
      form.replaceWith(parts.top);
      next.replaceChildren(parts.row);
      page.refresh = parts.refresh;
      page.everyMs = WAITING_MS;
      parts.top.querySelector("h2").focus();
      await look();
    } catch (error) {
      complain(form, error);
    }
  });
  return page;
}

function waiting(made, store) {
  const row = el("ul.rows.waited", { role: "list" });
  const text = el("div");
  const after = el("div.after", { hidden: true }, el("p", {}, say("new_agent.there")), el("a.button.primary", { href: `/console/connections/new/${made.id}` }, icon("connections"), say("connections.add")));
  const ways = { run: inTerminal, service: asService };
  const pick = (way) => text.replaceChildren(copyable(ways[way](made, store), say("new_agent.command"), { block: true, secret: true }), el("p.hint", {}, say(`new_agent.${way}_hint`)));
  const choose = (way) => el("label.segment", {}, el("input", { type: "radio", name: "way", value: way, checked: way === "run", onchange: () => pick(way) }), el("span", {}, say(`new_agent.${way}`)));
  pick("run");
  const top = el("section.card", {},
    el("h2", { tabindex: "-1" }, say("new_agent.copy", { name: made.name })),
    el("p.muted", {}, say("new_agent.once")),
    el("fieldset.segments", {}, el("legend.unseen", {}, say("new_agent.command")), choose("run"), choose("service")),
    text);
  async function refresh() {
    const agent = await get(`/v1/agents/${made.id}`);
    show(row, [rowOf(agent)], (each) => each.id, agentRow);
    if (agent.state === "online" && after.hidden) {
      after.hidden = false;
      announce(say("agents.turned", { name: agent.name, state: say("state.online") }));
    }
  }
  return { top, refresh, row: el("section", { "aria-label": say("new_agent.state") }, row, after) };
}

/** Reads the token from its own input, so that it stands in no argument; the blank before it keeps it out of most histories. */
export function inTerminal(agent, store) {
  const home = `~/.postern/${agent.id}`;
  return [
    ` install -D -m 600 /dev/stdin ${home}/token <<'END' &&`,
    agent.token,
    "END",
    `postern-agent run --relay ${quoted(session.relay)} --store ${quoted(store)} \\`,
    `  --token-file ${home}/token --state-dir ${home}/state`,
  ].join("\n");
}

export function asService(agent, store) {
  return [
    ` sudo bash deploy/install-agent.sh --relay ${quoted(session.relay)} --store ${quoted(store)} --new-token <<'END'`,
    agent.token,
    "END",
  ].join("\n");
}

/** As one word of a shell. */
const quoted = (text) => (/^[A-Za-z0-9.:/=_-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
