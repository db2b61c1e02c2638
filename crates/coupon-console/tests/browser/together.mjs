// What operators do at the same time, and what moves on a page: regions that refresh themselves, and keys.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Hand, WAYS, WHY } from "./hand.mjs";
import { BASE, entries, open, sql, until } from "./tools.mjs";

// None of them changes what another one looks at.
describe("at the same time", { concurrency: true }, () => {
  test("two operators confirm one plan at once: one job, and the other is told", async () => {
    const ids = entries(2);
    const pages = [await open("operator.one"), await open("operator.two")];
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
    const page = await open("viewer.one");
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
    const page = await open("operator.one");
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
});
