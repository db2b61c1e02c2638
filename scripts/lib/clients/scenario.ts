// The scenario of scripts/clients, through the generated client for TypeScript.
import { Configuration, IssuingApi, Problem, ProblemFromJSON, ResponseError } from "./client";

declare const process: { env: Record<string, string | undefined>; exit(code: number): void };

const { URL: basePath, COUPON: code = "", HOLDER, LATE, ODD } = process.env;

function api(accessToken?: string): IssuingApi {
  return new IssuingApi(new Configuration({ basePath, accessToken }));
}

function must(holds: boolean, what: unknown): void {
  if (!holds) throw new Error(JSON.stringify(what));
}

/** The problem of an ask that must be refused, with the status of the answer. */
async function refused(token?: string): Promise<[number, Problem]> {
  try {
    must(false, await api(token).askForCoupon({ code }));
  } catch (error) {
    if (error instanceof ResponseError) return [error.response.status, ProblemFromJSON(await error.response.json())];
    throw error;
  }
  throw new Error("not refused");
}

async function main(): Promise<void> {
  const holder = api(HOLDER);
  const first = await holder.askForCouponRaw({ code });
  must(first.raw.status === 202, first.raw.status);
  const { requestId } = await first.value();
  const again = await holder.askForCouponRaw({ code });
  must(again.raw.status === 200 && (await again.value()).requestId === requestId, again.raw.status);

  const [status, problem] = await refused(LATE);
  must(status === 409 && problem.code === "SOLD_OUT", problem);

  for (const deadline = Date.now() + 30_000; ; await new Promise((later) => setTimeout(later, 100))) {
    const issue = await holder.showIssue({ code, requestId });
    must(Date.now() < deadline, issue);
    if (issue.state === "issued") {
      must(issue.expiresAt instanceof Date, issue);
      break;
    }
  }

  if (ODD) {
    const [status, problem] = await refused(ODD);
    must(status === 409 && problem.status === 409 && !["SOLD_OUT", "NOT_OPEN", "CLOSED"].includes(problem.code), problem);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
