/*
 * A vhost-user session, its socket and the application: rings, messages, asynchronous device operations, failover, the live
 * switch and borrowed software. README.md says what is left out. Each step is atomic as a job of the session's loop is; what is
 * said behind a step is the function of Sources/VhostUser that it stands for.
 *
 * Settings: RINGS (1 or 2), TRANSLATED (rings wait for translations), LOGGING (and no other messages that change a ring),
 * APP (binds, unbinds, tries again), FAILOVER_OFF, SOFTWARE_FAILS.
 * BROKEN_x takes one thing out of the rules; each makes a property fail. scripts/model says which of them the code has.
 */

#ifndef RINGS
#define RINGS 1
#endif

/* Devices: the bound one, which keeps no dirty log; software that stands by for it; another one; software made later. */
#define NONE 0
#define A 1
#define S 2
#define X 3
#define S2 4
#define BIT(d) (1 << (d))
#define IS_SOFTWARE(d) ((d) == S || (d) == S2)
#define CAN_LOG(d) ((d) != A)
/* A DeviceHandle; software of any making has the same. */
#define HANDLE(d) (IS_SOFTWARE(d) -> S : (d))

#ifdef SOFTWARE_FAILS
#define MAY_FAIL(d) true
#else
#define MAY_FAIL(d) (!IS_SOFTWARE(d))
#endif

/* The name stands in the verifier's message. All of them are always false. */
#define HOLDS(name, condition) assert(name | (condition))
bool one_operation_at_a_time, no_message_while_busy, one_answer_a_message, stopped_rings_are_not_served,
  base_after_release, device_knows_rings, reading_is_resumed, every_message_is_answered, one_answer_a_switch,
  every_switch_is_answered, no_use_after_release, no_device_replaces_itself, only_the_failed_is_replaced,
  nothing_leaks, one_device_serves,
  socket_and_session_agree, somebody_serves_again, failure_is_hidden, retry_is_heard, home_is_kept, standby_is_kept,
  log_is_kept, given_back_in_the_end;

/* MARK: Session.State, SessionState */

bool live;                      /* SocketServer.State.session is there */
bool generation;                /* which one */
byte device;
byte successor;
bool earlyFailed;               /* earlyReports holds .failed */
bool isConfigured, isBusy, ended, isOver, failure;
bool isPaused, isClosed;        /* Connection */
bool accepted;                  /* SET_FEATURES was taken in */
bool started[RINGS], isEnabled[RINGS], waiting[RINGS], lost[RINGS];
bool logOn;                     /* activeLog */

/* What a device knows of rings. */
bool serves[RINGS], servesEnabled[RINGS];
/* Devices that are configured; could not be closed and may write; could not be closed and were cut off from guest memory; are
   claimed: bits. */
#ifdef FAILOVER_OFF
byte configured, stuck, fenced, claimed = BIT(A);
#else
byte configured, stuck, fenced, claimed = BIT(A) | BIT(S);
#endif

/* The message that waits for its answer, and what would undo it (`before`). */
mtype = { mNone, mFeatures, mKick, mEnable, mBase, mMemory, mTranslation, mReset, mLog };
mtype message = mNone;
byte ring;
bool stoodBy;                   /* there was a standby when the device failed that the message is for */
/* The operation under way, and what closing is for. */
mtype = { oNone, oFeatures, oSetVring, oFind, oStopVring, oTakeRing, oMemory, oSetLog, oConfigure, oClose, oHandOver, oPrepare,
  oEnd };
mtype operation = oNone;
mtype = { cNone, cFailed, cBase, cOperation, cMemory, cMove, cReset };
mtype closing = cNone;
bool goesOn;                    /* changeMemory: hasStandby, asked before the device was closed */

/* MARK: VhostUserSocket.Setup, SocketServer.State */

#ifdef FAILOVER_OFF
byte sDevice = A, sStandby = NONE, sAway = NONE, serverDevice = A;
#else
byte sDevice = A, sStandby = S, sAway = NONE, serverDevice = A;
#endif
bool isStopping, isStarted = true;

/* Switches that were asked for and have not begun (DeviceSwitch), and the one that is under way. */
mtype = { wNone, wApp, wFailover, wGiveBack, wBorrow };
chan switches = [4] of { mtype, byte, byte };
mtype wanted = wNone;
byte wantedDevice, wantedReplaced;
mtype itsKind = wNone;          /* the one that is just over, within a step */
byte itsDevice;
bool failingOver;               /* software was taken to take over, and the switch has not been answered */

/* EventLoop.run: what follows later on the loop's thread. */
mtype = { jClosed, jFailOver, jGiveBack };
chan jobs = [6] of { mtype, bool, byte, byte };

