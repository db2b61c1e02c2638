//! The classes of Kafka's error codes: the whole table.

use rdkafka::types::RDKafkaRespErr;

use super::*;

/// Every code of the client and of the protocol in one row, with the reason for its class. Codes below zero are librdkafka's
/// own, the others those of the Kafka protocol.
const CODES: &[(Class, &str, &[Code])] = &[
    (
        Class::Permanent,
        "the record itself is refused: its size, its form, its timestamp",
        &[
            Code::MessageSizeTooLarge,
            Code::InvalidMessageSize,
            Code::InvalidMessage,
            Code::InvalidRecord,
            Code::InvalidTimestamp,
            Code::BadMessage,
            Code::KeySerialization,
            Code::ValueSerialization,
        ],
    ),
    (
        Class::Interrupted,
        "this client ends, or has purged its queue to end",
        &[Code::BrokerDestroy, Code::DestroyBroker, Code::PurgeQueue, Code::PurgeInflight, Code::Interrupted],
    ),
    (
        Class::Unavailable,
        "the brokers are not reached, or do not answer in time",
        &[
            Code::BrokerTransportFailure,
            Code::Resolve,
            Code::MessageTimedOut,
            Code::AllBrokersDown,
            Code::OperationTimedOut,
            Code::TimedOutQueue,
            Code::NodeUpdate,
            Code::WaitCache,
            Code::RequestTimedOut,
            Code::NetworkException,
            Code::BrokerNotAvailable,
            Code::UnknownBroker,
            Code::RebootstrapRequired,
            Code::Retry,
            Code::Partial,
            Code::Underflow,
            Code::InProgress,
            Code::PreviousInProgress,
        ],
    ),
    (
        Class::Unavailable,
        "the partition has no leader or too few replicas, or is moving",
        &[
            Code::ISRInsufficient,
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::ReplicaNotAvailable,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::FencedLeaderEpoch,
            Code::UnknownLeaderEpoch,
            Code::PreferredLeaderNotAvailable,
            Code::EligibleLeadersNotAvailable,
            Code::ElectionNotNeeded,
            Code::ReassignmentInProgress,
            Code::NoReassignmentInProgress,
            Code::OffsetNotAvailable,
            Code::OffsetOutOfRange,
            Code::LogTruncation,
            Code::KafkaStorageError,
            Code::LogDirNotFound,
            Code::StaleControllerEpoch,
            Code::NotController,
            Code::StaleBrokerEpoch,
            Code::ListenerNotFound,
            Code::InconsistentVoterSet,
            Code::FeatureUpdateFailed,
            Code::InvalidUpdateVersion,
        ],
    ),
    (
        Class::Unavailable,
        "the topic is gone: somebody has to make it again",
        &[
            Code::UnknownTopic,
            Code::UnknownPartition,
            Code::UnknownTopicOrPartition,
            Code::UnknownTopicId,
            Code::InvalidTopic,
            Code::TopicAlreadyExists,
            Code::TopicDeletionDisabled,
            Code::InvalidPartitions,
            Code::InvalidReplicationFactor,
            Code::InvalidReplicaAssignment,
            Code::ResourceNotFound,
            Code::DuplicateResource,
            Code::NoEnt,
        ],
    ),
    (
        Class::Unavailable,
        "this client may not: a rotated password is an outage, not a verdict",
        &[
            Code::SSL,
            Code::Authentication,
            Code::UnknownProtocol,
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
            Code::DelegationTokenAuthorizationFailed,
            Code::UnsupportedSASLMechanism,
            Code::IllegalSASLState,
            Code::SaslAuthenticationFailed,
            Code::SecurityDisabled,
            Code::DelegationTokenAuthDisabled,
            Code::DelegationTokenNotFound,
            Code::DelegationTokenOwnerMismatch,
            Code::DelegationTokenRequestNotAllowed,
            Code::DelegationTokenExpired,
            Code::InvalidPrincipalType,
            Code::UnacceptableCredential,
            Code::PrincipalDeserializationFailure,
        ],
    ),
    (
        Class::Unavailable,
        "too much at once: a full queue, a quota, the order of the idempotent producer",
        &[
            Code::QueueFull,
            Code::ThrottlingQuotaExceeded,
            Code::MessageBatchTooLarge,
            Code::TelemetryTooLarge,
            Code::OutOfOrderSequenceNumber,
            Code::DuplicateSequenceNumber,
            Code::UnknownProducerId,
            Code::InvalidProducerEpoch,
            Code::InvalidProducerIdMapping,
            Code::ProducerFenced,
            Code::Fenced,
            Code::GaplessGuarantee,
            Code::Inconsistent,
            Code::Fatal,
        ],
    ),
    (
        Class::Unavailable,
        "broker and client do not fit each other, or one of them is set up wrongly",
        &[
            Code::BadCompression,
            Code::UnsupportedCompressionType,
            Code::UnsupportedVersion,
            Code::UnsupportedForMessageFormat,
            Code::UnsupportedFeature,
            Code::InvalidRequest,
            Code::InvalidRequiredAcks,
            Code::InvalidConfig,
            Code::PolicyViolation,
            Code::InvalidDifferentRecord,
            Code::OperationNotAttempted,
            Code::InvalidArgument,
            Code::InvalidType,
            Code::NotImplemented,
            Code::NotConfigured,
            Code::State,
            Code::Conflict,
            Code::ReadOnly,
            Code::FileSystem,
            Code::CriticalSystemResource,
            Code::Fail,
            Code::Application,
            Code::Noop,
            Code::Outdated,
            Code::Unknown,
        ],
    ),
    (
        Class::Unavailable,
        "of consuming, groups and transactions: no answer to a publication",
        &[
            Code::PartitionEOF,
            Code::NoOffset,
            Code::AutoOffsetReset,
            Code::KeyDeserialization,
            Code::ValueDeserialization,
            Code::PollExceeded,
            Code::WaitingForCoordinator,
            Code::UnknownGroup,
            Code::ExistingSubscription,
            Code::AssignPartitions,
            Code::RevokePartitions,
            Code::AssignmentLost,
            Code::OffsetMetadataTooLarge,
            Code::CoordinatorLoadInProgress,
            Code::CoordinatorNotAvailable,
            Code::NotCoordinator,
            Code::IllegalGeneration,
            Code::InconsistentGroupProtocol,
            Code::InvalidGroupId,
            Code::UnknownMemberId,
            Code::InvalidSessionTimeout,
            Code::RebalanceInProgress,
            Code::InvalidCommitOffsetSize,
            Code::NonEmptyGroup,
            Code::GroupIdNotFound,
            Code::GroupMaxSizeReached,
            Code::GroupSubscribedToTopic,
            Code::MemberIdRequired,
            Code::FencedInstanceId,
            Code::UnreleasedInstanceId,
            Code::FencedMemberEpoch,
            Code::StaleMemberEpoch,
            Code::UnsupportedAssignor,
            Code::UnstableOffsetCommit,
            Code::FetchSessionIdNotFound,
            Code::InvalidFetchSessionEpoch,
            Code::UnknownSubscriptionId,
            Code::InvalidTransactionalState,
            Code::InvalidTransactionTimeout,
            Code::ConcurrentTransactions,
            Code::TransactionCoordinatorFenced,
        ],
    ),
];

