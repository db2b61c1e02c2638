// Servers that are gone, and a service that is killed in the midst of a job.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";

import { BASE, SHOTS, confirm, open, plan, sql, stack, until } from "./tools.mjs";

/** A server, the page that needs it, and what the page says when it is gone. */
const GONE = [
  ["redis", "/campaigns/NIGHT", /Redis does not answer/],
  ["kafka", "/health", /Kafka does not answer/],
  ["postgres", "/", /PostgreSQL does not answer/],
];

for (const [server, path, says] of GONE) {
  test(`without ${server} the page comes within 2.5 s and says so`, async () => {
    const page = await open("admin");
    await page.goto(BASE + path);
    stack("down", server);
    try {
      // What was seen within the last second may still be shown.
      await until(`the page says that ${server} is gone`, async () => {
        const began = Date.now();
        const answer = await page.goto(BASE + path);
        const took = Date.now() - began;
        assert.ok(took < 2500, `${path} took ${took} ms without ${server}`);
        assert.ok(answer.status() === 200 || answer.status() === 503, `${answer.status()}`);
        return says.test(await page.locator("body").innerText());
      }, 10);
      await page.screenshot({ path: `${SHOTS}/without-${server}.png`, fullPage: true });
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
  const page = await open("operator");
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
