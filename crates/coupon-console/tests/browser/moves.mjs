// What moves on a page: regions that refresh themselves, and keys.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BASE, open, sql } from "./tools.mjs";

/** What moves: regions, and keys. */
export function moves() {
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

  test("a page whose events are refused asks by itself", async () => {
    const page = await open("viewer.one");
    await page.route("**/events/campaigns*", (route) => route.fulfill({ status: 429, body: "" }));
    await page.goto(`${BASE}/campaigns`);
    sql("INSERT INTO coupons (coupon_code, total_quantity, opens_at) VALUES ('LATER', 1, now())");
    await page.getByText("LATER").waitFor({ timeout: 20_000 });
    await page.close();
  });
}
