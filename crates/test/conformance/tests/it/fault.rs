//! Each way in which the model can be made to misbehave. The comment says what a real plugin did, or would do.

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Fault {
    None,
    /// Good, and its answers carry annotations.
    Annotated,

    StatusVersion,
    StatusVersionAlternates,
    StatusUnhealthy,
    StatusKeyIdEmpty,
    StatusKeyIdLong,
    StatusKeyIdDrifts,
    StatusKeyIdOther,
    StatusSlow,
    StatusHangs,
    StatusFails,

    EncryptFails,
    EncryptLongCiphertext,
    EncryptEmptyCiphertext,
    EncryptHugeAnnotations,
    EncryptBadAnnotation,
    EncryptSameNonce,
    EncryptShowsPlaintext,
    EncryptOnly32,
    EncryptUidMatters,
    EncryptHuge,
    EncryptSlow,
    EncryptFewAtOnce,

    DecryptWrongBytes,
    DecryptIgnoresKeyId,
    DecryptEmptyKeyIdIsCurrent,
    DecryptCachesByCiphertext,
    DecryptCachesByHead,
    DecryptCachesCut,
    DecryptIgnoresAnnotations,
    DecryptAnnotationsUnread,
    DecryptNotAuthenticated,
    DecryptIgnoresOneBit,
    DecryptIgnoresTail,
    DecryptPanicsOnEmpty,
    DecryptEmptyIsEmpty,
    DecryptPassesUnknown,
    DecryptGuessesLong,
    DecryptHangsOnLarge,
    DecryptFailsAfterError,
    DecryptSlow,
    DecryptFewAtOnce,
    DecryptMixesAnswers,

    V1Version,
    V1NoRuntime,
    V1Only32,
    V1Fails,
    V1LongCipher,
    V1SameNonce,
    V1ShowsPlaintext,
    V1IgnoresOneBit,
    V1PanicsOnEmpty,
    V1Huge,
    V1MixesAnswers,
    V1Slow,
    V1Cut,

    SocketMode0666,
    SocketMode0755,
    SocketFolderOpen,
    SocketFewConnections,
    SocketServesInTurn,
    SocketClosesIdle,
    AuthorityStrict,
    AnswersUnknownMethod,
    AnswersMalformed,
    OnlyV1,
    OnlyV2,

    RotateUnseen,
    RotateReusesKeyId,
    RotateFlips,
    RotateChangesVersion,
    RotateStatusLags,
    RotateStatusStaysBehind,
    RotateMislabels,
    RotateMislabelsUnread,
    RotateForgets,
    RotateTriesAll,
    RotateFails,

    OutageText,
    OutageStatusHangs,
    OutageStatusSlow,
    OutageKeyId,
    OutageEncryptHangs,
    OutageLosesData,
    OutageNoCache,
    OutageForever,

    StartKeepsStaleSocket,
    StartNewKeyId,
    StartNewVersion,
    StartForgets,

    PeerOtherKey,
    PeerOtherKeyId,
}

impl Fault {
    pub(crate) fn named(name: &str) -> Self {
        serde_json::from_value(name.into()).unwrap()
    }
}
