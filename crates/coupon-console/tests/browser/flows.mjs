// What operators do, by mouse, by keyboard only, and without JavaScript: each way leaves the same audit rows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BASE, SECOND, open, sql, until } from "./tools.mjs";

/** Three ways to press and to type. */
const WAYS = {
  "by mouse": { hasScript: true, options: {}, press: (_, element) => element.click(), type: typeByMouse },
  "by keyboard": { hasScript: true, options: {}, press: pressByKeyboard, type: typeByKeyboard },
  "without JavaScript": { hasScript: false, options: { javaScriptEnabled: false }, press: (_, element) => element.click(), type: typeByMouse },
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

/** A page and a way to use it. */
class Hand {
  constructor(page, way) {
    Object.assign(this, { page, way });
  }
  go = (path) => this.page.goto(BASE + path);
  press = async (kind, name, exact = false) => {
    const element = this.page.getByRole(kind, { name, exact }).first();
    const isDanger = kind === "button" && (await element.evaluate((one) => one.matches(".danger") && !one.textContent.trim().endsWith("…")));
    await this.way.press(this.page, element);
    if (isDanger && this.way.hasScript) await this.way.press(this.page, this.page.getByRole("dialog").getByRole("button", { name }));
  };
  type = (label, text) => this.way.type(this.page, this.page.getByLabel(label).first(), text);
  typeInto = (selector, text) => this.way.type(this.page, this.page.locator(selector), text);
  unfold = (name) => this.way.press(this.page, this.page.locator("summary", { hasText: name }));
  sees = (text) => this.page.getByText(text).first().waitFor();
  /** Waits for a text that comes by itself, or with the next look where there is no script. */
  waits = (text) =>
    until(`the page says ${text}`, async () => {
      if (await this.page.getByText(text, { exact: true }).count()) return true;
      if (!this.way.hasScript) await this.page.reload();
      return false;
    });
}

/** Returns the numbers of entries that nobody has settled, `count` of them; each is given out once. */
let taken = 0;
function entries(count) {
  const ids = sql("SELECT id FROM failed_coupon_issues WHERE status = 'PENDING' AND member_id LIKE 'price-%' AND coupon_code = 'NIGHT' ORDER BY id");
  const mine = ids.split("\n").slice(taken, taken + count);
  taken += count;
  assert.equal(mine.length, count, "there are not enough entries");
  return mine;
}

const WHY = "Why, for whoever looks later";
const FLOWS = {
  "an entry is claimed, noted and resolved": async (hand) => {
    const [id] = entries(1);
    await hand.go(`/work/E${id}`);
    await hand.press("button", "Claim it");
    await hand.press("button", "Release");
    await hand.type("Note for whoever looks later", "asked the shop");
    await hand.press("button", "Add the note");
    await hand.sees("asked the shop");
    await hand.type(WHY, "written by hand");
    await hand.press("button", /^Resolve/);
    await hand.sees("RESOLVED");
    await hand.type(WHY, "too early");
    await hand.press("button", "Reopen");
    await hand.sees("PENDING");
  },
  "a selection is planned and ignored": async (hand) => {
    const ids = entries(2);
    await hand.go(`/work?campaign=NIGHT&status=PENDING&up_to=E${ids.at(-1)}`);
    for (const id of ids) await hand.press("checkbox", `Select E${id}`, true);
    await hand.press("button", "Ignore…");
    await hand.sees("Nothing is changed yet");
    await hand.type(WHY, "tests of the shop");
    await hand.press("button", /^Confirm/);
    await hand.waits("DONE");
    assert.equal(sql(`SELECT count(*) FROM failed_coupon_issues WHERE status = 'IGNORED' AND id IN (${ids})`), "2");
  },
  "a campaign's total is set": async (hand) => {
    await hand.go("/campaigns/NIGHT");
    await hand.unfold("Set the total");
    await hand.type("Coupons in all", "310");
    await hand.typeInto("#total_reason", "more were bought");
    await hand.press("button", "Set the total");
    await hand.sees("310");
  },
};

/** Returns what the audit has of a flow, without the numbers that differ from run to run. */
const audited = (after) =>
  sql(`SELECT actor, verb, regexp_replace(subject, '[0-9]+', 'N'), reason, provenance->>'login', provenance->>'role'
       FROM operator_audit WHERE id > ${after} AND verb NOT IN ('login', 'logout') ORDER BY id`);

for (const [name, flow] of Object.entries(FLOWS)) {
  test(`${name}: by mouse, by keyboard and without JavaScript alike`, async () => {
    const rows = {};
    for (const [how, way] of Object.entries(WAYS)) {
      const page = await open("operator", way.options);
      const before = sql("SELECT coalesce(max(id), 0) FROM operator_audit");
      await flow(new Hand(page, way));
      rows[how] = audited(before);
      assert.deepEqual(page.faults, [], how);
      await page.close();
    }
    assert.ok(rows["by mouse"].length > 0, "the audit has nothing of it");
    for (const how of Object.keys(WAYS)) assert.equal(rows[how], rows["by mouse"], how);
  });
}

test("two operators confirm one plan at once: one job, and the other is told", async () => {
  const ids = entries(2);
  const pages = [await open("operator"), await open(SECOND)];
  const [first, second] = pages.map((page) => new Hand(page, WAYS["by mouse"]));
  await first.go(`/work?campaign=NIGHT&status=PENDING&up_to=E${ids.at(-1)}`);
  for (const id of ids) await first.press("checkbox", `Select E${id}`, true);
  await first.press("button", "Resolve…");
  const plan = new URL(pages[0].url()).pathname;
  await second.go(plan);
  for (const hand of [first, second]) await hand.type(WHY, "two at once");
  const before = sql("SELECT count(*) FROM jobs");
  await Promise.all([first.press("button", /^Confirm/), second.press("button", /^Confirm/)]);
  await Promise.all(pages.map((page) => page.waitForLoadState()));
  const texts = await Promise.all(pages.map((page) => page.locator("main").innerText()));
  assert.equal(Number(sql("SELECT count(*) FROM jobs")) - Number(before), 1);
  assert.ok(texts.some((text) => /confirmed/i.test(text)), `nobody is told: ${texts.join("\n---\n")}`);
  await until("its rows are resolved", () => sql(`SELECT count(*) FROM failed_coupon_issues WHERE status = 'RESOLVED' AND id IN (${ids})`) === "2");
  for (const page of pages) await page.close();
});

test("a region refreshes itself, and waits while somebody uses it", async () => {
  const page = await open("viewer");
  await page.goto(`${BASE}/causes`);
  const cause = `fault ${Date.now()}`;
  const insert = (text) =>
    sql(`INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason, cause)
         VALUES ('SPRING', 'live', gen_random_uuid(), 'PENDING', 'PERMANENT', 'LIVE', '${text}', '${text}')`);
  insert(cause);
  await page.getByText(cause).waitFor({ timeout: 20_000 });
  await page.locator("#causes a").first().focus();
  insert(`${cause} again`);
  await page.waitForTimeout(12_000);
  assert.equal(await page.getByText(`${cause} again`).count(), 0, "it was replaced under the focus");
  await page.locator("#causes a").first().evaluate((link) => link.blur());
  await page.getByText(`${cause} again`).waitFor({ timeout: 5_000 });
  sql("DELETE FROM failed_coupon_issues WHERE error_code = 'LIVE'");
  await page.close();
});

test("keys lead through the console, and can be switched off", async () => {
  const page = await open("operator");
  await page.goto(`${BASE}/`);
  await page.keyboard.press("g");
  await page.keyboard.press("w");
  await page.waitForURL(/\/work\?/);
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  assert.equal(await page.locator("tbody input[type=checkbox]:checked").count(), 1);
  await page.keyboard.press("/");
  assert.ok(await page.evaluate(() => document.activeElement.matches(".filters input")), "/ does not lead to the filters");
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByLabel("React to these keys").uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("h");
  await page.waitForTimeout(300);
  assert.ok(new URL(page.url()).pathname === "/work", "a key that is switched off acts");
  await page.evaluate(() => localStorage.clear());
  await page.close();
});
