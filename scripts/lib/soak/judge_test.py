#!/usr/bin/env python3
"""Each promise is broken once in the files of a sound run, and the second checker names it."""
import copy
import json
import os
import tempfile
import unittest

import judge

AT = "2026-11-30T03:00:%06.3f+00:00"


def answer(member, second, question="coupon", status=202, one=None, state=None, code=None):
    return {"at": AT % second, "took_ms": 10, "member": member, "coupon": "C", "question": question,
            "status": status, "request_id": one, "state": state, "code": code}


def row(one, member, decision, given_back_at=None):
    return {"coupon_id": 1, "request_id": one, "member_id": member, "decision": decision, "given_back_at": given_back_at}


def record(offset, one, origin=(None, None, None)):
    value = json.dumps({"version": 1, "request_id": one}) if one else [255, 0]
    return {"partition": 0, "offset": offset, "key": "k", "value": value, "origin": list(origin)}


def letter(offset, one, status):
    return {"id": offset + 1, "dlq_partition": 0, "dlq_offset": offset, "original_event_id": one, "status": status, "alarm_sent": True}


def sound():
    """ann has a coupon, bob's was compensated, cid's request is held, and one record could not be read."""
    run = judge.Run()
    run.answers = [
        answer("ann", 1, one="a", state="reserved"), answer("ann", 2, status=200, one="a", state="accepted"),
        answer("ann", 3, "status", 200, "a", "issued"), answer("ann", 4, status=200, one="a", state="accepted"),
        answer("bob", 1, one="b", state="accepted"), answer("bob", 5, "status", 200, "b", "compensated"),
        answer("bob", 6, "mine", 404, code="NOTHING_HELD"), answer("cid", 1, one="c", state="accepted"),
        answer("dan", 1, status=409, code="SOLD_OUT"),
    ]
    run.tables["coupons"] = [{"coupon_id": 1, "coupon_code": "C", "total_quantity": 2, "issued_quantity": 1}]
    run.tables["coupon_issues"] = [row("a", "ann", "ISSUED"), row("b", "bob", "COMPENSATED", AT % 4)]
    run.tables["failed_coupon_issues"] = [
        {"request_id": "b", "coupon_code": "C", "member_id": "bob", "error_class": "PERMANENT", "error_code": "23514"}]
    run.tables["dlq_events"] = [letter(0, "b", "COMPENSATED"), letter(1, "c", "HELD"), letter(2, None, "PARKED")]
    run.redis = [{"code": "C", "meta": {"total": "2"}, "issued": {"ann": "a", "cid": "c"}, "outbox": []}]
    run.main = [record(0, "a"), record(1, "b"), record(2, "c"), record(3, None)]
    run.dlq = [record(offset, one, ("t", "0", str(offset + 1))) for offset, one in enumerate(("b", "c", None))]
    run.offsets = [{"topic": "main", "partition": 0, "committed": 4}, {"topic": "dlq", "partition": 0, "committed": 3}]
    run.alarms = [{"taken": True, "text": "held"}]
    run.oracle = [{"accepted": 3, "issued": 1, "compensated": 1, "oversold": 0, "lost": 0, "holds": True, "converged_s": 9}]
    return run


def kinds(run):
    return sorted({promise for promise, _ in judge.Judge(run).all()})


