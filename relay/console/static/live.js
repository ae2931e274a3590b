// What keeps a page up to date: the relay's events as they happen, and a look from time to time, oftener without them.

const KINDS = [
  "agent.online", "agent.degraded", "agent.offline", "agent.flapping", "agent.steady", "agent.clone",
  "agent.version_behind", "tunnel.up", "tunnel.down", "store.reachable", "store.unreachable", "store.key_accepted",
  "store.key_refused", "certificate.expiring", "token.expiring", "changed", "missed",
];
const LIVE_MS = 10_000;
const ALONE_MS = 2_000;
const AGAIN_MS = 15_000;
/** Between two looks at least, however much happens. */
const APART_MS = 300;
const KEPT = 300;

export const notices = [];
let page = null;
let streaming = false;
let timer = 0;
let due = Infinity;
let looking = false;
let again = false;
let onMode = () => {};

/** `shown` has `refresh()`, and may have `notice(notice)`, `failed(error)` and `everyMs`. Settled once it shows something. */
export async function follow(shown) {
  page = shown;
  try {
    await shown.refresh();
  } catch (error) {
    if (!shown.failed) throw error;
    shown.failed(error);
  } finally {
    plan(usual());
  }
}

export function start(modeChanged) {
  onMode = modeChanged;
  connect();
  document.addEventListener("visibilitychange", () => document.hidden || look());
}

/** Look now; one look at a time, and one more if something came meanwhile. */
export async function look() {
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  unplan();
  const mine = page;
  try {
    await mine?.refresh();
    onMode(streaming ? "live" : "polling");
  } catch (error) {
    if (mine === page) page?.failed?.(error);
    onMode("lost");
  } finally {
    looking = false;
    plan(again || mine !== page ? APART_MS : usual());
    again = false;
  }
}

const usual = () => Math.min(streaming ? LIVE_MS : ALONE_MS, page?.everyMs ?? Infinity);

/** Look so soon, or sooner if that was planned already. */
function plan(wait) {
  const at = performance.now() + wait;
  if (at >= due) return;
  unplan();
  due = at;
  timer = setTimeout(() => {
    unplan();
    if (document.hidden) plan(usual());
    else look();
  }, wait);
}

function unplan() {
  clearTimeout(timer);
  due = Infinity;
}

function connect() {
  const source = new EventSource("/v1/events");
  source.addEventListener("open", () => {
    streaming = true;
    onMode("live");
  });
  source.addEventListener("error", () => {
    streaming = false;
    onMode("polling");
    plan(APART_MS);
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_MS);
  });
  for (const kind of KINDS) source.addEventListener(kind, (event) => take(kind, event));
}

function take(kind, event) {
  let notice;
  try {
    notice = { id: event.lastEventId, kind, at: Date.now() / 1000, ...JSON.parse(event.data) };
  } catch {
    return;
  }
  notices.unshift(notice);
  notices.length = Math.min(notices.length, KEPT);
  page?.notice?.(notice);
  if (looking) again = true;
  else plan(APART_MS);
}
