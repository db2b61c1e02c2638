// Three ways to use a page: by mouse, by keyboard only, and without JavaScript. Whatever is done leaves the same audit rows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BASE, open, sql, until } from "./tools.mjs";

const BY_MOUSE = { hasScript: true, press: (_, element) => element.click(), type: typeByMouse, choose: (_, element, option) => element.selectOption(option) };

/** The ways, each with an operator of its own, so that one does not disturb the other. */
export const WAYS = {
  "by mouse": { ...BY_MOUSE, who: "one" },
  "by keyboard": { hasScript: true, press: pressByKeyboard, type: typeByKeyboard, choose: chooseByKeyboard, who: "two" },
  "without JavaScript": { ...BY_MOUSE, hasScript: false, who: "three" },
};

async function typeByMouse(page, element, text) {
  await element.click();
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
}

/** Presses Tab until the element has the focus: whoever has no mouse has to come there. */
async function reach(page, element) {
  await element.waitFor();
  const has = () => element.evaluate((one) => document.activeElement === one || (one.type === "radio" && document.activeElement.name === one.name));
  for (let presses = 0; !(await has()); presses++) {
    assert.ok(presses < 250, `Tab does not come to ${element}`);
    await page.keyboard.press("Tab");
  }
}

async function pressByKeyboard(page, element) {
  await reach(page, element);
  const kind = await element.evaluate((one) => (one.localName === "input" ? one.type : one.localName));
  if (kind === "radio") while (!(await element.isChecked())) await page.keyboard.press("ArrowDown");
  else await page.keyboard.press(kind === "checkbox" ? "Space" : "Enter");
}

async function typeByKeyboard(page, element, text) {
  await reach(page, element);
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
}

async function chooseByKeyboard(page, element, option) {
  await reach(page, element);
  await page.keyboard.type(option);
}

/** Why something is done, as the pages ask for it. */
export const WHY = "Why, for whoever looks later";

/** A page and a way to use it; `number` differs from way to way. */
export class Hand {
  constructor(page, way, number = 1) {
    Object.assign(this, { page, way, number });
  }
  go = (path) => this.page.goto(BASE + path);
  press = async (kind, name, exact = false) => {
    const element = this.page.getByRole(kind, { name, exact }).first();
    const isDanger = kind === "button" && (await element.evaluate((one) => one.matches(".danger") && !one.textContent.trim().endsWith("…")));
    await this.way.press(this.page, element);
    if (isDanger && this.way.hasScript) await this.way.press(this.page, this.page.getByRole("dialog").getByRole("button", { name }));
  };
  type = (label, text) => this.way.type(this.page, this.page.getByLabel(label).first(), text);
  choose = (selector, option) => this.way.choose(this.page, this.page.locator(selector), option);
  typeInto = (selector, text) => this.way.type(this.page, this.page.locator(selector), text);
  unfold = (name) => this.way.press(this.page, this.page.locator("summary", { hasText: name }));
  sees = (text) => this.page.getByText(text).first().waitFor();
  /** Confirms the plan that the page shows, and types the name that it asks for. */
  confirm = async (why) => {
    await this.sees("Nothing is changed yet");
    await this.type(WHY, why);
    if (await this.page.locator("#typed").count()) await this.typeInto("#typed", await this.page.locator("label[for=typed] code").innerText());
    await this.press("button", /^Confirm/);
  };
  /** Waits for a text that comes by itself, or with the next look where there is no script. */
  waits = (text) =>
    until(`the page says ${text}`, async () => {
      if (await this.page.getByText(text, { exact: true }).count()) return true;
      if (!this.way.hasScript) await this.page.reload();
      return false;
    });
}

/** Returns what the audit has of an operator, once each, without the numbers that differ from run to run. */
const audited = (actor, after) =>
  sql(`SELECT verb, subject, reason, login, role FROM (
         SELECT id, verb, provenance->>'login' AS login, provenance->>'role' AS role,
                regexp_replace(subject, '[0-9]+', 'N') AS subject, regexp_replace(reason, '[0-9]+', 'N') AS reason
         FROM operator_audit WHERE id > ${after} AND actor = '${actor}' AND verb NOT IN ('login', 'logout')) AS rows
       GROUP BY verb, subject, reason, login, role ORDER BY min(id)`);

/** Tests a flow of an operator of a role, in all ways at once. */
export function inThreeWays(name, role, flow) {
  test(`${name}: by mouse, by keyboard and without JavaScript alike`, async () => {
    const before = sql("SELECT coalesce(max(id), 0) FROM operator_audit");
    const use = async ([how, way], index) => {
      const page = await open(`${role}.${way.who}`, { javaScriptEnabled: way.hasScript });
      await flow(new Hand(page, way, index + 1));
      assert.deepEqual(page.faults, [], how);
      await page.close();
      return [how, audited(`${role}.${way.who}`, before)];
    };
    const rows = await Promise.all(Object.entries(WAYS).map(use));
    assert.ok(rows[0][1].length > 0, "the audit has nothing of it");
    for (const [how, has] of rows) assert.equal(has, rows[0][1], how);
  });
}
