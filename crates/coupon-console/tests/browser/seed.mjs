// Makes the world of the browser tests: campaigns of every status, requests that failed for two reasons and are on the work list
// or held, dead letters of every kind, operators of every role, and hostile texts in every field that others fill.

import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

import { ALARM, BASE, HOSTILE, SHOTS, TOKENS, closeBrowser, confirm, open, plan, run, sql, until } from "./tools.mjs";

const quote = (text) => `'${text.replaceAll("'", "''")}'`;

/** Signs a token of a member as the login in front of the API would. */
function tokenOf(member) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { iss: "coupon-demo", aud: "coupon-api", sub: member, exp: Math.floor(Date.now() / 1000) + 3600 };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  const secret = readFileSync(process.env.ISSUER_API__AUTH__HMAC_SECRET_FILE, "utf8").trim();
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Lets members ask for a coupon of a campaign, and returns the statuses of the answers. */
export async function ask(code, members) {
  const url = `${process.env.ISSUER_API_URL}/api/v1/coupons/${code}/issues`;
  const answers = members.map((member) => fetch(url, { method: "POST", headers: { authorization: `Bearer ${tokenOf(member)}` } }));
  return (await Promise.all(answers)).map((answer) => answer.status);
}

const numbered = (prefix, count) => Array.from({ length: count }, (_, index) => `${prefix}-${String(index).padStart(4, "0")}`);
const by = ["--by", "seed"];

function operators() {
  const rows = Object.entries(TOKENS).map(([name, token]) => {
    const [role] = name.split(".");
    return `('${name}', '${role}', sha256('${token}'), 'seed', now(), now() + interval '1 day')`;
  });
  sql(`INSERT INTO operators (name, role, token_hash, created_by, created_at, expires_at) VALUES ${rows.join(", ")}`);
}

/** A fault of the database, as a night has it: it goes with the trigger. */
function breakWriting() {
  sql(`CREATE FUNCTION night() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF NEW.member_id LIKE 'price-%' THEN RAISE 'the price list of the campaign is not loaded' USING ERRCODE = 'P0001'; END IF;
         IF NEW.member_id LIKE 'region-%' THEN
           RAISE 'new row violates check constraint "region_known"' USING ERRCODE = '23514', CONSTRAINT = 'region_known'; END IF;
         RETURN NEW; END $$;
       CREATE TRIGGER night BEFORE INSERT ON coupon_issues FOR EACH ROW WHEN (NEW.decision = 'ISSUED') EXECUTE FUNCTION night()`);
}

async function campaigns() {
  const make = (code, total, ...more) => run("issuer-api", "coupon", "create", code, "--total", `${total}`, ...more, ...by);
  const open = (code) => run("issuer-api", "coupon", "open", code, ...by);
  for (const [code, total] of [["NIGHT", 300], ["SPRING", 20], ["WINTER", 50], ["FLOOD", 400], ["BROKEN", 10]]) make(code, total), open(code);
  make("SUMMER", 1000);
  await ask("SPRING", numbered("member", 30));
  await ask("WINTER", numbered("member", 12));
  await ask("NIGHT", [...numbered("member", 60), ...numbered("price", 45), ...numbered("region", 12)]);
  await ask("FLOOD", numbered("price-f", 120));
  run("issuer-api", "coupon", "close", "WINTER", ...by);
  // 45 and 12 of NIGHT, 120 of FLOOD: compensated as far as the budgets reach, held beyond them.
  await until("every failure is a dead letter", () => sql("SELECT count(*) >= 177 FROM dlq_events") === "t", 60);
  sql("UPDATE coupons SET status = 'SUSPECT' WHERE coupon_code = 'BROKEN'");
}

