#!/usr/bin/env python3
"""The second checker of a soak run: judges the kept files, without any server.

    judge.py FOLDER

It is written from the promises I1 to I12 of the design, apart from the oracle of coupon-e2e, and shares no code with it: what one
of them has misunderstood the other may find. What the files cannot show is not judged: I9 (whether a record waited for another
one's back-off) and the alert half of I12. Exit 0: every promise holds and the oracle says the same; 1: not so; 2: files missing.
"""
import json
import os
import sys
from collections import defaultdict
from datetime import datetime

TABLES = ("coupons", "coupon_issues", "failed_coupon_issues", "dlq_events", "alarm_notices", "reconciliations", "rebuilds")
OUTAGES = {"UNAVAILABLE", "CONTENDED", "INTERRUPTED"}  # classes that are no verdict about a request (I8)
WAITING = {"HELD", "PARKED"}  # a dead letter that an operator still has to decide
NOTHING = {"NOTHING_HELD", "REQUEST_NOT_FOUND", "SOLD_OUT", "CLOSED", "NOT_OPEN"}  # answers that say "you hold nothing"
CONVERGED_S = 120
MARGIN_S = 0.005  # two answers closer than this have no order
SHOWN = 5


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def lines(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


class Run:
    """What a run has left, as plain lists."""

    def __init__(self):
        self.answers, self.redis, self.main, self.dlq = [], [], [], []
        self.offsets, self.faults, self.alarms, self.oracle = [], [], [], []
        self.tables = {name: [] for name in TABLES}

    @classmethod
    def read(cls, folder):
        run = cls()
        run.answers = lines(folder, "answers.jsonl")  # one after the other: a million of them
        for name in ("redis", "offsets", "faults", "alarms", "oracle"):
            setattr(run, name, list(lines(folder, name + ".jsonl")))
        run.main, run.dlq = list(lines(folder, "topic.main.jsonl")), list(lines(folder, "topic.dlq.jsonl"))
        run.tables = {name: list(lines(folder, f"table.{name}.jsonl")) for name in TABLES}
        return run


class Judge:
    def __init__(self, run):
        self.run, self.found = run, []
        self.code_of = {row["coupon_id"]: row["coupon_code"] for row in run.tables["coupons"]}
        self.rows = defaultdict(list)
        for row in run.tables["coupon_issues"]:
            self.rows[row["request_id"]].append(row)
        self.failed = {row["request_id"] for row in run.tables["failed_coupon_issues"]}
        letters = run.tables["dlq_events"]
        self.waiting = {row["original_event_id"] for row in letters if row["status"] in WAITING} - {None}
        self.told = defaultdict(list)  # (campaign, member) -> what was answered, in the order of arrival
        for answer in run.answers:
            if answer["status"] in (200, 202, 404, 409):
                at = seconds(answer["at"])
                self.told[answer["coupon"], answer["member"]].append(
                    (at - answer["took_ms"] / 1000, at, answer["question"], answer["request_id"], answer["state"], answer["code"])
                )
        for answers in self.told.values():
            answers.sort(key=lambda answer: answer[1])
        self.ids = {key: {a[3] for a in answers if a[3]} for key, answers in self.told.items()}

    def breach(self, promise, text):
        self.found.append((promise, text))

    def decision(self, request_id):
        rows = self.rows.get(request_id)
        return rows[0]["decision"] if rows else None

    def all(self):
        for check in (self.i1, self.i2, self.i3, self.i4_i6, self.i5, self.i7, self.i8, self.i10, self.i11, self.i12):
            check()
        return self.found

    def i1(self):
        issued = defaultdict(int)
        for row in self.run.tables["coupon_issues"]:
            issued[row["coupon_id"]] += row["decision"] == "ISSUED"
        self.oversold = 0
        for row in self.run.tables["coupons"]:
            number, total = issued.pop(row["coupon_id"], 0), row["total_quantity"]
            self.oversold += max(0, number - total)
            if number > total:
                self.breach("I1", f"{row['coupon_code']} has {number} coupons of {total}")
            if number != row["issued_quantity"]:
                self.breach("I1", f"{row['coupon_code']} counts {row['issued_quantity']} coupons and has {number}")
        for coupon_id, number in issued.items():
            if number:
                self.breach("I1", f"{number} coupons of the unknown campaign {coupon_id}")

    def i2(self):
        holders = defaultdict(int)
        for row in self.run.tables["coupon_issues"]:
            if row["decision"] == "ISSUED":
                holders[row["coupon_id"], row["member_id"]] += 1
        for (coupon_id, member), number in holders.items():
            if number > 1:
                self.breach("I2", f"{member} has {number} coupons of {self.code_of.get(coupon_id)}")
        for (code, member), ids in self.ids.items():
            standing = [one for one in ids if self.decision(one) != "COMPENSATED"]
            if len(standing) > 1:
                self.breach("I2", f"{member} was told of {len(standing)} requests for {code} that stand: {sorted(standing)}")

    def i3(self):
        self.lost = 0
        for (code, member), ids in self.ids.items():
            for one in ids:
                rows = self.rows.get(one, [])
                if not rows and one not in self.waiting:
                    self.lost += 1
                    self.breach("I3", f"{one} of {member} for {code} is lost")
                for row in rows:
                    if (self.code_of.get(row["coupon_id"]), row["member_id"]) != (code, member):
                        self.breach("I3", f"{one} was told to {member} for {code} and is decided for {row['member_id']}")
        for one, rows in self.rows.items():
            given_up = any(row["decision"] == "COMPENSATED" for row in rows)
            if given_up and one not in self.failed:
                self.breach("I3", f"{one} is compensated and on no work list")
        for one in self.failed:
            if self.decision(one) != "COMPENSATED":
                self.breach("I3", f"{one} is on the work list and not compensated")
        for stock in self.run.redis:
            for entry in stock["outbox"]:
                self.breach("I3", f"{stock['code']}: {entry} still waits in the outbox")

    def i4_i6(self):
        stocks = {stock["code"]: stock for stock in self.run.redis}
        rows = defaultdict(dict)
        for row in self.run.tables["coupon_issues"]:
            code = self.code_of.get(row["coupon_id"])
            if row["decision"] == "ISSUED":
                rows[code][row["member_id"]] = row["request_id"]
            elif not row["given_back_at"]:
                self.breach("I6", f"{row['request_id']} of {code} is compensated and not given back")
        for code in stocks.keys() | rows.keys():
            held = stocks.get(code, {"issued": {}})["issued"]
            for member, one in held.items():
                if rows[code].get(member) == one or one in self.waiting:
                    continue
                back = self.decision(one) == "COMPENSATED"
                self.breach("I6" if back else "I4", f"{code}: {member} holds {one} in Redis, which is {self.decision(one)}")
            for member, one in rows[code].items():
                if held.get(member) != one:
                    self.breach("I4", f"{code}: {member} has the coupon {one}, Redis says {held.get(member)}")
        totals = {row["coupon_code"]: row["total_quantity"] for row in self.run.tables["coupons"]}
        for code, stock in stocks.items():
            total = stock["meta"].get("total")
            if code in totals and total is not None and int(total) != totals[code]:
                self.breach("I4", f"{code}: the total is {total} in Redis and {totals[code]} in PostgreSQL")

    def i5(self):
        for one, rows in self.rows.items():
            if len(rows) > 1:
                self.breach("I5", f"{one} is decided {len(rows)} times: {[row['decision'] for row in rows]}")
        for (code, member), answers in self.told.items():
            for one, state in {(answer[3], answer[4]) for answer in answers if answer[4] in ("issued", "compensated")}:
                if self.decision(one) != state.upper():
                    self.breach("I5", f"{member} was told that {one} for {code} is {state}, it is {self.decision(one)}")

    def i7(self):
        committed = {(row["topic"], row["partition"]): row["committed"] for row in self.run.offsets}
        copied = {tuple(record["origin"][1:]) for record in self.run.dlq}
        on_record = {(row["dlq_partition"], row["dlq_offset"]) for row in self.run.tables["dlq_events"]}
        for topic, records in (("main", self.run.main), ("dlq", self.run.dlq)):
            for record in records:
                place = (record["partition"], record["offset"])
                known = (str(place[0]), str(place[1])) in copied if topic == "main" else place in on_record
                one = request_id(record["value"])
                if known or (one and (one in self.rows or one in self.waiting)):
                    continue
                passed = committed.get((topic, place[0]), -1) > place[1]
                self.breach("I7" if passed else "I3", f"{topic} {place}: {one or 'a record'} came to nothing")

    def i8(self):
        struck = {word for fault in self.run.faults if fault.get("kind") == "FailMembers" for word in (fault["what"] or "").split()}
        for row in self.run.tables["failed_coupon_issues"]:
            # Whom a fault has break each connection is charged alone (section 5), and that is a verdict.
            if row["error_class"] in OUTAGES and row["member_id"] not in struck:
                self.breach("I8", f"{row['request_id']} of {row['coupon_code']} is compensated for {row['error_class']} {row['error_code']}")

    def i10(self):
        for table in ("dlq_events", "alarm_notices"):
            silent = [row["id"] for row in self.run.tables[table] if not row["alarm_sent"]]
            if silent:
                self.breach("I10", f"{len(silent)} rows of {table} were told to nobody: {silent[:SHOWN]}")
        letters = [row for row in self.run.tables["dlq_events"] if row["status"] in WAITING | {"COMPENSATED"}]
        if letters and not any(alarm["taken"] for alarm in self.run.alarms):
            self.breach("I10", f"{len(letters)} dead letters and no alarm that anybody took")

    def i11(self):
        again = defaultdict(list)  # when a campaign's requests may have been published anew
        for table in ("reconciliations", "rebuilds"):
            for row in self.run.tables[table]:
                again[row["coupon_code"]].append(seconds(row["started_at"]))
        final = ("issued", "compensated")
        for (code, member), answers in self.told.items():
            held, decided, accepted = {}, {}, {}  # request -> when the member had learned it
            for begun, at, question, one, state, why in answers:
                before = lambda known: {id for id, when in known.items() if when + MARGIN_S < begun}
                if why in NOTHING:
                    for mine in before(held):
                        if self.decision(mine) == "ISSUED":
                            self.breach("I11", f"{member} holds {mine} of {code} and was told {why} at {at:.3f}")
                if not one:
                    continue
                if question != "coupon" and state not in final and one in before(decided):
                    self.breach("I11", f"{one} of {code} was told {state} to {member} at {at:.3f}, after it was decided")
                requeued = any(when <= at for when in again[code])
                if state == "reserved" and one in before(accepted) and not requeued:
                    self.breach("I11", f"{one} of {code} was told reserved to {member} at {at:.3f}, after accepted")
                held.setdefault(one, at)
                if state in final:
                    decided.setdefault(one, at)
                if state != "reserved":
                    accepted.setdefault(one, at)

    def i12(self):
        for fault in self.run.faults:
            if "ended" in fault and "status" in fault:
                self.breach("I12", f"the service of slot {fault['ended']} ended by itself: {fault['status']}")
        for end in self.run.oracle:
            if end["converged_s"] > CONVERGED_S:
                self.breach("I12", f"at rest only {end['converged_s']} s after the last fault")


def request_id(value):
    """The request of an event of version 1, if the bytes are one."""
    try:
        event = json.loads(value)
        return event["request_id"] if event["version"] == 1 else None
    except (TypeError, ValueError, KeyError):
        return None


def disagreements(run, judge):
    """Where the oracle says something else."""
    mine = {
        "accepted": len({one for ids in judge.ids.values() for one in ids}),
        "issued": sum(row["decision"] == "ISSUED" for row in run.tables["coupon_issues"]),
        "compensated": sum(row["decision"] == "COMPENSATED" for row in run.tables["coupon_issues"]),
        "oversold": judge.oversold,
        "lost": judge.lost,
        "holds": not judge.found,
    }
    if not run.oracle:
        return mine, ["the oracle has left no verdict"]
    theirs = run.oracle[-1]
    return mine, [f"{what}: the oracle says {theirs[what]}, this checker {number}" for what, number in mine.items() if theirs[what] != number]


def main(folder):
    if not os.path.exists(os.path.join(folder, "answers.jsonl")):
        print(f"judge: no answers in {folder}", file=sys.stderr)
        return 2
    run = Run.read(folder)
    judge = Judge(run)
    by_promise = defaultdict(list)
    for promise, text in judge.all():
        by_promise[promise].append(text)
    for promise, texts in by_promise.items():
        print(f"{promise} does not hold, {len(texts)} times:")
        for text in texts[:SHOWN]:
            print(f"  {text}")
    mine, differences = disagreements(run, judge)
    for difference in differences:
        print(f"disagreement: {difference}")
    print("the second checker: " + " ".join(f"{what}={number}" for what, number in mine.items()))
    return 1 if by_promise or differences else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
