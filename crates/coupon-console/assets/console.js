// What moves in the console: regions that refresh themselves, confirmation, keys, copying, local times. Without it every
// page works all the same. It sets no style, and shows no text but the server's own pages and its own sentences.

const KEYS_OFF = "coupon-console-keys-off";
const main = document.querySelector("main");
const prefersKeys = () => localStorage.getItem(KEYS_OFF) === null;

/** Makes an element with attributes and children. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ---- Regions that refresh themselves: data-live="SECONDS", or data-events="URL" of server-sent events. ----

let tag = null; // ETag of the answer that all regions show
let asking = false;
let answered = Date.now();
const due = new Map(); // id of a region → when it is asked for next, in ms
const refused = new Set(); // URLs of events that the server does not give now: the page is asked for instead

const regions = () => [...document.querySelectorAll("[data-live][id], [data-events][id]")];
function isTyped(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.localName !== "select") return field.value !== field.defaultValue;
  return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
}

/** Whether somebody uses the region now: what they have in hand must not change under it. */
function isInUse(region) {
  const selection = getSelection();
  const isSelected = !selection.isCollapsed && selection.rangeCount && selection.getRangeAt(0).intersectsNode(region);
  const fields = [...region.querySelectorAll("input:not([type=hidden]), textarea, select")];
  return isSelected || region.contains(document.activeElement) || fields.some(isTyped);
}

/** Puts the new content into a region, and keeps what was unfolded and how far it was scrolled. */
function replace(region, fresh) {
  const scrolled = [...region.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const unfolded = [...region.querySelectorAll("details")].map((details) => details.open);
  for (const name of ["class", "data-live", "data-events"]) {
    if (fresh.hasAttribute(name)) region.setAttribute(name, fresh.getAttribute(name));
    else region.removeAttribute(name);
  }
  region.replaceChildren(...[...fresh.childNodes].map((node) => document.importNode(node, true)));
  region.querySelectorAll(".scroll").forEach((box, index) => scrolled[index] && box.scrollTo(...scrolled[index]));
  region.querySelectorAll("details").forEach((details, index) => (details.open = unfolded[index] ?? details.open));
  enhance(region);
}

/** Says on top of the page that what it shows is old, or takes that back. */
function say(sentence, link) {
  let line = document.getElementById("stale");
  if (!sentence) return line?.remove();
  if (!line) main.prepend((line = make("p", { id: "stale", class: "away", role: "status" })));
  const words = [sentence, ...(link ? [" ", make("a", { href: link }, "Log in again")] : [])];
  if (line.textContent !== words.map((word) => word.textContent ?? word).join("")) line.replaceChildren(...words);
}

/** Asks for the page again, and refreshes those of its regions that are due and not in use. */
async function refresh() {
  const now = Date.now();
  const wanted = regions().filter((region) => (due.get(region.id) ?? Infinity) <= now);
  for (const region of regions()) region.toggleAttribute("data-paused", isInUse(region));
  if (asking || document.hidden || !wanted.some((region) => !isInUse(region))) return;
  asking = true;
  try {
    const headers = { accept: "text/html", ...(tag && { "if-none-match": tag }) };
    const answer = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(10_000) });
    if (answer.redirected) return say("Your session has ended.", location.href);
    if (answer.status !== 304) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok) throw new Error(page.querySelector("main .wrong")?.textContent ?? `status ${answer.status}`);
      tag = answer.headers.get("etag");
      for (const region of regions()) {
        const fresh = page.getElementById(region.id);
        // One that is in use is asked for anew as soon as it is not.
        if (isInUse(region)) tag = null;
        else if (fresh) replace(region, fresh);
      }
    }
    answered = Date.now();
    for (const region of regions()) schedule(region);
    say(null);
  } catch (error) {
    const since = Math.round((Date.now() - answered) / 1000);
    say(`This page is ${since} s old, and a newer one does not come: ${error.message}`);
    for (const region of wanted) due.set(region.id, Date.now() + 2_000);
  } finally {
    asking = false;
  }
}

function schedule(region) {
  const seconds = region.dataset.live ?? (refused.has(region.dataset.events) ? 10 : 0);
  if (Number(seconds)) due.set(region.id, Date.now() + Number(seconds) * 1000);
  else due.delete(region.id);
}

/** Listens to the events of a region while the page is seen; each makes the region due, at most once a second. */
function listen() {
  const urls = new Set(regions().map((region) => region.dataset.events).filter(Boolean));
  const sources = [...urls].map((url) => {
    const source = new EventSource(url);
    source.onopen = () => refused.delete(url);
    source.onerror = () => source.readyState === EventSource.CLOSED && (refused.add(url), regions().forEach(schedule));
    source.onmessage = () => {
      const soon = Math.max(Date.now(), answered + 1000);
      for (const region of regions()) if (region.dataset.events === url) due.set(region.id, soon);
    };
    return source;
  });
  const close = () => sources.forEach((source) => source.close());
  addEventListener("pagehide", close, { once: true });
  document.addEventListener("visibilitychange", () => (close(), document.hidden || listen()), { once: true });
}

// ---- Confirmation of what is not undone easily: a press of a button of class danger. ----

