// The list of connections, and one of them: its address and access keys, its test, and how it is ended.

import { elsewhere, judged } from "/console/static/agents.js";
import { get, may, patch, post, remove, TEST_PATIENCE_MS } from "/console/static/api.js";
import { el, icon, show } from "/console/static/dom.js";
import { drawReport, drawWaiting } from "/console/static/hops.js";
import { look } from "/console/static/live.js";
import { busy, card, confirmed, copyable, empty, facts, heading, inParts, table, trouble } from "/console/static/parts.js";
import { say, time } from "/console/static/say.js";

let created = null;

/** Keep a new connection's access key for the page that shows it, this once. */
export function shownOnce(made) {
  created = made;
}

const names = async () => Object.fromEntries((await get("/v1/agents?as=options")).map(({ value, label }) => [value, label]));

export async function openConnections(place) {
  const add = may("manage") && el("a.button.primary", { href: "/console/connections/new" }, icon("plus"), say("connections.add"));
  const list = el("ul.rows", { role: "list" }), none = el("div");
  place.append(heading(say("nav.connections"), { tools: [add] }), list, none);
  const agents = await names();
  let all = [];
  const draw = () => {
    show(list, all.map((each) => ({ ...each, agentName: agents[each.agent] ?? null })), (each) => each.id, connectionRow);
    none.replaceChildren(...(all.length ? [] : [empty(say("connections.none"), may("manage") && el("a.button.primary", { href: "/console/connections/new" }, say("connections.add")))]));
  };
  place.append(await inParts((cursor) => get(`/v1/connections${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`), (items) => {
    all = items;
    draw();
  }));
  return {
    refresh: async () => {
      const first = await get("/v1/connections");
      const fresh = new Map(first.items.map((each) => [each.id, each]));
      all = first.next === null ? first.items : all.map((each) => fresh.get(each.id) ?? each);
      draw();
    },
  };
}

function connectionRow(each) {
  return el("li.row.connection", { "data-connection": each.id },
    el("div.row-name", {}, el("a", { href: `/console/connections/${each.id}`, "data-focus": each.id }, each.name), el("p.muted", {}, icon(each.mode === "cloud" ? "cloud" : "agents"), " ", each.mode === "cloud" ? say("mode.cloud") : (each.agentName ?? each.agent), elsewhere(each))),
    el("p.row-url", {}, el("code", {}, each.store_url), " ", storeState(each.store)),
    el("p.row-key", {}, keyState(each)));
}

/** How the store does, where the relay has looked; of the key is told apart. */
function storeState(told) {
  const { health, words } = judged(told && { ...told, key: null });
  return health === "unknown" ? null : el(`span.state.${health === "bad" ? "offline" : "online"}`, {}, icon(health === "bad" ? "cross" : "check"), words);
}

function keyState({ key_works, key_checked_at }) {
  if (key_works === null) return el("span.muted", {}, say("key.untested"));
  const tone = key_works ? "online" : "offline";
  return el("span.line", {}, el(`span.state.${tone}`, {}, icon(key_works ? "check" : "cross"), say(key_works ? "key.works" : "key.refused")), el("span.muted", {}, time(key_checked_at)));
}