#[test]
fn a_refused_record_is_a_verdict_and_a_broker_that_is_away_is_none() {
    let of = |code| PublishError::from(KafkaError::MessageProduction(code)).class();
    assert_eq!(of(Code::MessageSizeTooLarge), Class::Permanent);
    assert_eq!(of(Code::MessageTimedOut), Class::Unavailable);
    assert_eq!(of(Code::TopicAuthorizationFailed), Class::Unavailable);
    assert_eq!(of(Code::PurgeQueue), Class::Interrupted);
    assert_eq!(PublishError::Closed.class(), Class::Interrupted);
}

#[test]
fn every_code_has_the_class_of_its_row() {
    for (class, why, codes) in CODES {
        for code in *codes {
            assert_eq!(class_of(*code), *class, "{code:?}: {why}");
        }
    }
}

/// A code with such a class is charged to its record.
#[test]
fn only_what_is_said_of_the_record_itself_is_a_verdict_on_it() {
    let verdicts = |class: Class| class.may_lie_in_one_record() || class == Class::Malformed;
    let charged: Vec<&str> = CODES.iter().filter(|(class, ..)| verdicts(*class)).map(|(_, why, _)| *why).collect();
    assert_eq!(charged, ["the record itself is refused: its size, its form, its timestamp"]);
}

#[test]
fn every_code_of_the_client_stands_in_exactly_one_row() {
    let marks = [Code::Begin, Code::End, Code::EndAll, Code::NoError];
    let known = (-300..300).filter_map(|number| RDKafkaRespErr::try_from(number).ok()).map(Code::from);
    let mut walked = 0;
    for code in known.filter(|code| !marks.contains(code)) {
        let rows = CODES.iter().filter(|(_, _, codes)| codes.contains(&code)).count();
        assert_eq!(rows, 1, "{code:?} stands in {rows} rows");
        walked += 1;
    }
    let listed: usize = CODES.iter().map(|(_, _, codes)| codes.len()).sum();
    assert_eq!(walked, listed, "a code stands twice in its row, or is none of the client's");
    assert!(CODES.iter().all(|(_, why, codes)| !why.is_empty() && !codes.is_empty()));
}