/** Shows a dialog, and takes it away again when it is closed. */
function show(heading, ...content) {
  const title = make("h2", { id: "dialog-title" }, heading);
  const dialog = make("dialog", { "aria-labelledby": "dialog-title" }, title, ...content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

let confirmed = null;
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  const name = button?.textContent.trim();
  // A name with … leads to a page that shows first what it would change.
  if (!button?.matches(".danger") || confirmed === button || name.endsWith("…")) return void (confirmed = null);
  event.preventDefault();
  const fields = [...event.target.querySelectorAll("input:not([type=hidden]), textarea, select")].filter(
    (field) => field.labels?.length && field.type !== "checkbox" && field.value,
  );
  const list = make("dl", { class: "kv" });
  for (const field of fields) list.append(make("dt", {}, field.labels[0].firstChild.textContent), make("dd", {}, field.value));
  const go = make("button", { class: "danger", type: "button" }, name);
  const back = make("button", { type: "button", autofocus: "" }, "Go back");
  const dialog = show(`${name}?`, make("p", {}, button.dataset.confirm ?? "Nothing has been changed yet."), list);
  dialog.append(make("p", { class: "actions" }, back, go));
  back.focus();
  back.onclick = () => dialog.close();
  go.onclick = () => {
    dialog.close();
    confirmed = button;
    event.target.requestSubmit(button);
  };
});

// ---- Keys. ----

const PLACES = { h: "/", w: "/work", c: "/campaigns", d: "/dead-letters", r: "/replays", a: "/alarms", j: "/jobs" };
const HELP = [
  ["/", "look something up"],
  ["j, k", "next, previous row"],
  ["x", "select the row"],
  ["n, p", "next, previous page of a list"],
  ["g h", "overview"],
  ["g w", "work list"],
  ["g c", "campaigns"],
  ["g d", "dead letters"],
  ["g r", "replays"],
  ["g j", "jobs"],
  ["g a", "alarms"],
  ["?", "this help"],
];
let prefix = 0; // until when the key after a `g` is a place

function help() {
  const list = make("dl", { class: "kv keys" });
  for (const [key, what] of HELP) list.append(make("dt", {}, make("kbd", {}, key)), make("dd", {}, what));
  const box = make("input", { type: "checkbox", ...(prefersKeys() && { checked: "" }) });
  box.onchange = () => (box.checked ? localStorage.removeItem(KEYS_OFF) : localStorage.setItem(KEYS_OFF, "1"));
  const close = make("button", { type: "button" }, "Close");
  const dialog = show("Keys", list, make("label", { class: "check" }, box, " React to these keys"), make("p", { class: "actions" }, close));
  close.onclick = () => dialog.close();
}

/** Moves the focus to the row `step` rows further on. */
function move(step) {
  const rows = [...main.querySelectorAll("tbody tr")].filter((row) => row.querySelector("a, input, button"));
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const row = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)];
  (row?.querySelector("a[href]") ?? row?.querySelector("input, button"))?.focus();
}

function go(path) {
  const links = [...document.querySelectorAll("nav[aria-label=Pages] a")];
  links.find((link) => link.dataset.path === path)?.click();
}

const ACTIONS = {
  "/": () => (main.querySelector(".filters input:not([type=hidden])")?.focus(), main.querySelector(".filters") || go("/")),
  j: () => move(1),
  k: () => move(-1),
  x: () => document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click(),
  n: () => document.querySelector(".pager a[rel=next]")?.click(),
  p: () => document.querySelector(".pager a[rel=prev]")?.click(),
  g: () => (prefix = Date.now() + 1500),
  "?": help,
};

document.addEventListener("keydown", (event) => {
  const isText = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  if (isText && event.key === "Escape") return event.target.blur();
  const isOurs = document.querySelector("nav") && prefersKeys() && !document.querySelector("dialog[open]");
  if (!isOurs || isText || event.ctrlKey || event.metaKey || event.altKey) return;
  const isPlace = Date.now() < prefix && event.key in PLACES;
  prefix = 0;
  const action = isPlace ? () => go(PLACES[event.key]) : ACTIONS[event.key];
  if (action) event.preventDefault(), action();
});

// ---- What is added to the server's pages: copy buttons, and local times as titles. ----

function enhance(root) {
  for (const element of root.querySelectorAll("dd.mono, dd .mono, [data-copy]")) {
    const value = (element.dataset.copy || (element.querySelector("a") ?? element.firstChild)?.textContent || "").trim();
    if (!value || element.querySelector("button")) continue;
    const button = make("button", { type: "button", class: "copy", "aria-label": `Copy ${value.slice(0, 60)}` }, "Copy");
    button.onclick = () => navigator.clipboard.writeText(value).then(() => (button.textContent = "Copied"));
    element.append(" ", button);
  }
  for (const element of root.querySelectorAll("time, td, dd")) {
    const text = element.getAttribute("datetime") ?? element.textContent.trim();
    const [, day, time, zone = "Z"] = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?/.exec(text) ?? [];
    if (day) element.title = `${new Date(`${day}T${time}${zone}`).toLocaleString()} here`;
  }
}

if (document.querySelector("nav")) {
  const button = make("button", { type: "button", class: "quiet" }, "Keys");
  button.onclick = help;
  document.querySelector("footer")?.append(" · ", button);
}
// The notice of a change is said once: whoever reloads or shares the address does not see it again.
const url = new URL(location.href);
if (url.searchParams.has("done")) url.searchParams.delete("done"), history.replaceState(null, "", url);
enhance(main);
regions().forEach(schedule);
listen();
setInterval(refresh, 500);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
