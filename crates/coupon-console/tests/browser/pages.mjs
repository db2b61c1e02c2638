// Every page, as the table of verbs and the links between the pages lead to them: accessible, within its policy, readable.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BASE, SHOTS, findPages, open, violations } from "./tools.mjs";

const SIZES = [[320, 700], [1280, 800]];

test("every page of the table can be reached by links", async () => {
  const found = await findPages();
  const unreached = [...found].filter(([, addresses]) => addresses.length === 0).map(([route]) => route);
  assert.deepEqual(unreached.filter((route) => !WITHOUT_A_PAGE.has(route)), []);
});

/** Routes that answer with a file, an event stream or a redirect. */
const WITHOUT_A_PAGE = new Set(["/openapi"]);

test("every page meets WCAG 2.2 AA, light and dark, small and large, and keeps to its policy", async (t) => {
  const found = await findPages(1);
  const pages = [...found.values()].flat();
  pages.push("/no-such-page");
  const wrong = [];
  const page = await open("admin");
  page.setDefaultTimeout(20_000);
  for (const path of pages) {
    await page.goto(BASE + path);
    const name = path.replace(/[^A-Za-z0-9-]+/g, "_").replace(/^_|_$/g, "").slice(0, 60) || "overview";
    for (const [width, height] of SIZES) {
      for (const colorScheme of ["light", "dark"]) {
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await page.screenshot({ path: `${SHOTS}/${name}-${width}-${colorScheme}.png`, fullPage: true });
        const at = `${path} at ${width} px, ${colorScheme}`;
        for (const violation of await violations(page)) wrong.push(`${at}: ${violation}`);
        const spare = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (spare > 0) wrong.push(`${at}: is ${spare} px wider than the window`);
      }
    }
  }
  t.diagnostic(`${pages.length} pages`);
  assert.equal([...new Set(wrong), ...page.faults].join("\n"), "");
  await page.close();
});

test("the login is accessible too, and says what is wrong", async () => {
  const page = await open(null, { viewport: { width: 320, height: 700 } });
  await page.goto(`${BASE}/work?status=PENDING`);
  await page.getByLabel("Operator token").fill("cop_wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("alert").waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${SHOTS}/login-320-${colorScheme}.png` });
    assert.deepEqual(await violations(page), []);
  }
  assert.deepEqual(page.faults, []);
  await page.close();
});