/* The application: what it asked for (switchDevice), retry, and what is to be given back afterwards. */
mtype = { aIdle, aAsked, aDone, aFailed, aStopping, aStopped };
mtype application = aIdle;
byte appDevice, appStandby, olds;
bool isMade;                    /* appStandby was claimed for this */
bool retried;                   /* bind to the device that has failed, and nobody has tried since */

byte kept;                      /* scratch, zero between steps */

#define MISSING (!accepted || !started[0] || waiting[0] || lost[0])
#if RINGS == 2
#define ANY_STARTED (started[0] || started[1])
#define OTHER_STARTED(r) started[1 - (r)]
#else
#define ANY_STARTED started[0]
#define OTHER_STARTED(r) false
#endif
#define HERE(r) (started[r] && !waiting[r] && !lost[r])
#define QUIET (!isBusy && empty(jobs) && empty(switches))

/* A device is given back: nobody may have it, or be about to (DeviceContext.release). */
inline release(d) {
  HOLDS(no_use_after_release, !(live && !isOver && (device == d || successor == d)));
  HOLDS(no_use_after_release, !(wanted != wNone && wantedDevice == d));
  HOLDS(no_use_after_release, !(switches?? [wFailover, eval(d), eval(device)]));
  HOLDS(no_use_after_release, d != sDevice && d != sStandby && d != sAway);
  if :: !((stuck | fenced) & BIT(d)) -> claimed = claimed & ~BIT(d); configured = configured & ~BIT(d) :: else fi
}

/* VhostUserSocket.keep */
inline keep(d) {
  if
  :: sDevice == d || sStandby == d -> skip
  :: else ->
    if
    :: sStandby == NONE && isStarted && HANDLE(sDevice) != S -> sStandby = d
    :: sStandby == NONE && isStarted && sAway != NONE -> sStandby = d /* setup.binding is the one that is away */
    :: else -> release(d)
    fi
  fi
}

/* VhostUserSocket.take; those that are not needed any more go to `olds` */
inline socketTake(d, standby) {
  olds = 0;
  if :: sDevice != NONE -> olds = olds | BIT(sDevice) :: else fi;
  if :: sStandby != NONE -> olds = olds | BIT(sStandby) :: else fi;
  if :: sAway != NONE -> olds = olds | BIT(sAway) :: else fi;
  if :: standby == d -> sStandby = NONE :: else -> sStandby = standby fi;
  sDevice = d; sAway = NONE;
  olds = olds & ~(BIT(sDevice) | BIT(sStandby))
}

/* SocketServer.release, and what an application does after a switch */
inline releaseOlds() {
  if :: olds & BIT(A) -> release(A) :: else fi;
  if :: olds & BIT(S) -> release(S) :: else fi;
  if :: olds & BIT(X) -> release(X) :: else fi;
  if :: olds & BIT(S2) -> release(S2) :: else fi;
  olds = 0
}

/* VhostUserSocket.takeBack, SocketServer.returned */
inline returned() {
  if
  :: sAway != NONE ->
    /* One that came to stand by meanwhile has no owner any more, and is given back for that (DeviceContext.deinit). */
    if :: sStandby != NONE -> kept = sStandby; sStandby = NONE; release(kept); kept = 0 :: else fi;
    sStandby = sDevice; sDevice = sAway; sAway = NONE; serverDevice = sDevice
  :: else
  fi
}

/* SocketServer.failOver: takeStandby, and the rest in a job of its own. Not for a device that could not be closed. */
inline failOver(isStuck) {
  if
  :: !isStuck && live && sStandby != NONE ->
    jobs ! jFailOver, generation, sStandby, device;
    failingOver = true;
    sStandby = NONE
  :: else
  fi
}

/* Session.deviceFailed */
inline deviceFailed(isStuck) {
  if :: message != mNone && sStandby != NONE && !isStuck && !ended -> stoodBy = true :: else fi;
  retried = false;
  if
  :: !failure -> failure = true; if :: !ended -> failOver(isStuck) :: else fi
  :: else
  fi
}

/* Session.stop, Connection.close */
inline closeConnection() {
  if :: !isClosed -> isClosed = true; jobs ! jClosed, generation, NONE, NONE :: else fi
}

/* Session.run (a word of the language) */
inline operate(what, d) {
  HOLDS(one_operation_at_a_time, !isBusy);
  HOLDS(no_use_after_release, claimed & BIT(d));
  isBusy = true; operation = what;
#ifndef BROKEN_PAUSE
  if :: !ended -> isPaused = true :: else fi
#endif
}

/* Session.configureIfReady */
inline configureIfReady() {
  if
  :: !isConfigured && !isBusy && !ended && !failure && !MISSING -> operate(oConfigure, device)
  :: else
  fi
}

/* Session.answer; a failure is told, or ends the connection (Session.refuse) */
inline answer(isSuccess) {
  configureIfReady();
  HOLDS(one_answer_a_message, message != mNone);
  if
  :: isSuccess -> skip
  :: !isSuccess -> skip
  :: !isSuccess -> closeConnection()
  fi;
  message = mNone; stoodBy = false
}

