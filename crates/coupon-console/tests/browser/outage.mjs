// Servers that are gone, and a service that is killed in the midst of a job.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";

import { BASE, SHOTS, api, confirm, findPages, open, plan, sql, stack, until } from "./tools.mjs";

/** A server, the pages that need it, and what those say when it is gone. */
const GONE = [
  ["redis", ["/campaigns/NIGHT", "/health", "/health/doctor"], /Redis does not answer|redis.*FAIL/is],
  ["kafka", ["/health", "/health/doctor"], /Kafka does not answer|kafka.*FAIL/is],
  ["postgres", null, /PostgreSQL does not answer/],
];

/** Asks for pages, some at a time, and returns for each its status, its text and how long it took. */
async function ask(paths) {
  const left = [...paths];
  const answers = [];
  const lane = async () => {
    for (let path; (path = left.shift()) !== undefined; ) {
      const began = Date.now();
      const answer = await api(path, { headers: { accept: "text/html" } });
      answers.push({ path, status: answer.status, text: await answer.text(), took: Date.now() - began });
    }
  };
  await Promise.all(Array.from({ length: 4 }, lane));
  return answers;
}

for (const [server, needing, says] of GONE) {
  test(`without ${server} every page comes within 2.5 s, and those that need it say so`, async () => {
    const pages = [...(await findPages(1)).values()].flat();
    const page = await open("admin.one");
    const path = needing?.[0] ?? "/";
    await page.goto(BASE + path);
    stack("down", server);
    try {
      // What was seen within the last second may still be shown.
      await until(`the page says that ${server} is gone`, async () => {
        await page.goto(BASE + path);
        return says.test(await page.locator("body").innerText());
      }, 10);
      await page.screenshot({ path: `${SHOTS}/without-${server}.png`, fullPage: true });
      const answers = await ask(pages);
      const wrong = answers.filter(({ path, status, text, took }) => {
        const isNamed = !(needing?.includes(path) ?? true) || says.test(text);
        return took > 2500 || ![200, 303, 400, 503].includes(status) || !isNamed;
      });
      assert.deepEqual(wrong.map(({ path, status, took, text }) => `${path}: ${status} after ${took} ms: ${text.slice(-600)}`), []);
      assert.deepEqual(page.faults, []);
    } finally {
      stack("up", server);
    }
    await until("the service is ready again", async () => (await fetch(`${process.env.DLQ_CONSUMER_ADMIN_URL}/readyz`)).ok, 60);
    await page.close();
  });
}

test("a service that is killed in a job goes on with it, and the page shows the same progress", async () => {
  sql("DROP TRIGGER IF EXISTS night ON coupon_issues");
  const made = await plan("replay", { list: "dead-letters", what: "filter", query: "campaign=FLOOD&status=HELD", per_second: 10 });
  assert.ok(made.eligible > 50, JSON.stringify(made));
  await confirm(made, "killed in the midst");
  const id = sql("SELECT max(job_id) FROM replay_jobs");
  const page = await open("operator.one");
  await page.goto(`${BASE}/replays/${id}`);
  const begun = () => Number(sql(`SELECT begun FROM replay_jobs WHERE job_id = ${id}`));
  await until("some are begun", () => begun() > 10);
  const [pid] = readFileSync(`${process.env.STACK_LOCAL}/run/dlq-consumer.pid`, "utf8").split(" ");
  process.kill(Number(pid), "SIGKILL");
  await until("the page says that it is old", () => page.locator("#stale").count(), 20);
  const before = begun();
  stack("up", "dlq-consumer");
  await page.getByText("DONE", { exact: true }).waitFor({ timeout: 60_000 });
  assert.ok(begun() >= before);
  const [total, done] = sql(`SELECT chosen, begun FROM replay_jobs WHERE job_id = ${id}`).split("|");
  assert.equal(done, total);
  assert.equal(sql("SELECT count(*) - count(DISTINCT member_id) FROM coupon_issues WHERE decision = 'ISSUED' AND member_id LIKE 'price-f%'"), "0");
  await page.close();
});

after(() => sql("DROP FUNCTION IF EXISTS night() CASCADE"));