/** Texts that a page would run or show wrongly if it did not escape them, in every field that others fill. */
function hostile() {
  HOSTILE.forEach((text, index) => {
    const [value, hex] = [quote(text), `convert_to(${quote(text)}, 'UTF8')`];
    sql(`INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason, cause)
           VALUES ('NIGHT', ${value}, gen_random_uuid(), 'PENDING', 'PERMANENT', 'X${index}', ${value}, ${value});
         UPDATE failed_coupon_issues SET claimed_by = ${value}, claimed_at = now() WHERE error_code = 'X${index}';
         INSERT INTO row_notes (subject, written_by, written_at, note)
           SELECT 'failed_coupon_issues/' || id, ${value}, now(), ${value} FROM failed_coupon_issues WHERE error_code = 'X${index}';
         INSERT INTO dlq_events (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type, coupon_code, member_id,
             record_key, payload, headers, error_class, error_code, cause, error_message, stack_trace, attempts, status, alarm_sent)
           VALUES (${value}, 0, ${9000 + index}, 1, ${value}, 'NIGHT', ${value}, ${hex}, ${hex},
             jsonb_build_array(jsonb_build_object('key', ${value}, 'value', ${value})), 'PERMANENT', 'X${index}', ${value}, ${value}, ${value}, 3,
             '${["PARKED", "HELD", "RESOLVED", "IGNORED"][index % 4]}', true);
         INSERT INTO operator_audit (actor, verb, subject, change, reason, provenance)
           VALUES (${value}, ${value}, ${value}, jsonb_build_object(${value}, ${value}), ${value},
             jsonb_build_object('login', 'COMMAND_LINE', 'source', ${value}));
         INSERT INTO saved_filters (operator_name, name, view, created_at) VALUES ('admin.one', left(${value}, 60), ${value}, now())
           ON CONFLICT DO NOTHING`);
  });
  const first = quote(HOSTILE[0]);
  sql(`INSERT INTO alarm_causes (alarm_key, announced_at, announced_count) VALUES (${first}, now(), 3);
       INSERT INTO alarm_channels (channel, down_since, last_error) VALUES (${first}, now(), ${first});
       INSERT INTO alarm_notices (cause, message, command, created_at) VALUES (${first}, ${first}, ${first}, now())`);
}

/** A plan that waits, a settled selection, and a replay that stops because its fault is still there. */
async function plans() {
  const ids = sql("SELECT 'E' || id FROM failed_coupon_issues WHERE coupon_code = 'FLOOD' ORDER BY id LIMIT 4").split("\n");
  await plan("ignore", { id: ids.slice(0, 2) });
  await confirm(await plan("resolve", { id: ids.slice(2) }), "written by hand");
  await confirm(await plan("replay", { what: "filter", query: "campaign=NIGHT&cause=region", per_second: 50 }), "the regions are known now");
  await confirm(await plan("reconcile", { codes: ["SPRING"] }), "after the night");
}

/** Takes the pictures of README.md, before the hostile texts come: .github/ has copies of them. */
async function pictures() {
  const page = await open("operator.one", { viewport: { width: 1280, height: 860 } });
  for (const [name, path] of [["overview", "/"], ["work", "/work?status=PENDING&cause=region"]]) {
    await page.goto(BASE + path);
    await page.screenshot({ path: `${SHOTS}/console-${name}.png` });
  }
  await closeBrowser();
}

/** Receives alarms as JSON, and keeps the first one about the price list. */
function receiveAlarms() {
  const server = createServer((request, answer) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      const text = Buffer.concat(parts).toString();
      if (text.includes("price list") && !server.has) writeFileSync(ALARM, text), (server.has = true);
      answer.end();
    });
  });
  return server.listen(new URL(process.env.DLQ_CONSUMER__ALARMS__WEBHOOK_URL).port, "127.0.0.1");
}

const alarms = receiveAlarms();
operators();
breakWriting();
await campaigns();
await until("the alarm is sent", () => alarms.has);
alarms.close(), alarms.closeAllConnections();
await plans();
await pictures();
hostile();
run("dlq-consumer", "reconcile", "NIGHT", ...by);
