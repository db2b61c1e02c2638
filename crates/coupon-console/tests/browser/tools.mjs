// What the browser tests share: the browser, operators, SQL, the stack, and a watch over what a page must not do.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CONSOLE_NODE}/`);
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

/** Where the console is, without a slash at its end. */
export const BASE = process.env.CONSOLE_URL;
/** Where screenshots go. */
export const SHOTS = process.env.CONSOLE_SHOTS;
/** The alarm of the night, as a channel has received it. */
export const ALARM = `${process.env.STACK_LOCAL}/alarm.json`;
mkdirSync(SHOTS, { recursive: true });

/** The operators of the world, each a role and which one, and their tokens; see seed.mjs. */
export const TOKENS = Object.fromEntries(
  ["viewer", "support", "operator", "admin"]
    .flatMap((role) => ["one", "two", "three"].map((which) => `${role}.${which}`))
    .map((name) => [name, `cop_${name.replace(".", "").padEnd(43, "0")}`]),
);

/** Runs a program to its end and returns what it has written; fails with what it said. */
export const run = (program, ...words) => execFileSync(program, words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();

/** Runs a statement; returns its rows, each a text with | between the columns. */
export const sql = (statement) => run("psql", process.env.DATABASE_URL, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement);

/** Starts or stops a part of the stack. */
export const stack = (verb, part) => run("scripts/stack", verb, part);

/** Asks the admin API. */
export async function api(path, { token = TOKENS["admin.one"], ...options } = {}) {
  const headers = { authorization: `Bearer ${token}`, accept: "application/json", ...options.headers };
  return fetch(`${BASE}${path}`, { redirect: "manual", ...options, headers });
}

/** Changes something by the admin API, as the admin; returns the answer. */
export async function change(path, body) {
  const answer = await api(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** Makes a plan; see POST /plans/{verb}. */
export const plan = (verb, what) => change(`/plans/${verb}`, what);

/** Confirms a plan; returns its job. */
export const confirm = ({ plan_id, typed }, reason) => change(`/plans/${plan_id}/confirm`, { reason, ...(typed && { typed }) });

/** Returns the numbers of entries of NIGHT that nobody has settled, `count` of them; each is given out once. */
let taken = 0;
export function entries(count) {
  const ids = sql("SELECT id FROM failed_coupon_issues WHERE member_id LIKE 'price-%' AND coupon_code = 'NIGHT' AND replay_of IS NULL ORDER BY id");
  const mine = ids.split("\n").slice(taken, taken + count);
  taken += count;
  assert.equal(mine.length, count, "there are not enough entries");
  return mine;
}

/** Waits until `condition` returns something true, and returns that. */
export async function until(what, condition, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`after ${seconds} s still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

let browser;
/** Whoever started a browser last: it ends with the tests. */
export const closeBrowser = async () => (await browser)?.close();

/** Returns what `make` returns, made once for each key. */
const once = (map, key, make) => map.get(key) ?? (map.set(key, make()), map.get(key));
const contexts = new Map();
const sessions = new Map();

async function contextOf(name, options) {
  const storageState = name ? await once(sessions, name, () => logIn(name)) : undefined;
  const context = await (await browser).newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", storageState, ...options });
  context.setDefaultTimeout(30_000);
  return context;
}

/** Logs an operator in, and returns the cookies. */
async function logIn(name) {
  const page = await open(null, { lane: name });
  await login(page, TOKENS[name]);
  const state = await page.context().storageState();
  await page.context().close();
  return state;
}

/**
 * Opens a page of an operator who has logged in, once for all their pages: logins are bounded by ten a minute. Pages with the
 * same options share a context. `page.faults` gathers what a page must not do: violate the policy, ask another origin, throw.
 */
export async function open(name = "admin.one", { lane, ...options } = {}) {
  // By this word scripts/test-console finds the browser, should these tests be killed.
  const env = { ...process.env, CONSOLE_BROWSER: process.env.CONSOLE_RUN ?? "" };
  browser ??= chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu"], env });
  const context = await once(contexts, JSON.stringify([name, lane, options]), () => contextOf(name, options));
  const page = await context.newPage();
  // To look at a changed style sheet or module without a build.
  if (process.env.CONSOLE_ASSETS)
    await page.route("**/assets/*", (route) => route.fulfill({ path: `${process.env.CONSOLE_ASSETS}/${route.request().url().split("/").pop()}` }));
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(`threw: ${error.message}`));
  page.on("dialog", (dialog) => (page.faults.push(`a script ran: ${dialog.message()}`), dialog.dismiss()));
  page.on("console", (line) => /Content.Security.Policy/i.test(line.text()) && page.faults.push(line.text()));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!["data:", "about:", "blob:"].includes(url.protocol) && url.origin !== BASE) page.faults.push(`asked ${url}`);
  });
  return page;
}

/** Logs in by the form, as soon as the bound on logins allows it. */
export async function login(page, token, next = "/") {
  await until("the login is allowed", async () => {
    await page.goto(`${BASE}/login?next=${encodeURIComponent(next)}`);
    await page.getByLabel("Operator token").fill(token);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.waitForLoadState();
    const refusal = new URL(page.url()).pathname === "/login" && (await page.getByRole("alert").textContent());
    if (refusal && !refusal.includes("too many")) throw new Error(refusal);
    return !refusal || new Promise((resolve) => setTimeout(resolve, 5000));
  }, 90);
}

/** Returns the violations of WCAG 2.2 AA on a page, each as a line. */
export async function violations(page) {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  // Rows beyond the eighth are like those before, and each costs axe a tenth of a second.
  const axe = new AxeBuilder({ page }).exclude("tbody tr:nth-child(n+9)");
  const { violations } = await axe.options({ runOnly: tags, resultTypes: ["violations"] }).setLegacyMode(true).analyze();
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary.split("\n")[1] ?? ""}`));
}

const found = new Map();

/**
 * Finds pages by following links from the navigation on, once, and returns for each GET route of the admin API addresses of it,
 * at most `most`. Routes that answer no page are left out.
 */
export const findPages = (most = 2) => once(found, most, () => follow(most));

async function follow(most) {
  const { paths } = await (await api("/openapi.json")).json();
  const routes = Object.keys(paths).filter((path) => paths[path].get && !/\/(openapi|events|export)$|\/events\b/.test(path));
  const shapes = routes.map((path) => [path, new RegExp(`^${path.replace(/\{[^}]*\}/g, "[^/]+")}$`)]);
  const found = new Map(routes.map((path) => [path, path.includes("{") ? [] : [path]]));
  // The campaign on which most happens, rather than the one that was made last.
  for (const route of ["/campaigns/{code}", "/campaigns/{code}/issues"]) found.get(route)?.push(route.replace("{code}", "NIGHT"));
  const seen = new Set();
  // Links lead from a plan to its job and back, but nothing leads to a plan that nobody has confirmed.
  const queue = [...found.values()].flat();
  if (found.has("/plans/{id}")) found.get("/plans/{id}").push("/plans/1"), queue.push("/plans/1");
  for (let path; (path = queue.shift()) !== undefined && seen.size < 120; ) {
    if (seen.has(path)) continue;
    seen.add(path);
    const answer = await api(path, { headers: { accept: "text/html" }, redirect: "follow" });
    if (!answer.headers.get("content-type")?.startsWith("text/html")) {
      await answer.body?.cancel();
      for (const list of found.values()) if (list.includes(path)) list.splice(list.indexOf(path), 1);
      continue;
    }
    for (const [, href] of (await answer.text()).matchAll(/<a [^>]*?href="([^"#]+)/g)) {
      const to = href.replaceAll("&amp;", "&");
      const [bare] = to.split("?");
      const route = shapes.find(([, shape]) => shape.test(bare))?.[0];
      if (!route?.includes("{") || found.get(route).length >= most || found.get(route).includes(to)) continue;
      found.get(route).push(to);
      queue.push(to);
    }
  }
  return found;
}

/** Texts that must stay texts. */
export const HOSTILE = [
  `<script>alert(1)</script>`,
  `"><img src=x onerror=alert(2)>`,
  `' autofocus onfocus='alert(3)`,
  `</title></textarea></script><svg/onload=alert(4)>`,
  `javascript:alert(5)`,
  `//evil.example/x`,
  `{{7*7}}\${7*7}<%= 7*7 %>`,
  `<style>*{display:none}</style><base href="//evil.example">`,
  `=HYPERLINK("http://evil.example")`,
  `&lt;b&gt;\u202egnol\u202c ${"long".repeat(60)}`,
];