export async function openConnection(place, id) {
  const top = el("div.slot"), once = el("div"), tested = el("div"), body = el("div.slot");
  place.append(top, once, tested, body);
  const agents = await names();
  if (created?.id === id) {
    once.append(card(say("connections.made"), el("p.muted", {}, say("shown_once")), credentials(created.url, created.access_key)));
    for (const sentence of created.understood) once.append(el("p.notice.warn", {}, icon("warn"), sentence));
    created = null;
  }
  const act = (work, question) => async ({ currentTarget: button }) => {
    if (question && !(await confirmed(...question))) return;
    await busy(button, work).then(look).catch((error) => once.replaceChildren(trouble(error)));
  };
  const test = (mode) => async ({ currentTarget: button }) => {
    tested.replaceChildren(card("", drawWaiting(mode)));
    try {
      const report = await busy(button, () => post(`/v1/connections/${id}/test`, undefined, TEST_PATIENCE_MS));
      tested.replaceChildren(card("", drawReport(report, mode, accept(mode, button))));
    } catch (error) {
      tested.replaceChildren(trouble(error));
    }
    look();
  };
  const accept = (mode, button) => async (offer) => {
    if (offer.store_url) return document.dispatchEvent(new CustomEvent("go", { detail: `/console/connections/${id}/edit` }));
    await patch(`/v1/connections/${id}`, offer);
    return test(mode)({ currentTarget: button });
  };

  async function refresh() {
    const connection = await get(`/v1/connections/${id}`);
    const { name, mode } = connection;
    show(top, [{ name, mode }], () => "top", () => el("div", {}, heading(name, {
      back: "/console/connections", backText: say("nav.connections"),
      tools: may("manage") ? [el("button.primary", { type: "button", "data-focus": "test", "data-action": "test", onclick: test(mode) }, icon("events"), say("test")), el("a.button", { href: `/console/connections/${id}/edit`, "data-focus": "edit" }, say("edit"))] : [],
    })));
    show(body, [connection], () => "body", (each) => el("div.slot", {}, about(each), keys(each), ends(each)));
  }

  function about(each) {
    return card("", el("div.with-spark", {}, facts(
      [say("connections.mode"), say(`mode.${each.mode}`)],
      [say("connections.agent"), each.agent && el("a", { href: `/console/agents/${each.agent}`, "data-focus": each.agent }, agents[each.agent] ?? each.agent)],
      [say("connections.store_url"), el("code", {}, each.store_url)],
      [say("connections.store"), storeState(each.store)],
      [say("connections.api_key"), keyState(each)],
      [say("id"), el("code", {}, each.id)])),
      judged(each.store).remedy && el("p.notice.bad", {}, icon("warn"), judged(each.store).remedy),
      credentials(each.url));
  }

  function keys(each) {
    const more = async () => {
      const made = await post(`/v1/connections/${id}/access-keys`);
      once.replaceChildren(card(say("access_key.new"), el("p.muted", {}, say("shown_once")), credentials(each.url, made.access_key)));
    };
    return card(say("access_keys"), table(say("access_keys"), [
      [say("id"), (key) => el("code", {}, key.id)],
      [say("created"), (key) => time(key.created_at)],
      [say("last_used"), (key) => (key.last_used_at ? time(key.last_used_at) : say("never_used"))],
      may("manage") && ["", (key) => el("button.small.danger", { type: "button", "data-focus": key.id, onclick: act(() => post(`/v1/connections/${id}/access-keys/${key.id}/revoke`), [say("access_key.revoke.ask"), say("access_key.revoke.then"), say("revoke")]) }, say("revoke"))],
    ].filter(Boolean), each.access_keys),
    may("manage") && each.access_keys.length < 2 && el("button", { type: "button", "data-focus": "new-key", onclick: act(more) }, icon("plus"), say("access_key.add")));
  }

  function ends() {
    return may("manage") && el("div.form-foot", {}, el("button.danger", { type: "button", "data-focus": "delete", "data-action": "delete", onclick: act(async () => {
      await remove(`/v1/connections/${id}`);
      document.dispatchEvent(new CustomEvent("go", { detail: "/console/connections" }));
    }, [say("connections.delete.ask"), say("connections.delete.then"), say("delete")]) }, say("delete")));
  }

  function failed(error) {
    if (error.status === 404) body.replaceChildren(empty(say("connections.gone"), el("a", { href: "/console/connections" }, say("nav.connections"))));
  }
  return { refresh, failed };
}

/** What the connector is given: the base address, and the access key where it is known. */
function credentials(url, key) {
  return el("dl.credentials", {},
    el("dt", {}, say("connections.base_url")), el("dd", {}, copyable(url, say("connections.base_url"))),
    key && [el("dt", {}, say("access_key")), el("dd", {}, copyable(key, say("access_key"), { secret: true }))]);
}
