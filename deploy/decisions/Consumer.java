import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads all decisions and says of each campaign up to which number they are complete: Consumer BROKERS TOPIC. */
class Consumer {
    public static void main(String[] arguments) {
        var settings = Map.<String, Object>of("bootstrap.servers", arguments[0], "group.id", "messages",
            "auto.offset.reset", "earliest", "enable.auto.commit", false);
        // Yours is a table with a unique key on (source, number), written in one transaction with what the event brings about.
        var seen = new TreeMap<String, TreeMap<Long, String>>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(arguments[1]));
            for (var records = consumer.poll(Duration.ofSeconds(30)); !records.isEmpty(); records = consumer.poll(Duration.ofSeconds(10))) {
                for (var record : records) {
                    var event = new HashMap<String, String>();
                    record.headers().forEach(header -> event.put(header.key(), new String(header.value())));
                    if (!event.get("ce_type").matches("coupon\\.issue\\..*\\.v1")) continue; // hold what is newer, and say so
                    seen.computeIfAbsent(event.get("ce_source"), source -> new TreeMap<>()) // the same again is the same
                        .put(Long.parseLong(event.get("ce_decisionno")), event.get("ce_id"));
                }
                consumer.commitSync(); // after they are kept
            }
        }
        seen.forEach((source, numbers) -> {
            long complete = 0;
            while (numbers.containsKey(complete + 1)) complete++;
            System.out.printf("%s: complete up to %d, highest %d%n", source, complete, numbers.lastKey());
        });
    }
}