/* Session.closeDevice */
inline closeDevice(isFailure, why) {
  if :: isFailure -> deviceFailed(false) :: else fi;
  closing = why;
  operate(oClose, device)
}

/* Session.operationFailed; `before` holds again where nobody stands by */
#ifdef BROKEN_HIDE
#define HAS_STANDBY (sStandby != NONE)
#else
#define HAS_STANDBY (sStandby != NONE || failingOver)
#endif
inline operationFailed() {
  if
  :: HAS_STANDBY && !ended -> closeDevice(true, cOperation)
  :: else ->
    HOLDS(failure_is_hidden, ended || !stoodBy);
    if
#ifdef BROKEN_UNDO
    :: message == mEnable -> skip
#endif
    :: message == mFeatures -> accepted = false
    :: message == mKick -> started[ring] = false; waiting[ring] = false
    :: message == mEnable -> isEnabled[ring] = !isEnabled[ring]
    :: message == mLog -> logOn = !logOn
    :: else
    fi;
    answer(false)
  fi
}

inline over() { itsKind = wanted; itsDevice = wantedDevice; wanted = wNone; wantedDevice = NONE; wantedReplaced = NONE }
inline forget() { itsKind = wNone; itsDevice = NONE }

/* The end of a switch (DeviceSwitch.done): .switched */
inline switched(kind, d) {
  if
  :: kind == wApp ->              /* SocketServer.switchDevice, taken */
    HOLDS(one_answer_a_switch, application == aAsked);
    serverDevice = d; socketTake(d, appStandby); application = aDone
  :: kind == wFailover ->         /* SocketServer.failOver, taken */
    failingOver = false;
    serverDevice = d; kept = olds; socketTake(d, NONE); releaseOlds(); olds = kept; kept = 0
  :: kind == wGiveBack -> returned()
  :: kind == wBorrow ->           /* SocketServer.lent, VhostUserSocket.lend */
    serverDevice = d; sAway = sDevice; sDevice = d;
    answer(true)
  fi
}

/* .failed: the switch was refused, or its device has failed */
inline notSwitched(kind, d) {
  if
  :: kind == wApp ->
    HOLDS(one_answer_a_switch, application == aAsked);
    application = aFailed
  :: kind == wFailover -> failingOver = false; keep(d)
  :: kind == wGiveBack ->         /* software goes on, and is what the socket is bound to */
#ifndef BROKEN_LOG_AGAIN
    if
    :: logOn -> skip              /* writes are noted again: it is asked for when that ends */
    :: else ->
#endif
    HOLDS(home_is_kept, !logOn);
    kept = olds; socketTake(serverDevice, NONE); releaseOlds(); olds = kept; kept = 0
#ifndef BROKEN_LOG_AGAIN
    fi
#endif
  :: kind == wBorrow ->           /* Session.logElsewhere, SocketServer.lent */
    keep(d);
    logOn = false;
#ifndef BROKEN_BORROWED
    /* The fault's repair: what stands by again takes over for a device that has failed meanwhile. */
    if :: failure && !ended -> failOver((stuck & BIT(device)) != 0) :: else fi;
#endif
    answer(false)
  fi
}

/* .disconnected and .superseded */
inline dropped(kind, d, isDisconnected) {
  if
  :: kind == wApp ->
    HOLDS(one_answer_a_switch, application == aAsked && isDisconnected);
    serverDevice = d; socketTake(d, appStandby); application = aDone
  :: kind == wFailover -> failingOver = false; keep(d)
  :: kind == wGiveBack && isDisconnected -> returned()
  :: kind == wGiveBack && !isDisconnected -> skip
  fi
}

/* Session.take(_: DeviceSwitch) */
inline takeDevice() {
  device = wantedDevice;
  retried = false
}

/* Session.replace; `exchange` has prepared the new device */
inline replace() {
  failure = false;
  takeDevice();
  over(); switched(itsKind, itsDevice); forget();
  configureIfReady()
}

/* Session.begin: refused, handOver, exchange or replace. What the new device lacks is known to the environment alone, but for the
   dirty log (Session.refusal, Handover.compare). */
inline begin() {
  HOLDS(one_operation_at_a_time, !isBusy);
  HOLDS(no_device_replaces_itself, wantedDevice != device || !isConfigured);
  HOLDS(only_the_failed_is_replaced, wantedReplaced == NONE || wantedReplaced == device);
  if
  :: logOn && !CAN_LOG(wantedDevice) -> over(); notSwitched(itsKind, itsDevice); forget()
  :: wanted == wApp || (wanted == wGiveBack && accepted) ->
    over(); notSwitched(itsKind, itsDevice); forget()
  :: !(logOn && !CAN_LOG(wantedDevice)) ->
    if
    :: isConfigured -> successor = wantedDevice; operate(oHandOver, device)
    :: !isConfigured && accepted -> operate(oPrepare, device)
    :: else -> replace()
    fi
  fi
}