class Planted(unittest.TestCase):
    def broken(self, promise, damage):
        run = sound()
        damage(run)
        self.assertEqual(kinds(run), promise.split())

    def test_a_sound_run_passes(self):
        run = sound()
        judged = judge.Judge(run)
        self.assertEqual(judged.all(), [])
        self.assertEqual(judge.disagreements(run, judged)[1], [])

    def test_a_coupon_beyond_the_total_is_oversold(self):
        self.broken("I1", lambda run: run.tables["coupons"][0].update(total_quantity=0) or run.redis[0]["meta"].update(total="0"))

    def test_a_counter_that_lies_is_found(self):
        self.broken("I1", lambda run: run.tables["coupons"][0].update(issued_quantity=2))

    def test_two_coupons_of_one_member_are_found(self):
        def damage(run):
            run.tables["coupon_issues"].append(row("a2", "ann", "ISSUED"))
            run.tables["coupons"][0]["issued_quantity"] = 2
        self.broken("I2 I4", damage)

    def test_a_member_who_was_told_of_two_requests_is_found(self):
        def damage(run):
            run.answers.append(answer("cid", 2, one="c2", state="accepted"))
            run.tables["dlq_events"].append(letter(3, "c2", "HELD"))
        self.broken("I2", damage)

    def test_an_accepted_request_without_an_end_is_lost(self):
        self.broken("I3", lambda run: run.answers.append(answer("eve", 1, one="e", state="accepted")))
        self.broken("I3", lambda run: run.answers.append(answer("eve", 1, one="e", state="reserved")))

    def test_a_compensation_on_no_work_list_and_a_work_list_without_one_are_found(self):
        self.broken("I3", lambda run: run.tables["failed_coupon_issues"].clear())
        self.broken("I3", lambda run: run.tables["failed_coupon_issues"].append(
            dict(run.tables["failed_coupon_issues"][0], request_id="x")))

    def test_an_outbox_that_still_waits_is_found(self):
        self.broken("I3", lambda run: run.redis[0]["outbox"].append("a|1|ann"))

    def test_a_coupon_whose_holder_entry_was_given_back_a_second_time_is_found(self):
        self.broken("I4", lambda run: run.redis[0]["issued"].pop("ann"))

    def test_an_orphan_in_redis_is_found(self):
        self.broken("I4", lambda run: run.redis[0]["issued"].update(eve="e"))

    def test_totals_that_differ_are_found(self):
        self.broken("I4", lambda run: run.redis[0]["meta"].update(total="3"))

    def test_both_outcomes_of_one_request_are_found(self):
        run = sound()
        run.tables["coupon_issues"].append(row("a", "ann", "COMPENSATED", AT % 4))
        self.assertIn("I5", kinds(run))

    def test_a_told_decision_that_is_not_true_is_found(self):
        self.broken("I5", lambda run: run.answers.append(answer("cid", 2, "status", 200, "c", "issued")))

    def test_a_unit_that_was_not_given_back_or_came_again_is_found(self):
        self.broken("I6", lambda run: run.tables["coupon_issues"][1].update(given_back_at=None))
        self.broken("I6", lambda run: run.redis[0]["issued"].update(bob="b"))

    def test_an_offset_above_a_record_that_came_to_nothing_is_found(self):
        self.broken("I7", lambda run: run.dlq.pop())
        self.broken("I3", lambda run: run.main.append(record(4, "x")))
        self.broken("I7", lambda run: run.tables["dlq_events"].pop())

    def test_an_outage_that_was_taken_for_a_verdict_is_found(self):
        failed = lambda run: run.tables["failed_coupon_issues"][0].update(error_class="UNAVAILABLE")
        self.broken("I8", failed)
        run = sound()
        failed(run)
        run.faults = [{"kind": "FailMembers", "what": "C bob Disconnects"}]
        self.assertEqual(kinds(run), [])

    def test_a_dead_letter_that_nobody_heard_of_is_found(self):
        self.broken("I10", lambda run: run.tables["dlq_events"][1].update(alarm_sent=False))
        self.broken("I10", lambda run: run.alarms.clear())

    def test_a_holder_who_is_told_that_nothing_is_held_is_found(self):
        self.broken("I11", lambda run: run.answers.append(answer("ann", 5, "mine", 404, code="NOTHING_HELD")))
        self.broken("I11", lambda run: run.answers.append(answer("ann", 5, status=409, code="SOLD_OUT")))

    def test_an_answer_that_was_asked_for_before_the_coupon_is_no_breach(self):
        run = sound()
        run.answers.append(answer("ann", 1.005, status=409, code="SOLD_OUT"))
        self.assertEqual(kinds(run), [])

    def test_a_state_that_goes_back_is_found_unless_a_repair_has_published_it_again(self):
        self.broken("I11", lambda run: run.answers.append(answer("ann", 5, "status", 200, "a", "accepted")))
        back = lambda run: run.answers.append(answer("ann", 5, status=200, one="a", state="reserved"))
        self.broken("I11", back)
        run = sound()
        back(run)
        run.tables["rebuilds"] = [{"coupon_code": "C", "started_at": AT % 4.5}]
        self.assertEqual(kinds(run), [])

    def test_a_service_that_ended_and_a_run_that_came_late_to_rest_are_found(self):
        self.broken("I12", lambda run: run.faults.append({"ended": 3, "status": "exit status: 1"}))
        self.broken("I12", lambda run: run.oracle[0].update(converged_s=121))

    def test_an_oracle_that_says_something_else_is_a_disagreement(self):
        for what, number in (("accepted", 4), ("issued", 2), ("compensated", 0), ("oversold", 1), ("lost", 1), ("holds", False)):
            run = sound()
            run.oracle[0][what] = number
            judged = judge.Judge(run)
            judged.all()
            self.assertEqual(len(judge.disagreements(run, judged)[1]), 1, what)

    def test_the_files_of_a_run_are_read_and_judged_again(self):
        run = sound()
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(judge.main(folder), 2)
            for name in ("answers", "redis", "offsets", "faults", "alarms", "oracle"):
                self.write(folder, name, copy.copy(getattr(run, name)))
            self.write(folder, "topic.main", run.main)
            self.write(folder, "topic.dlq", run.dlq)
            for name, rows in run.tables.items():
                self.write(folder, "table." + name, rows)
            self.assertEqual(judge.main(folder), 0)
            self.write(folder, "redis", [])
            self.assertEqual(judge.main(folder), 1)

    def write(self, folder, name, objects):
        with open(os.path.join(folder, name + ".jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in objects)


if __name__ == "__main__":
    unittest.main(buffer=True)
