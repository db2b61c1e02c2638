"""Keeps each decision once, under its campaign and number, in a file of SQLite: consumer.py BROKERS TOPIC FILE"""
import sqlite3, sys
from confluent_kafka import Consumer, KafkaException

db = sqlite3.connect(sys.argv[3])  # yours is a database; what an event brings about belongs into the same transaction
db.execute("CREATE TABLE IF NOT EXISTS decisions (source, number, id, type, value, PRIMARY KEY (source, number))")
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "accounting", "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe([sys.argv[2]])
while True:
    if (message := consumer.poll(1)) is None: continue
    if message.error(): raise KafkaException(message.error())
    event = {name: value.decode() for name, value in message.headers()}
    row = event["ce_source"], int(event["ce_decisionno"]), event["ce_id"], event["ce_type"], message.value()
    with db: db.execute("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?)", row)  # the same again is the same
    consumer.commit(message)  # after it is kept