/* Session.beginSwitch */
inline beginSwitch() {
  do
  :: !isBusy && !isClosed && len(switches) > 0 ->
    switches ? wanted, wantedDevice, wantedReplaced;
    if
#ifdef BROKEN_REPLACED
    :: false ->
#else
    :: wantedReplaced != NONE && wantedReplaced != device ->
#endif
      over(); dropped(itsKind, itsDevice, false); forget()
    :: else -> begin()
    fi
  :: else -> break
  od
}

/* Session.closeFailedDevice */
inline closeFailedDevice() {
  if
  :: isConfigured && failure && !isBusy && !ended -> closeDevice(false, cFailed)
  :: else
  fi
}

/* Session.finish */
inline finish() {
  if
  :: !isOver -> isOver = true; operate(oEnd, device)
  :: else
  fi
}

/* Session.idle */
inline idle() {
  if
  :: ended -> finish()
  :: else ->
    closeFailedDevice();
#ifndef BROKEN_RETRY
    /* The fault's repair: who asked for another try while the device was being closed is heard now. */
    if :: retried && failure && !isConfigured && !isBusy -> failure = false :: else fi;
    if :: retried -> configureIfReady(); if :: operation == oConfigure -> retried = false :: else fi :: else fi;
#endif
    if :: !isBusy -> beginSwitch() :: else fi;
#ifndef BROKEN_RESUME
    if :: !isBusy && !ended -> isPaused = false :: else fi
#else
    skip
#endif
  fi
}

/* Session.switchDevice */
inline switchDevice(kind, d, replaced) {
  switches ! kind, d, replaced;
  if :: !isBusy && !ended -> idle() :: else fi
}

inline serveNothing() {
  serves[0] = false; servesEnabled[0] = false;
#if RINGS == 2
  serves[1] = false; servesEnabled[1] = false;
#endif
}

/* DeviceSetup: what a device is configured with */
inline serveAll() {
  serves[0] = HERE(0); servesEnabled[0] = HERE(0) && isEnabled[0];
#if RINGS == 2
  serves[1] = HERE(1); servesEnabled[1] = HERE(1) && isEnabled[1];
#endif
}

/* Session.take(_: StoppedRings): a device that has failed may say nothing of a ring, and RingRecovery find nothing */
inline loseRings() {
  if
  :: HERE(0) -> lost[0] = true
  :: skip
  fi;
#if RINGS == 2
  if
  :: HERE(1) -> lost[1] = true
  :: skip
  fi
#endif
}

/* SessionState.resetVrings */
inline resetRings() {
  started[0] = false; isEnabled[0] = false; waiting[0] = false; lost[0] = false;
#if RINGS == 2
  started[1] = false; isEnabled[1] = false; waiting[1] = false; lost[1] = false;
#endif
}

/* Session.stopped */
inline stopped(r) {
  HOLDS(base_after_release, !serves[r]);
  started[r] = false; waiting[r] = false; lost[r] = false;
  if :: !ANY_STARTED -> failure = false :: else fi;
  answer(true)
}

/* Session.findRings: one ring that waits is found, if the front-end has said all of it */
inline findRings() {
  if
  :: started[0] && waiting[0] ->
    waiting[0] = false; ring = 0;
    if :: isConfigured -> operate(oFind, device) :: else -> answer(true) fi
#if RINGS == 2
  :: started[1] && waiting[1] ->
    waiting[1] = false; ring = 1;
    if :: isConfigured -> operate(oFind, device) :: else -> answer(true) fi
#endif
  :: answer(true)
  fi
}

/* Session.moveDevice: a ring that loses a part is taken from the device first */
inline moveDevice() {
  if
  :: message == mTranslation && isConfigured && HERE(ring) ->
    if
    :: operate(oTakeRing, device)                   /* canStopVrings */
    :: closeDevice(false, cMove)
    fi
  :: else ->
    if :: message == mTranslation && HERE(ring) -> waiting[ring] = true :: else fi;
    operate(oMemory, device)
  fi
}

/* Of a device that was given back, or could not be closed, each operation fails (DeviceContext.perform, Held.checkNotStuck). */
#define WORKS(d) ((claimed & BIT(d)) && !((stuck | fenced) & BIT(d)))

/* The code of the error by which one fails that could not be closed: SocketServer.failOver takes it for one that may write. */
#ifdef BROKEN_FENCED
#define SAYS_STUCK(d) (((stuck | fenced) & BIT(d)) != 0)
#else
#define SAYS_STUCK(d) ((stuck & BIT(d)) != 0)
#endif

