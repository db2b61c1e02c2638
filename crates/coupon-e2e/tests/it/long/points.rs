//! The crash points: all that the sources name, and where each is swept.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};

use super::sweep_repair::{OF_ARCHIVE, OF_DEAD_LETTERS, OF_REBUILD, OF_RECONCILE, OF_REPLAY, OF_REPLAYED_ROW};

/// Effects of `issuer-api serve`, with the pass at which the process ends.
pub const OF_API: &[(&str, u32)] =
    &[("reserve", 3), ("publish an event", 3), ("delete promises", 1), ("lease an outbox", 2)];

/// Effects of `issue-consumer run`.
pub const OF_ISSUE_CONSUMER: &[(&str, u32)] = &[
    ("attempt", 3),
    ("issue a batch", 1),
    ("publish a dead letter", 1),
    ("store an offset", 2),
    ("ask for a give-back again", 1),
];

/// Effects of `dlq-consumer run`.
pub const OF_DLQ_CONSUMER: &[(&str, u32)] = &[
    ("issue a batch", 1),
    ("give up a request", 1),
    ("ask for a give-back again", 1),
    ("give a unit back", 1),
    ("note a give-back", 1),
    ("put a dead letter down", 1),
    ("claim an alarm", 1),
    ("note an alarm as told", 1),
    ("store an offset", 1),
];

/// Failpoints of commands.
pub const OF_COMMANDS: &[&str] = &[
    "create a coupon",
    "begin to open a coupon",
    "begin a fill",
    "make a coupon known",
    "copy marks",
    "change a coupon's status",
    "set the gate",
    "claim a version of the total",
    "set the total in redis",
    "settle the total",
    "set the admission",
    "set the window",
    "set the window in redis",
    "delete a draft",
    "settle entries",
    "purge a batch",
];

/// Effects that need a situation of their own.
pub const OF_SITUATIONS: &[&str] = &[
    "commit a probe",
    "try a commit",
    "issue what fits",
    "keep what is undecided",
    "move a dead letter on",
    "set the gate",
    "note an alarm as told",
    "let an alarm go",
    "note how a channel fares",
    "note that a channel works",
    "leave a notice",
];

/// Effects of the decision relay, and of numbering what older builds have decided.
pub const OF_DECISIONS: &[&str] = &[
    "take the lease of decisions",
    "publish a decision",
    "move the mark of decisions",
    "release the leases of decisions",
    "number decisions",
    "note that decisions are numbered",
    "accept numbers without a decision",
    "pass over accepted numbers",
];

/// Not swept: whether an event names the trace of its request decides nothing.
pub const OF_TRACES: &[&str] = &["keep traces"];

/// Effects of webhooks, swept by `sweep_webhooks`.
pub const OF_WEBHOOKS: &[&str] = &[
    "register a webhook",
    "tell of ended windows",
    "hand events out",
    "claim a webhook delivery",
    "note a webhook delivery",
    "send a delivery again",
];

/// Effects of the console, and of jobs beside what they repair. Not swept: each is one transaction, so that a process that
/// ends there has made the change or none, and `jobs` kills workers at their work.
pub const OF_CONSOLE: &[&str] = &[
    "add an operator",
    "append to the audit",
    "begin a session",
    "change the rate of a replay",
    "claim a job",
    "claim a replay",
    "claim an entry",
    "confirm a plan",
    "count what was refused",
    "create a job",
    "delete a view",
    "end a job",
    "end a session",
    "forget a worker",
    "forget old login codes",
    "give an operator a login code",
    "hand a replay over",
    "keep a plan",
    "let a replay go",
    "let jobs go",
    "note a heartbeat of a job",
    "note a worker",
    "note something on a row",
    "note why a job waits",
    "note why a replay waits",
    "revoke an operator",
    "save a view",
    "take a login code",
];

/// Effects of the erasure of a member, swept by `erasure_ends`.
pub const OF_ERASURE: &[&str] = &[
    "begin an erasure",
    "count erased holders",
    "erase decisions",
    "erase rows",
    "finish an erasure",
    "rename a holder",
];

/// Texts of the sources that stand before the name of a failpoint.
const MARKERS: [&str; 11] = [
    "self.write(\"",
    "self.execute(\"",
    "crash::pass(\"",
    "invoke(\"",
    "invoke_repeatable(\"",
    "change(\"",
    "self.send(\"",
    "at_once(\"",
    "try_writing(\"",
    "effect: \"",
    "queue_record(record, \"",
];

#[test]
fn every_point_of_the_sources_is_swept() -> Result<()> {
    let mut named = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../coupon-core/src"), &mut named)?;
    let listed = [OF_API, OF_ISSUE_CONSUMER, OF_DLQ_CONSUMER].into_iter().flatten().map(|(effect, _)| *effect);
    let repairing = [OF_REPLAY, OF_REPLAYED_ROW, OF_DEAD_LETTERS, OF_RECONCILE, OF_REBUILD, OF_ARCHIVE];
    let repairing = repairing.into_iter().flatten().copied();
    let swept: BTreeSet<String> = listed
        .chain(repairing)
        .chain(OF_COMMANDS.iter().copied())
        .chain(OF_SITUATIONS.iter().copied())
        .chain(OF_CONSOLE.iter().copied())
        .chain(OF_DECISIONS.iter().copied())
        .chain(OF_ERASURE.iter().copied())
        .chain(OF_WEBHOOKS.iter().copied())
        .chain(OF_TRACES.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(named, swept);
    Ok(())
}

fn collect(folder: &Path, named: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, named)?;
            continue;
        }
        // What a unit test names is no effect of a service.
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        // Call and name may stand on two lines.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( \"", "(\"");
        let found =
            MARKERS.iter().flat_map(|marker| text.split(marker).skip(1)).filter_map(|rest| rest.split('"').next());
        named.extend(found.map(str::to_owned));
    }
    Ok(())
}

/// A release build has no failpoint, not even its name.
#[test]
fn release_builds_have_no_crash_points() -> Result<()> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
        let has = |profile: &str| -> Result<bool> {
            let file = target.join(profile).join(binary);
            let bytes =
                std::fs::read(&file).with_context(|| format!("{} (make test-long builds it)", file.display()))?;
            let word = b"COUPON_CRASH_AT";
            Ok(bytes.windows(word.len()).any(|some| some == word))
        };
        assert!(has("debug")?, "the debug build of {binary} cannot be told to crash, so this test shows nothing");
        assert!(!has("release")?, "{binary}");
    }
    Ok(())
}
