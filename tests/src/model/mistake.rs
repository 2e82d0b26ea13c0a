//! The planted mistakes. A model that cannot fail proves nothing, so each rule that it holds dear
//! can be broken on its own, and must then be missed.

/// A rule of the protocol, broken. The doc line of each names the law that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Votes of two inquests are added up. Breaks I.
    InquestsAdded,
    /// A majority of the answers deposes, not of all voters. Breaks M.
    MajorityOfAnswers,
    /// Votes carry no sequence number: a late or repeated one overwrites a newer. Breaks R.
    VotesWithoutSequence,
    /// A restarted node counts its votes from one again under its old incarnation. Breaks R.
    IncarnationForgotten,
    /// A node that never saw the primary alive in this epoch votes Silent. Breaks B.
    BlindVotesSilent,
    /// Silence alone deposes, whatever the ackers still hear. Breaks K.
    AckersNotAsked,
    /// A majority within one region deposes. Breaks G.
    OneRegionSuffices,

    /// |V|−k frozen ackers pass for a proof, one too few. Breaks A.
    OneAckerTooFew,
    /// A write counts as acknowledged from one report more than k − u on. Breaks A.
    ThresholdOneHigher,
    /// The threshold is k whoever was heard: who said nothing is taken to have acknowledged nothing.
    /// Breaks L.
    UnheardTakenForSilent,
    /// Need is all that anybody in M reported. Breaks U.
    UnionOfReports,
    /// The confirmed final set is taken although enough members tell what was acknowledged. Breaks
    /// U.
    ConfirmedAlwaysTaken,
    /// A member that lost the end of its relay log before its first report counts in M. Breaks A.
    BrokenMemoryCounts,
    /// An order to follow the same source in a later epoch makes a broken memory whole. Breaks A.
    RefollowingHeals,
    /// A primary that confirmed its fence may reopen for the epoch it was fenced in. Breaks A.
    ConfirmedDoesNotBind,
    /// An exit proves silence, and is taken to prove content too. Breaks A.
    ExitedProvesContent,
    /// V′ is what was frozen of V; one still attached then acknowledges uncounted. Breaks H.
    VPrimeOfFrozenOnly,
    /// The old primary is a member of V′ without a `Rejoined` entry. Breaks S.
    OldPrimaryInVPrime,
    /// A later freeze report replaces the earlier one. Breaks A.
    ReportsOverwritten,
    /// A repair loop restarts the thread that a freeze stopped. Breaks A.
    FreezeUndoneByRepair,
    /// The agent keeps its token and its `frozen=e` in memory only. Breaks A. (Of the two it is
    /// `frozen=e` that these sizes cannot do without; the token's order within an epoch is needed
    /// where V shrinks, which is not modelled.)
    TokenNotPersisted,
    /// An order to open leaves before the choice that it belongs to is committed. Breaks P.
    OpenWithoutChoice,
    /// The agent opens without looking whether it holds what the order names. Breaks A.
    OpenWithoutNeed,
    /// The agent asks whether it holds what it needs, not whether it holds all that it reported: who
    /// was compared with that follows it. Breaks D.
    OpensWithLess,
    /// What former epochs needed is not carried on. Breaks A.
    NoFloor,
    /// A transaction of the deposed primary's own that one replica alone holds counts as errant,
    /// and is left out of need. Breaks A.
    ErrantRuleOnDeposed,
    /// What a primary wrote is named common: whoever holds it may follow another. Breaks D.
    CommonOfAPrimary,
    /// What an instance holds that never followed this primary enters need. Breaks N.
    UnjoinedCountInNeed,
    /// The word Stuck proves that the epoch never opened. Breaks A.
    StuckIsProof,
    /// A withdrawn epoch that was fenced is taken never to have opened. Breaks A.
    WithdrawnTakenForUnopened,
    /// An agent that started since the choice says by its file that it never began to open. Breaks
    /// A.
    RestartedSaysNeverBegan,
    /// A returned instance replicates without being compared first. Breaks D.
    RejoinWithoutCompare,
    /// The agent keeps what it held of its last source alone: a late order to follow another hides
    /// what it acknowledged. Breaks W.
    OnlyLastSourceKept,
    /// A joining member acknowledges before V contains it. Breaks H.
    AcksBeforeLogged,
    /// An order of a higher epoch leaves open what was open under a lower one. Breaks A.
    OrdersDoNotClose,
    /// A stranger that was seen to acknowledge is not counted as a member of V that nobody froze.
    /// Breaks A.
    StrangersNotCounted,
    /// A stranger counts no longer once it is cut, though V has not caught up. Breaks H.
    StrangerForgottenWhenCut,
    /// A stranger counts no longer once a marker was answered, though semi-sync was off. Breaks H.
    StrangerForgottenByAnswer,
    /// An order to open leaves attached who came under an epoch before, and is counted in none after.
    /// Breaks H.
    OpeningCutsNobody,
    /// An acker that withholds its name is not counted. Breaks H.
    NamelessNotCounted,
    /// Nothing is said to be lost once semi-sync's variable is back. Breaks A.
    ZeroOncePutBack,
    /// Nothing is said to be lost once a marker was answered, whoever answered it. Breaks A.
    ZeroOnceAnswered,
    /// A primary that is reinstated on broken ground is said to stand on good ground. Breaks A.
    ReinstatedOnGoodGround,
    /// What a primary has executed counts before k of V hold a marker of its epoch. Breaks U.
    KnownBeforeMarker,
    /// What a primary that restarted has executed counts. Breaks U.
    KnownFromRestarted,
    /// A fence answers once `super_read_only` is set, without `offline_mode`. Breaks A.
    FencedByReadOnlyAlone,
    /// A server boots with `super_read_only` alone. Breaks A.
    BootedByReadOnlyAlone,
    /// A replica is online though branches are in use. Breaks A.
    FollowersOnline,
    /// A freeze counts though its agent could not write it down. Breaks A, unless each start begins
    /// with a read of the log.
    UnwrittenFreezeCounts,
    /// A stranger that comes again while the log still counts it is not logged anew: the word that
    /// it was forgotten, committed late, is believed. Breaks H.
    ReturnNotLogged,
    /// What a replica fetches may come from one that never followed this primary, and counts as held.
    /// Breaks U.
    FetchFromAnyone,
    /// A replica fetches from one that lacks what it holds itself. Breaks D.
    FetchUncompared,
    /// What a frozen replica fetched is told as what it held when it was frozen. Breaks U.
    FetchedCountsAsHeld,
    /// A replica acknowledges to the one it fetches from, which may be primary by then. Breaks A.
    FetchAcknowledges,
    /// A cluster is founded though some instance has not reported itself fenced. Breaks A.
    FoundedUnfenced,
}