/* Held.close: what is not configured is left alone; what was fenced is asked once more, and cannot be fenced again. */
inline closeAtDevice(d) {
  if
  :: isGood || !((configured | stuck | fenced) & BIT(d)) -> isClosedNow = true
#ifndef BROKEN_FENCED
  :: (fenced & BIT(d)) -> isClosedNow = true
#endif
  :: !isGood && (configured & BIT(d)) && !((stuck | fenced) & BIT(d)) -> fenced = fenced | BIT(d); isClosedNow = true
  :: !isGood && (configured & BIT(d)) -> stuck = stuck | BIT(d); isClosedNow = false
  :: !isGood && !(configured & BIT(d)) && ((stuck | fenced) & BIT(d)) -> isClosedNow = false
  fi;
  if :: isClosedNow -> configured = configured & ~BIT(d) :: else fi
}

/* MARK: The front-end */

proctype Frontend() {
  byte r;
  do
  :: atomic { live && !isClosed && !isPaused && message == mNone && len(jobs) < 3 && !isStopping ->
    HOLDS(no_message_while_busy, !isBusy);
    r = 0;
#if RINGS == 2
    if :: r = 0 :: r = 1 fi;
#endif
    ring = r;
    if
    :: !accepted -> message = mFeatures; accepted = true; operate(oFeatures, device)
    :: accepted && !started[r] ->                        /* SessionState.start, Session.tellDevice */
      message = mKick; started[r] = true;
#ifdef TRANSLATED
      if :: waiting[r] = true :: skip fi;
#endif
      if :: isConfigured && !waiting[r] -> operate(oSetVring, device) :: else -> answer(true) fi
#ifndef LOGGING
    :: accepted ->
      message = mEnable; isEnabled[r] = !isEnabled[r];
      if :: isConfigured && HERE(r) -> operate(oSetVring, device) :: else -> answer(true) fi
#endif
    :: accepted ->                                       /* Session.stopVring */
      message = mBase;
      if
      :: !isConfigured || !started[r] -> stopped(r)
      :: isConfigured && started[r] ->
        if
        :: OTHER_STARTED(r) ->                           /* canStopVrings */
          if :: HERE(r) -> operate(oStopVring, device) :: else -> stopped(r) fi
#ifdef BROKEN_BASE
        :: stopped(r)
#else
        :: closeDevice(false, cBase)
#endif
        fi
      fi
#ifndef LOGGING
    :: accepted -> message = mMemory; moveDevice()
#ifdef TRANSLATED
    :: accepted -> message = mTranslation; moveDevice()  /* an update or an invalidation */
#endif
    :: accepted -> message = mReset; closeDevice(false, cReset)
#endif
#ifdef LOGGING
    :: accepted ->                                       /* Session.changeLog */
      message = mLog; logOn = !logOn;
      if
      :: logOn && !CAN_LOG(device) ->                    /* logElsewhere: borrow */
        if
        :: sStandby == NONE -> logOn = false; answer(false)
        :: else ->
          wanted = wBorrow; wantedDevice = sStandby; sStandby = NONE;
          begin()
        fi
      :: else -> operate(oSetLog, device)
      fi
#endif
    fi;
    r = 0; if :: !isBusy -> ring = 0 :: else fi
    }
    /* The front-end hangs up: noticed while reading */
  :: atomic { live && !isClosed && !isPaused && len(jobs) < 3 -> closeConnection() }
    /* Another one connects, with whoever serves the socket (SocketServer.accept) */
  :: atomic { !live && !isStopping && application != aStopped ->
    live = true; generation = !generation; device = serverDevice;
    isClosed = false; isPaused = false; ended = false; isOver = false; failure = false }
  :: application == aStopped && !live -> break
  od
}

/* MARK: Operations that end */

/* The end of an operation is a job of the loop behind those that are there, unless the device does it in the caller's thread. */
#define MAY_END (empty(jobs) || (IS_SOFTWARE(device) && (wanted == wNone || IS_SOFTWARE(wantedDevice)) && len(jobs) < 4))

