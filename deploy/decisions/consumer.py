"""Reads all decisions and says of each campaign up to which number they are complete: consumer.py BROKERS TOPIC"""
import sys
from confluent_kafka import Consumer

consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "accounting", "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe([sys.argv[2]])
seen = {}  # yours is a table with a unique key on (source, number), written in one transaction with what the event brings about
while (message := consumer.poll(15)) is not None:
    if message.error():
        raise SystemExit(message.error())
    event = {name: value.decode() for name, value in message.headers()}
    if event["ce_type"].startswith("coupon.issue.") and event["ce_type"].endswith(".v1"):  # hold what is newer, and say so
        seen.setdefault(event["ce_source"], {})[int(event["ce_decisionno"])] = event["ce_id"]  # the same again is the same
    consumer.commit(message, asynchronous=True)  # after it is kept
for source, numbers in seen.items():
    complete = next(number for number in range(1, len(numbers) + 2) if number not in numbers) - 1
    print(f"{source}: complete up to {complete}, highest {max(numbers)}")
consumer.close()
