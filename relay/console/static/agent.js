// One agent: its tunnels, stores, instances and access tokens, and how it is ended.

import { get, may, post, remove } from "/console/static/api.js";
import { storesOf } from "/console/static/agents.js";
import { el, icon, show } from "/console/static/dom.js";
import { look } from "/console/static/live.js";
import { busy, card, confirmed, copyable, empty, facts, heading, requests, sparkline, state, table, trouble } from "/console/static/parts.js";
import { language, ms, number, say, size, time } from "/console/static/say.js";

export async function openAgent(place, id) {
  const top = el("div.slot"), body = el("div.slot"), once = el("div");
  place.append(top, once, body);
  const act = (work, question) => async ({ currentTarget: button }) => {
    if (question && !(await confirmed(...question))) return;
    await busy(button, work).then(look).catch((error) => once.replaceChildren(trouble(error)));
  };

  async function refresh() {
    const [agent, tokens, connections] = await Promise.all([get(`/v1/agents/${id}`), get(`/v1/agents/${id}/tokens`), get("/v1/connections")]);
    const used = connections.items.filter((each) => each.agent === id).map(({ id: key, name, store_url }) => ({ id: key, name, store_url }));
    show(top, [{ name: agent.name, state: agent.state }], () => "top", head);
    show(body, [
      ["facts", { agent }], ["stores", { stores: storesOf(agent), used }], ["tunnels", agent.tunnels],
      ["instances", { online: agent.state, instances: agent.instances }], ["tokens", tokens.items], ["end", agent.revoked_at],
    ], ([key]) => key, ([key, told]) => el("div.slot", {}, CARDS[key](told)));
  }

  function head(agent) {
    return el("div", {}, heading(agent.name, { back: "/console/agents", backText: say("nav.agents"), tools: [state(agent.state)] }));
  }

  const CARDS = {
    facts: ({ agent }) => card("",
      agent.remedy && el(`p.notice.${agent.state === "offline" ? "bad" : "warn"}`, {}, icon("warn"), agent.remedy[language]),
      el("div.with-spark", {}, facts(
        [say("since"), time(agent.since)],
        [say("last_seen"), agent.last_seen_at && time(agent.last_seen_at)],
        ...trafficFacts(agent.traffic),
        [say("id"), el("code", {}, agent.id)]), agent.traffic && sparkline(agent.traffic.series, requests(agent.traffic.requests)))),
    stores: ({ stores, used }) => card(say("agents.stores"),
      stores.length ? stores.map(storeLine) : el("p.muted", {}, say("agent.no_store")),
      used.map((each) => el("p.line", {}, icon("connections"), el("a", { href: `/console/connections/${each.id}`, "data-focus": each.id }, each.name), " ", el("span.muted", {}, each.store_url))),
      may("manage") && el("p", {}, el("a.button", { href: `/console/connections/new/${id}`, "data-focus": "connect" }, icon("plus"), say("connections.add")))),
    tunnels: (tunnels) => card(say("agent.tunnels"), tunnels.length ? table(say("agent.tunnels"), [
      [say("tunnel.transport"), (each) => (each.transport === "tcp" ? "SSH · TCP" : "SSH · WebSocket")],
      [say("tunnel.node"), (each) => each.node],
      [say("tunnel.remote"), (each) => el("code", {}, each.remote)],
      [say("tunnel.round_trip"), (each) => (each.round_trip_ms === null ? "–" : ms(each.round_trip_ms))],
      [say("tunnel.channels"), (each) => number(each.channels)],
      [say("since"), (each) => time(each.since)],
    ], tunnels) : el("p.muted", {}, say("agent.no_tunnel"))),
    instances: ({ instances }) => card(say("agent.instances"), instances.length ? table(say("agent.instances"), [
      [say("instance.host"), (each) => [each.host_name, each.clone_suspected && el("span.errors", {}, " ", say("instance.clone"))]],
      [say("instance.version"), (each) => each.version],
      [say("instance.state"), (each) => say(each.revoked_at ? "state.revoked" : each.online ? "state.online" : "state.offline")],
      [say("last_seen"), (each) => time(each.last_seen_at)],
      may("manage") && ["", (each) => !each.revoked_at && el("span.actions", {},
        el("button.small", { type: "button", "data-focus": `release-${each.id}`, onclick: act(() => post(`/v1/agents/${id}/instances/${each.id}/release`)) }, say("instance.release")),
        el("button.small.danger", { type: "button", "data-focus": `revoke-${each.id}`, onclick: act(() => post(`/v1/agents/${id}/instances/${each.id}/revoke`), [say("instance.revoke.ask", { name: each.host_name }), say("instance.revoke.then"), say("revoke")]) }, say("revoke")))],
    ].filter(Boolean), instances) : el("p.muted", {}, say("agent.no_instance"))),
    tokens: (tokens) => card(say("agent.tokens"), table(say("agent.tokens"), [
      [say("id"), (each) => el("code", {}, each.id)],
      [say("created"), (each) => time(each.created_at)],
      [say("instance.state"), (each) => (each.revoked_at ? say("state.revoked") : each.expires_at ? [say("expires"), " ", time(each.expires_at)] : say("valid"))],
      may("manage") && ["", (each) => !each.revoked_at && el("button.small.danger", { type: "button", "data-focus": `end-${each.id}`, onclick: act(() => post(`/v1/agents/${id}/tokens/${each.id}/revoke`), [say("agent_token.revoke.ask"), say("agent_token.revoke.then"), say("revoke")]) }, say("revoke"))],
    ].filter(Boolean), tokens),
    may("manage") && el("button", { type: "button", "data-focus": "token", onclick: act(async () => {
      const made = await post(`/v1/agents/${id}/tokens`, {});
      once.replaceChildren(card(say("agent_token.new"), el("p.muted", {}, say("shown_once")), copyable(made.token, say("agent_token.new"), { secret: true })));
    }) }, icon("plus"), say("agent_token.add"))),
    end: (revoked) => may("manage") && el("div.form-foot", {},
      !revoked && el("button.danger", { type: "button", "data-focus": "revoke", "data-action": "revoke", onclick: act(() => post(`/v1/agents/${id}/revoke`), [say("agent.revoke.ask"), say("agent.revoke.then"), say("revoke")]) }, say("agent.revoke")),
      el("button.danger", { type: "button", "data-focus": "delete", "data-action": "delete", onclick: act(async () => {
        await remove(`/v1/agents/${id}`);
        document.dispatchEvent(new CustomEvent("go", { detail: "/console/agents" }));
      }, [say("agent.delete.ask"), say("agent.delete.then"), say("delete")]) }, say("delete"))),
  };

  function failed(error) {
    if (error.status === 404) body.replaceChildren(empty(say("agent.gone"), el("a", { href: "/console/agents" }, say("nav.agents"))));
  }
  return { refresh, failed };
}

/** Of the last five minutes, for `facts`. */
export function trafficFacts(told) {
  if (!told) return [[say("traffic"), requests(0)]];
  const errors = Object.entries(told.errors).filter(([, count]) => count > 0);
  return [
    [say("traffic"), requests(told.requests)],
    [say("traffic.latency"), told.p50_ms !== null && `p50 ${ms(told.p50_ms)} · p95 ${ms(told.p95_ms)}`],
    [say("traffic.errors_by"), errors.length > 0 && el("span.errors", {}, errors.map(([origin, count]) => `${number(count)} ${say(`origin.${origin}`)}`).join(", "))],
    [say("traffic.data"), `${size(told.bytes_in)} → · ← ${size(told.bytes_out)}`],
  ];
}

function storeLine({ name, health, words, remedy, last }) {
  return el("div.store-line", {},
    el("p.line", {}, el(`span.store.${health}`, {}, el("span.dot", { "aria-hidden": "true" }), el("span.store-name", {}, name)), el(`span.${health === "bad" ? "errors" : "muted"}`, {}, words),
      last && el("span.muted", {}, "· ", say("store.last_success"), " ", time(last))),
    remedy && el("p.notice.bad", {}, icon("warn"), remedy));
}
