// The tests of the console in a real browser, in this order: one world, one browser. scripts/test-console starts them.

import { after, describe } from "node:test";

import { adminFlows, operatorFlows } from "./flows.mjs";
import { moves } from "./moves.mjs";
import { closeBrowser } from "./tools.mjs";

after(closeBrowser);

await import("./pages.mjs");
await import("./hostile.mjs");
// None of these changes what another one looks at, and each operator follows one flow after the other.
describe("at the same time", { concurrency: true }, () => {
  describe("operators", { concurrency: false }, operatorFlows);
  describe("admins", { concurrency: false }, adminFlows);
  describe("on a page", { concurrency: true }, moves);
});
await import("./night.mjs");
await import("./outage.mjs");
