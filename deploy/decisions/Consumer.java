import static java.nio.charset.StandardCharsets.UTF_8;
import static java.nio.file.StandardOpenOption.*;

import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Keeps each decision once, in a file named by its campaign and number: Consumer BROKERS TOPIC FOLDER. */
class Consumer {
    public static void main(String[] arguments) throws Exception {
        var settings = Map.<String, Object>of("bootstrap.servers", arguments[0], "group.id", "messages",
            "auto.offset.reset", "earliest", "enable.auto.commit", false);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(arguments[1]));
            while (true) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    var event = new HashMap<String, String>();
                    record.headers().forEach(header -> event.put(header.key(), new String(header.value(), UTF_8)));
                    // Yours is a row with the unique key (source, number), in one transaction with what the event brings about.
                    var folder = Files.createDirectories(Path.of(arguments[2] + event.get("ce_source")));
                    Files.writeString(folder.resolve(event.get("ce_decisionno")), event.get("ce_type") + " " + record.value(), CREATE, DSYNC);
                }
                consumer.commitSync(); // after they are kept
            }
        }
    }
}