proctype Device() {
  mtype what;
  bool isGood, isClosedNow, isEarly;
  do
  :: atomic { isBusy && MAY_END ->
    what = operation; operation = oNone; isBusy = false; isGood = false;
    /* Whether it went well; everything can fail. */
    if
    :: WORKS(device) -> isGood = true
    :: MAY_FAIL(device) || !WORKS(device) -> isGood = false
    fi;
    if
    :: what == oFeatures -> if :: isGood -> answer(true) :: else -> operationFailed() fi      /* Session.acceptFeatures */

    :: what == oSetVring ->                                                               /* Session.tellDevice */
      if
      :: isGood -> serves[ring] = true; servesEnabled[ring] = isEnabled[ring]; answer(true)
      :: else -> operationFailed()
      fi

    :: what == oFind ->                                                                   /* Session.findRings */
      if
      :: isGood -> serves[ring] = true; servesEnabled[ring] = isEnabled[ring]
      :: else -> deviceFailed(false)
      fi;
      answer(true)

    :: what == oStopVring ->                                                              /* Session.stopVring */
      if
      :: isGood -> serves[ring] = false; servesEnabled[ring] = false; stopped(ring)
      :: else -> closeDevice(false, cBase)
      fi

    :: what == oTakeRing ->                                                               /* Session.moveDevice */
      if
      :: isGood -> serves[ring] = false; servesEnabled[ring] = false; waiting[ring] = true; moveDevice()
      :: else -> closeDevice(true, cMove)
      fi

    :: what == oMemory ->                                                                 /* changeMemory, changeTranslations */
      if
      :: isGood || !isConfigured -> findRings()
#ifdef BROKEN_TRANSLATION
      :: !isGood && isConfigured && message == mTranslation -> goesOn = false; closeDevice(true, cMemory)
      :: !isGood && isConfigured && message != mTranslation ->
#else
      :: !isGood && isConfigured ->
#endif
        goesOn = HAS_STANDBY; closeDevice(true, cMemory)
      fi

    :: what == oSetLog ->                                                                 /* Session.changeLog */
      if
      :: isGood ->
        answer(true);
        if :: !logOn && live && sAway != NONE -> jobs ! jGiveBack, generation, sAway, device :: else fi  /* giveBack */
      :: else -> operationFailed()
      fi

    :: what == oConfigure ->                                                              /* Session.configureIfReady */
      if
      :: isGood -> isConfigured = true; configured = configured | BIT(device); serveAll(); retried = false
      :: else -> retried = false; deviceFailed(SAYS_STUCK(device))
      fi

    :: what == oClose ->                                                                  /* Session.closeDevice */
      isConfigured = false;
      closeAtDevice(device);
      if
      :: isClosedNow ->
        serveNothing();
        if :: failure && MAY_FAIL(device) -> loseRings() :: else fi;
        if
        :: closing == cFailed -> skip
        :: closing == cBase -> closing = cNone; stopped(ring)
        :: closing == cOperation -> answer(true)
        :: closing == cMemory && goesOn -> goesOn = false; findRings()
        :: closing == cMemory && !goesOn -> HOLDS(failure_is_hidden, ended || !stoodBy); answer(false)
        :: closing == cMove -> closing = cNone; moveDevice()
        :: closing == cReset -> failure = false; resetRings(); answer(true)
        fi
      :: else ->
        deviceFailed(true);
        closeConnection();
        if :: closing == cMemory -> answer(false) :: else fi
      fi;
      if :: operation != oClose -> closing = cNone; goesOn = false :: else fi

    :: what == oPrepare ->                                                                /* Session.exchange, Handover.prepareIdle */
      if
      :: WORKS(wantedDevice) -> replace()
      :: MAY_FAIL(wantedDevice) || !WORKS(wantedDevice) || wanted == wGiveBack ->
        over(); notSwitched(itsKind, itsDevice); forget()
      fi

    :: what == oHandOver ->                                                               /* Session.handOver */
      isEarly = earlyFailed; successor = NONE; earlyFailed = false;
      if
      :: WORKS(wantedDevice) && !(configured & BIT(wantedDevice)) && isGood ->                /* .moved */
        configured = configured & ~BIT(device);
        /* A device that an earlier connection could not close has that one's memory (README.md). */
        HOLDS(one_device_serves, (configured & ~stuck) == 0 && !(stuck & BIT(device)));
        configured = configured | BIT(wantedDevice);
        if :: failure && MAY_FAIL(device) -> loseRings() :: else fi;
        serveAll();
        failure = false;
        takeDevice();
        over(); switched(itsKind, itsDevice); forget();
        if :: isEarly -> deviceFailed(false) :: else fi;
        if :: !isBusy -> closeFailedDevice() :: else fi
      :: MAY_FAIL(wantedDevice) || wanted == wBorrow || !WORKS(wantedDevice) ||
          (configured & BIT(wantedDevice)) ->                                             /* .refused, .undone */
        over(); notSwitched(itsKind, itsDevice); forget()
      :: MAY_FAIL(wantedDevice) && MAY_FAIL(device) && !(configured & BIT(wantedDevice)) ->      /* .stopped */
        configured = configured & ~BIT(device); serveNothing(); loseRings();
        isConfigured = false;
        deviceFailed(false);
        over(); notSwitched(itsKind, itsDevice); forget()
      :: MAY_FAIL(device) ->                                                              /* .stuck */
        stuck = stuck | BIT(device);
        isConfigured = false;
        deviceFailed(true);
        closeConnection();
        over(); notSwitched(itsKind, itsDevice); forget()
      fi

    :: what == oEnd ->                                                                    /* Session.finish, endLog, end */
      closeAtDevice(device);
      if :: !isClosedNow -> deviceFailed(true) :: else fi;
      serveNothing();
      isConfigured = false; accepted = false; logOn = false; message = mNone; stoodBy = false; retried = false; failure = false;
      resetRings();
      device = NONE;
      do                                                                                  /* Session.endSwitches */
      :: len(switches) > 0 ->
        switches ? wanted, wantedDevice, wantedReplaced;
#ifdef BROKEN_END
        if :: wanted == wApp -> skip :: else -> dropped(wanted, wantedDevice, true) fi;
        over(); forget()
#else
        over(); dropped(itsKind, itsDevice, true); forget()
#endif
      :: else -> break
      od;
      live = false; ring = 0;                                                             /* SocketServer.ended */
      returned()
    fi;
    what = oNone; isGood = false; isClosedNow = false; isEarly = false;
    if :: live && !isBusy -> idle() :: else fi;
    if :: !isBusy -> ring = 0 :: else fi
    }
  :: application == aStopped && !live -> break
  od
}

