// The night of an operator, by mouse only: from the alarm's link to a clean reconcile. Its time and its clicks stand in README.md.
// After it, with the fault put right, a replay that is paused, resumed and cancelled.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { WHY, inThreeWays } from "./hand.mjs";
import { ALARM, BASE, SHOTS, open, sql } from "./tools.mjs";

test("the night: alarm's link, causes, filter, plan, confirm, replay followed, reconcile clean", async (t) => {
  const page = await open("admin.one");
  const began = Date.now();
  let clicks = 0;
  const click = async (locator) => {
    await locator.first().click();
    clicks += 1;
  };
  const type = (label, text) => page.getByLabel(label).first().pressSequentially(text);

  // The alarm links to the causes. The fault has been put right meanwhile.
  const [link] = readFileSync(ALARM, "utf8").match(new RegExp(`${BASE}[^"\\\\]+`));
  await page.goto(link);
  clicks += 1;
  sql("DROP TRIGGER IF EXISTS night ON coupon_issues");
  const row = page.getByRole("row", { name: /price list/ });
  await click(row.getByRole("cell").nth(0).getByRole("link"));
  await page.waitForURL(/\/work\?/);
  await page.screenshot({ path: `${SHOTS}/night-1-work.png`, fullPage: true });
  await click(page.getByLabel(/all that the filter matches/));
  await click(page.getByRole("button", { name: "Replay…" }));
  await page.waitForURL(/\/plans\/\d+/);
  await page.screenshot({ path: `${SHOTS}/night-2-plan.png`, fullPage: true });
  await type(WHY, "the price list is loaded");
  if (await page.locator("#typed").count()) await page.locator("#typed").pressSequentially(await page.locator("label[for=typed] code").innerText());
  await click(page.getByRole("button", { name: /^Confirm/ }));
  await page.waitForURL(/\/replays\/\d+/);
  await page.getByText("DONE", { exact: true }).waitFor({ timeout: 60_000 });
  await page.screenshot({ path: `${SHOTS}/night-3-replay.png`, fullPage: true });
  await click(page.getByRole("link", { name: "Reconcile" }));
  await type("Campaigns (none: all)", "NIGHT");
  await type("Why", "after the night");
  await click(page.getByRole("button", { name: "Compare without changing anything" }));
  await page.waitForURL(/\/(jobs|reconcile)/);
  if (/\/jobs\//.test(page.url())) {
    await page.getByText("DONE", { exact: true }).waitFor({ timeout: 60_000 });
    await click(page.getByRole("link", { name: "Reconcile" }));
  }
  await page.getByText(/agree/).first().waitFor();
  await page.screenshot({ path: `${SHOTS}/night-4-reconcile.png`, fullPage: true });
  t.diagnostic(`the night: ${Math.round((Date.now() - began) / 1000)} s, ${clicks} clicks`);
  assert.deepEqual(page.faults, []);
  await page.close();
});

/** Dead letters that each way takes three of; the first of them is begun at once. */
let held;

inThreeWays("a replay is paused, resumed and cancelled", "operator", async (hand) => {
  held ??= sql("SELECT id FROM dlq_events WHERE coupon_code = 'FLOOD' AND status = 'HELD' ORDER BY id DESC LIMIT 9").split("\n");
  const mine = held.slice(hand.number * 3 - 3, hand.number * 3);
  await hand.go("/dead-letters?campaign=FLOOD&status=HELD&limit=12");
  for (const id of mine) await hand.press("checkbox", `Select D${id}`, true);
  await hand.unfold("How to replay");
  await hand.type("Replays a second", "0.1");
  await hand.press("button", "Replay…");
  await hand.confirm("one by one");
  await hand.waits("RUNNING");
  await hand.type(WHY, "wait for the shop");
  await hand.press("button", "Pause");
  await hand.waits("PAUSED");
  await hand.type(WHY, "the shop is ready");
  await hand.press("button", "Resume");
  await hand.waits("RUNNING");
  await hand.type(WHY, "the shop is closed");
  await hand.press("button", /^Cancel/);
  await hand.waits("CANCELLED");
});
