// Verifies what standard input holds, [{secret, headers, body}], with the official verifier; throws at the first that fails.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const { Webhook } = createRequire(`${process.env.WEBHOOKS_NODE}/`)('standardwebhooks');
const received = JSON.parse(readFileSync(0, 'utf8'));
for (const { secret, headers, body } of received) new Webhook(secret).verify(body, headers);
console.log(`node: ${received.length} verified`);