/* A device reports that it has failed, when it likes (SessionObserver); once is enough, what comes later changes nothing. */
proctype Reports() {
  do
  :: atomic { live && !isOver && MAY_FAIL(device) && (isConfigured || operation == oConfigure) && !failure && len(jobs) < 3 ->
    deviceFailed(false);
    closeFailedDevice() }
  :: atomic { live && successor != NONE && MAY_FAIL(successor) && !earlyFailed -> earlyFailed = true }
  :: application == aStopped && !live -> break
  od
}

/* MARK: The loop's jobs */

proctype Loop() {
  mtype what; bool its; byte d, other;
  do
  :: atomic { jobs ? what, its, d, other ->
    if
    :: what == jClosed ->                                                                 /* Session.closed */
      if
      :: live && its == generation && !ended -> ended = true; if :: !isBusy -> finish() :: else fi
      :: else
      fi
    :: what == jFailOver ->                                                               /* SocketServer.failOver */
      if
      :: live && its == generation -> switchDevice(wFailover, d, other)
      :: else -> failingOver = false; keep(d)
      fi
    :: what == jGiveBack ->                                                               /* SocketServer.giveBack */
      if
#ifdef BROKEN_GIVE_BACK
      :: live && its == generation && sAway == d -> switchDevice(wGiveBack, d, NONE)
#else
      /* The fault's repair: asked for once, and superseded when another device serves than the one that was lent. */
      :: live && its == generation && sAway == d && wanted != wGiveBack && !(switches?? [wGiveBack, eval(d), eval(other)]) ->
        switchDevice(wGiveBack, d, other)
#endif
      :: else
      fi
    fi;
    what = jClosed; its = false; d = NONE; other = NONE
    }
  :: application == aStopped && !live && empty(jobs) -> break
  od
}

/* MARK: The application */

