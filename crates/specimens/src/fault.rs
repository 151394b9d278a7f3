use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error;

/// What is wrong, or odd, with the server. `specimens.toml` says of each in a sentence what it is;
/// where it acts, it stands by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing at all.
    Good,

    // Right, in a way that is rarely met.
    LateFirstReply,
    OneByteAWrite,
    CoalescesWrites,
    RandomDelays,

    // The process.
    CrashesAtStart,
    SaysAnotherPort,
    PrintsEachClient,
    PanicsOnATakenPort,
    SharesItsPort,
    IgnoresItsArguments,
    ListensEverywhere,
    VersionFourOnly,
    KeepsItsPort,
    PanicsWithoutStderr,
    Spins,
    Ticks,
    DeafToSigint,
    DeafToSigterm,
    StopsWithAnError,
    StopsWhenAllIsRead,

    // Who is served.
    NeverAnswers,
    Refuses,
    OneAtATime,
    TwentyAtATime,
    AnswersWhenTwoMoreCome,
    AThreadEach,
    AThreadOrNothing,
    FiveHundredAtATime,
    TwoThousandAtATime,
    FifteenHundredInAll,
    LosesACrowd,
    AsksNewcomersForTheirAddress,
    EndsWithoutDescriptors,
    SpinsWithoutDescriptors,
    GivesUpWithoutDescriptors,

    // The bytes.
    UpperCases,
    TextOnly,
    EndsAtNul,
    DropsAByte,
    FlipsABitPerMebibyte,
    WaitsForALine,
    OneLineARead,
    AnswersFromOneBuffer,
    IgnoresShortWrites,
    ReadsWithoutBound,
    StaysWithWhoSpeaks,
    TakesUrgentForAnError,

    // How clients leave.
    HalfCloseIsGoodbye,
    CutsALeaverShort,
    NeverCloses,
    WatchesLeavers,
    ResetsLeavers,
    EndsOnAReset,
    EndsOnAWriteError,
    RetriesForEver,
    AsksLeaversForTheirAddress,
    LeaksADescriptor,
    LeaksAThread,
    LeaksMemory,
    RelaysHalfALine,
    ClosesWithoutReading,

    // Who hears a line.
    EchoesToTheSender,
    EchoesToWhoIsBehind,
    ForgetsWhoIsBehind,
    AloneIsAnError,
    RepeatsALine,
    LosesALine,
    SwapsLines,
    JoinersHearHalfALine,
    JoinersInheritTheBacklog,
    SkipsAfterALeaver,
    KeepsGhosts,
    SpeakersPayForAReset,
    DeafToLastWords,
    WaitsForTheSlowest,
    WaitsForTheSpeaker,
    BacklogWithoutLimit,
    AQueueEach,
    ExpelsSilently,
    NoBacklog,
    ShortQueue,
    RelaysChunks,
    GluesTheTail,
    LosesTheTail,
    TrimsLines,
    DropsEmptyLines,
    LimitOffByOne,
    KeepsEndlessLines,
    LimitsWhatIsRead,
    ObeysQuit,
    EndForgetsWhatIsOwed,
}

impl Fault {
    /// The one of this name, for example `upper-cases`.
    pub fn named(name: &str) -> Option<Self> {
        Self::deserialize(IntoDeserializer::<Error>::into_deserializer(name)).ok()
    }
}
