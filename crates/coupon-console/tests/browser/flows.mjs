// What operators do before the fault of the night has been put right, by mouse, by keyboard only, and without JavaScript.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, test } from "node:test";

import { Hand, WAYS, WHY, inThreeWays } from "./hand.mjs";
import { entries, open, sql, until } from "./tools.mjs";

const channel = createServer((request, answer) => (request.resume(), answer.end()));
after(() => (channel.close(), channel.closeAllConnections()));

/** What operators do. */
export function operatorFlows() {
  inThreeWays("an entry is claimed, noted and resolved", "operator", async (hand) => {
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
  });

  inThreeWays("a selection is planned and ignored", "operator", async (hand) => {
    const ids = entries(2);
    await hand.go(`/work?campaign=NIGHT&status=PENDING&up_to=E${ids.at(-1)}&limit=10`);
    for (const id of ids) await hand.press("checkbox", `Select E${id}`, true);
    await hand.press("button", "Ignore…");
    await hand.confirm("tests of the shop");
    await hand.waits("DONE");
    assert.equal(sql(`SELECT count(*) FROM failed_coupon_issues WHERE status = 'IGNORED' AND id IN (${ids})`), "2");
  });

  inThreeWays("a test alarm is sent", "operator", async (hand) => {
    const { port } = new URL(process.env.DLQ_CONSUMER__ALARMS__WEBHOOK_URL);
    if (!channel.listening) await new Promise((resolve) => channel.listen(port, "127.0.0.1", resolve));
    await hand.go("/alarms");
    await hand.typeInto("#reason", "a new channel");
    await hand.press("button", /^Send a test alarm/);
    await hand.sees("What each channel made of the test");
    await hand.sees("arrived");
  });

  test("two operators confirm one plan at once: one job, and the other is told", async () => {
    const ids = entries(2);
    const pages = [await open("operator.one"), await open("operator.two")];
    const [first, second] = pages.map((page) => new Hand(page, WAYS["by mouse"]));
    await first.go(`/work?campaign=NIGHT&status=PENDING&up_to=E${ids.at(-1)}&limit=10`);
    for (const id of ids) await first.press("checkbox", `Select E${id}`, true);
    await first.press("button", "Resolve…");
    const plan = new URL(pages[0].url()).pathname;
    await second.go(plan);
    for (const hand of [first, second]) await hand.type(WHY, "two at once");
    await Promise.all([first.press("button", /^Confirm/), second.press("button", /^Confirm/)]);
    await Promise.all(pages.map((page) => page.waitForLoadState()));
    const texts = await Promise.all(pages.map((page) => page.locator("main").innerText()));
    assert.equal(sql(`SELECT count(*) FROM jobs WHERE asked_by ->> 'plan_id' = '${plan.split("/").at(-1)}'`), "1");
    assert.ok(texts.some((text) => /confirmed/i.test(text)), `nobody is told: ${texts.join("\n---\n")}`);
    await until("its rows are resolved", () => sql(`SELECT count(*) FROM failed_coupon_issues WHERE status = 'RESOLVED' AND id IN (${ids})`) === "2");
    for (const page of pages) await page.close();
  });
}

/** What admins do. */
export function adminFlows() {
  inThreeWays("a campaign is created, opened, resized and closed", "admin", async (hand) => {
    const code = `MADE${hand.number}`;
    await hand.go("/campaigns");
    await hand.type(/^Code/, code);
    await hand.type(/^Coupons in all/, "300");
    await hand.typeInto("#reason", "the summer");
    await hand.press("button", "Create the campaign");
    await hand.waits("DRAFT");
    await hand.type("Reason to open it", "it begins");
    await hand.press("button", `Open ${code}`);
    await hand.waits("OPEN");
    await hand.unfold("Set the total");
    await hand.type("Coupons in all", "310");
    await hand.typeInto("#total_reason", "more were bought");
    await hand.press("button", "Set the total");
    await hand.waits("310");
    await hand.type("Reason to close it", "it is over");
    await hand.press("button", `Close ${code}`);
    await hand.waits("CLOSED");
    assert.equal(sql(`SELECT status, total_quantity FROM coupons WHERE coupon_code = '${code}'`), "CLOSED|310");
  });

  inThreeWays("a campaign is compared, and compared with repairs", "admin", async (hand) => {
    const code = `MADE${hand.number}`;
    const comparisons = (applied) => sql(`SELECT count(*) FROM reconciliations WHERE coupon_code = '${code}' AND applied = ${applied}`);
    await hand.go("/reconcile");
    await hand.typeInto("#codes", code);
    await hand.typeInto("#check-reason", "before it is archived");
    await hand.press("button", "Compare without changing anything");
    await hand.waits("DONE");
    assert.equal(comparisons(false), "1");
    await hand.go("/reconcile");
    await hand.typeInto("#apply-codes", code);
    await hand.press("button", "Plan a comparison that repairs");
    await hand.confirm("to be sure");
    await hand.waits("DONE");
    assert.equal(comparisons(true), "1");
  });

  inThreeWays("an operator is added, and revoked", "admin", async (hand) => {
    const name = `made${hand.number}`;
    await hand.go("/operators");
    await hand.typeInto("#name", name);
    await hand.choose("#role", "support");
    await hand.typeInto("#reason", "helps at the counter");
    await hand.press("button", /^Add the operator/);
    await hand.sees("This is the only time the token is shown");
    await hand.sees(/^cop_/);
    assert.equal(sql(`SELECT role FROM operators WHERE name = '${name}'`), "support");
    await hand.press("link", "Back to the operators");
    await hand.unfold(`Revoke ${name}`);
    await hand.typeInto(`#why-${name}`, "the season is over");
    await hand.press("button", `Revoke ${name}`);
    await hand.page.getByRole("row", { name }).getByText("revoked").waitFor();
    assert.equal(sql(`SELECT revoked_at IS NOT NULL FROM operators WHERE name = '${name}'`), "t");
  });

  inThreeWays("who got a coupon is exported, and the page has the digest of the file", "admin", async (hand) => {
    await hand.go("/campaigns/SPRING/issues");
    const begun = hand.page.waitForEvent("download");
    await hand.press("button", /^Export/);
    const bytes = readFileSync(await (await begun).path());
    await hand.page.reload();
    await hand.sees(createHash("sha256").update(bytes).digest("hex"));
  });
}