proctype App() {
#ifdef APP
  byte d;
  do
      /* VhostUserSocket.switchOver: looks at the setup, claims. 99: what is wanted cannot be claimed. */
  :: atomic { application == aIdle ->
    if :: d = A :: d = X :: d = S fi;
    if
    :: (sAway != NONE && d == HANDLE(sAway)) || (sAway == NONE && d == HANDLE(sDevice)) -> d = NONE /* retry */
    :: else ->
      if :: d != S && (claimed & BIT(d)) -> d = 99 :: else fi;
      if
      :: d == 99 -> skip
      :: d != 99 && sStandby != NONE ->           /* it stands by for the new device, or is that */
        appStandby = sStandby;
        if :: d == S -> d = sStandby :: else fi;
#ifndef BROKEN_MADE
        sStandby = NONE                           /* the fault's repair: what stands by has one owner at a time */
#endif
      :: d != 99 && sStandby == NONE ->           /* prepareStandby; software of its own */
        if
        :: !(claimed & BIT(S)) -> kept = S
        :: (claimed & BIT(S)) && !(claimed & BIT(S2)) -> kept = S2
        :: else -> d = 99
        fi;
        if
        :: d == 99 -> skip
        :: d == S -> d = kept
#ifndef FAILOVER_OFF
        :: d != 99 && d != S -> appStandby = kept; isMade = true
#else
        :: d != 99 && d != S -> skip
#endif
        fi;
        kept = 0
      fi;
      if
      :: d != 99 -> claimed = claimed | BIT(d) | (appStandby != NONE -> BIT(appStandby) : 0); appDevice = d; application = aAsked
      :: else
      fi
    fi
    }
    if
    :: atomic { d == NONE && len(jobs) < 3 ->                                             /* SocketServer.retry, Session.retry */
      if
      :: live && isConfigured && failure -> retried = true      /* it is being closed */
      :: live && !isConfigured && failure ->
        failure = false;
        retried = true;
        configureIfReady();
        if :: operation == oConfigure -> retried = false :: else fi
      :: else
      fi;
      skip }
    :: atomic { d == 99 -> d = NONE }
    :: atomic { application == aAsked && len(switches) < 3 && len(jobs) < 3 ->             /* SocketServer.switchDevice */
      if
      :: !live -> serverDevice = d; socketTake(d, appStandby); application = aDone
      :: else -> switchDevice(wApp, d, NONE)
      fi };
      if
      :: atomic { application == aDone -> releaseOlds() }
      :: atomic { application == aFailed && len(jobs) < 3 ->                              /* the catch of switchOver */
#ifdef BROKEN_MADE
        if :: sDevice != d && sStandby != d -> release(d) :: else fi;
        if
        :: appStandby != NONE && appStandby != d && sDevice != appStandby && sStandby != appStandby -> release(appStandby)
        :: else
        fi
#else
        if :: d != appStandby -> release(d) :: else fi;
        if
        :: appStandby != NONE && isMade -> release(appStandby)
        :: appStandby != NONE && !isMade ->
          keep(appStandby);
          if :: live && failure && !ended -> failOver((stuck & BIT(device)) != 0) :: else fi
        :: else
        fi
#endif
        }
      fi;
      atomic { application = aIdle; appDevice = NONE; appStandby = NONE; isMade = false; d = NONE }
    fi
#else
  do
#endif
    /* VhostUserSocket.stop */
  :: atomic { application == aIdle && len(jobs) < 3 ->
    application = aStopping; isStopping = true;
    if :: live -> closeConnection() :: else fi }
    atomic { !live -> 
      kept = 0;
      if :: sDevice != NONE -> kept = kept | BIT(sDevice) :: else fi;
      if :: sStandby != NONE -> kept = kept | BIT(sStandby) :: else fi;
      if :: sAway != NONE -> kept = kept | BIT(sAway) :: else fi;
      sDevice = NONE; sStandby = NONE; sAway = NONE; isStarted = false; 
      olds = kept; kept = 0; releaseOlds();
      application = aStopped }
    break
  od
}

/* MARK: What holds when nothing is under way */

active proctype Properties() {
end:
  do
  :: atomic { QUIET && live && !isClosed ->
    HOLDS(reading_is_resumed, !isPaused);
    HOLDS(every_message_is_answered, message == mNone);
    HOLDS(stopped_rings_are_not_served, !isConfigured || ANY_STARTED);
    HOLDS(every_switch_is_answered, wanted == wNone && !failingOver);
    /* Nobody is let at the rings beside a device that may write. */
    HOLDS(somebody_serves_again, !failure || sStandby == NONE || (stuck & BIT(device)) || application == aAsked || application == aFailed
#ifdef SOFTWARE_FAILS
      || true
#endif
    );
    HOLDS(retry_is_heard, !(retried && !MISSING && !isConfigured && !(stuck & BIT(device))));
    HOLDS(device_knows_rings, !isConfigured || serves[0] == HERE(0));
    HOLDS(device_knows_rings, !(isConfigured && serves[0]) || servesEnabled[0] == isEnabled[0]);
#if RINGS == 2
    HOLDS(device_knows_rings, !isConfigured || serves[1] == HERE(1));
    HOLDS(device_knows_rings, !(isConfigured && serves[1]) || servesEnabled[1] == isEnabled[1]);
#endif
    HOLDS(one_device_serves, (configured & ~(stuck | fenced)) == 0 || ((configured & ~(stuck | fenced)) == BIT(device) && isConfigured)) }
  :: atomic { QUIET && live && !isClosed && application == aIdle ->
    HOLDS(socket_and_session_agree, device == sDevice && device == serverDevice);
    HOLDS(log_is_kept, !(logOn && !CAN_LOG(device)));
    HOLDS(nothing_leaks, (claimed & ~(stuck | fenced) & ~(BIT(sDevice) | BIT(sStandby) | BIT(sAway))) == 0);
    #ifndef FAILOVER_OFF
    HOLDS(standby_is_kept, IS_SOFTWARE(sDevice) || sStandby != NONE);
#endif
    skip }
  :: atomic { application == aStopped && empty(jobs) -> HOLDS(given_back_in_the_end, (claimed & ~(stuck | fenced)) == 0) }
  od
}

/* Who asked for a switch is answered, whatever the front-end and the devices do (no operation takes for ever). */
ltl switch_is_answered { [] ((application == aAsked) -> <> (application != aAsked)) }
/* A connection that has ended is over some time, with its device closed. */
ltl connection_ends { [] ((live && isClosed) -> <> !live) }
/* A standby that was taken takes over, stands by again, or the connection ends. */
ltl failover_ends { [] (failingOver -> <> (!failingOver || isClosed)) }

init { atomic { run Frontend(); run Device(); run Reports(); run Loop(); run App() } }
