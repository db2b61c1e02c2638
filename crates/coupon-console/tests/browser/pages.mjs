// Every page, as the table of verbs and the links between the pages lead to them: accessible, within its policy, readable.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BASE, SHOTS, findPages, open, violations } from "./tools.mjs";

/** Every page is seen in all of these, and examined by axe in the first two: a theme changes colours only, and a size none of them. */
const LOOKS = [[320, "light"], [1280, "dark"], [320, "dark"], [1280, "light"]];
/** How much of a long page is on its picture, in pixels: below it there are more rows of the same kind. */
const TALLEST = 2600;

/** Routes that answer with a file, an event stream or a redirect. */
const WITHOUT_A_PAGE = new Set(["/openapi"]);

test("every page of the table can be reached by links", async () => {
  const found = await findPages();
  const unreached = [...found].filter(([, addresses]) => addresses.length === 0).map(([route]) => route);
  assert.deepEqual(unreached.filter((route) => !WITHOUT_A_PAGE.has(route)), []);
});

/** Looks at a page in every way, and returns what is wrong with it. */
async function examine(page, path) {
  const wrong = [];
  await page.goto(BASE + path);
  const name = path.replace(/[^A-Za-z0-9-]+/g, "_").replace(/^_|_$/g, "").slice(0, 60) || "overview";
  for (const [width, colorScheme] of LOOKS) {
    await page.setViewportSize({ width, height: width === 320 ? 700 : 800 });
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const tall = Math.min(TALLEST, await page.evaluate(() => document.documentElement.scrollHeight));
    await page.screenshot({ path: `${SHOTS}/${name}-${width}-${colorScheme}.png`, fullPage: true, clip: { x: 0, y: 0, width, height: tall } });
    const found = await violations(page);
    // A small window scrolls within a table, a large one does not have to.
    const spare = await page.evaluate((isLarge) => {
      const boxes = [document.documentElement, ...(isLarge ? document.querySelectorAll(".scroll") : [])];
      return boxes.map((box) => [box.getAttribute("aria-label") ?? "page", box.scrollWidth - box.clientWidth]).filter(([, spare]) => spare > 0);
    }, width > 320);
    found.push(...spare.map(([what, pixels]) => `${what} is ${pixels} px too wide`));
    wrong.push(...found.map((what) => `${path} at ${width} px, ${colorScheme}: ${what}`));
  }
  return [...wrong, ...page.faults.splice(0).map((fault) => `${path}: ${fault}`)];
}

test("every page meets WCAG 2.2 AA, light and dark, small and large, and keeps to its policy", async (t) => {
  const found = await findPages(1);
  const pages = [...found.values()].flat();
  pages.push("/no-such-page");
  const left = [...pages];
  const wrong = [];
  // A lane for each core: a context has a process of its own.
  const lane = async (lane) => {
    const page = await open("admin.one", { lane });
    for (let path; (path = left.shift()) !== undefined; ) wrong.push(...(await examine(page, path)));
    await page.close();
  };
  await Promise.all([lane(1), lane(2)]);
  t.diagnostic(`${pages.length} pages`);
  assert.equal([...new Set(wrong)].join("\n"), "");
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
