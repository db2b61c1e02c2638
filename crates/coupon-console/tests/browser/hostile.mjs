// What others wrote stays text, and other sites change nothing.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { BASE, HOSTILE, api, findPages, open, sql } from "./tools.mjs";

test("hostile texts in every stored field stay text on every page", async () => {
  const found = await findPages(6);
  const pages = [...found.values()].flat();
  const page = await open("admin.one");
  const seen = new Set();
  const wrong = [];
  for (const path of pages) {
    await page.goto(BASE + path);
    const { text, strange } = await page.evaluate(() => {
      const own = "script[type=module][src$='/assets/console.js'], link[href*='/assets/'], form[action^='/']";
      const tags = "script, style, base, iframe, object, embed, img, link, [onerror], [onload], [onfocus], form";
      const strange = [...document.querySelectorAll(tags)].filter((element) => !element.matches(own));
      const links = [...document.querySelectorAll("a[href]")].filter((link) => link.origin !== location.origin);
      const values = [...document.querySelectorAll("input, textarea")].map((field) => field.value);
      return { text: document.body.innerText + values.join(" "), strange: [...strange, ...links].map((element) => element.outerHTML.slice(0, 200)) };
    });
    strange.forEach((element) => wrong.push(`${path}: ${element}`));
    HOSTILE.filter((hostile) => text.includes(hostile.slice(0, 30))).forEach((hostile) => seen.add(hostile));
  }
  assert.equal(wrong.join("\n"), "");
  assert.deepEqual(page.faults, []);
  assert.deepEqual(HOSTILE.filter((text) => !seen.has(text)), [], "these are shown nowhere: the test sees too little");
  await page.close();
});

test("a form of another site changes nothing, though the operator is logged in", async () => {
  const foreign = createServer((_, answer) => {
    answer.setHeader("content-type", "text/html");
    answer.end(`<form method=post action="${BASE}/logout"><button>win</button></form>`);
  });
  await new Promise((resolve) => foreign.listen(0, "127.0.0.1", resolve));
  const page = await open("operator.one");
  try {
    // Another port of the same host is the same site: the cookie goes along, so the origin alone refuses.
    await page.goto(`http://127.0.0.1:${foreign.address().port}/`);
    const [answer] = await Promise.all([page.waitForResponse(`${BASE}/logout`), page.getByRole("button").click()]);
    assert.equal(answer.status(), 403);
    await page.goto(`${BASE}/`);
    await page.getByRole("button", { name: "Log out" }).waitFor();
  } finally {
    foreign.close();
    await page.close();
  }
});

test("a GET changes nothing, wherever a POST would", async () => {
  const { paths } = await (await api("/openapi.json")).json();
  const before = sql("SELECT count(*) FROM operator_audit WHERE verb <> 'denied'");
  for (const path of Object.keys(paths).filter((path) => paths[path].post && !paths[path].get)) {
    const answer = await api(path.replace(/\{[^}]*\}/g, "1"));
    assert.ok([400, 404, 405].includes(answer.status), `${path}: ${answer.status}`);
  }
  assert.equal(sql("SELECT count(*) FROM operator_audit WHERE verb <> 'denied'"), before);
});
