// The tests of the console in a real browser, in this order: one world, one browser. scripts/test-console starts them.

import { after } from "node:test";

import { closeBrowser } from "./tools.mjs";

after(closeBrowser);

await import("./pages.mjs");
await import("./hostile.mjs");
await import("./flows.mjs");
await import("./together.mjs");
await import("./night.mjs");
await import("./outage.mjs");
