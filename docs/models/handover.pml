/*
 * One ring that goes from a device to another one while its guest uses it: VDPA/Handover/Handover.swift, StoppedRings.swift and
 * RingRecovery.swift, DeviceContext+Held.swift, and what Session+Switch and Session+Doorbells do around them. README.md says what
 * is left out. The function behind each step is named.
 *
 * Settings: CHAINS, ANY_ORDER (the old device returns chains in any order, or the ring is packed: RingRecovery finds nothing).
 * BROKEN_x takes one thing out of the rules; each makes a property fail. scripts/model says which of them the code has.
 */

#ifndef CHAINS
#define CHAINS 3
#endif
#define OLD 0
#define NEW 1
#define NOBODY 9

/* The name stands in the verifier's message. All of them are always false. */
#define HOLDS(name, condition) assert(name | (condition))
bool one_writer, returned_once, served_once_or_repeated, nothing_is_lost_silently, one_serves_or_a_reason, memory_is_kept,
  guest_is_called, everything_is_served;

/* The ring, as it lies in guest memory. */
byte available, used;           /* the two indices */
byte returned[CHAINS], served[CHAINS];
byte seen;                      /* how far the guest has looked at the used ring */
bool call;                      /* the call descriptor */
bool kick;                      /* the kick descriptor: signalled, and not seen since by who watches it */

/* The devices. */
bool on[2];                     /* configured, and serves the ring */
bool deaf[2];                   /* has vanished: takes no orders any more, but may go on writing (on) */
bool held[2];                   /* Held.memory: the snapshots are kept */
bool mapped[2];                 /* the device's DMA map, or its descriptor: what fencing takes away */
bool stuck[2];                  /* Held.isStuck */
bool awake[2];                  /* looks at the ring; else it waits for a kick */
byte next[2];                   /* the available position */
bool has[6];                    /* chains that it has fetched and not returned: old ones, then new ones */
#define HAS(d, c) has[(d) * 3 + (c)]
#define IDLE(d) (!HAS(d, 0) && !HAS(d, 1) && !HAS(d, 2))

/* The doorbell of the old device: a page that the guest writes to in place of the kick descriptor. */
bool doorbell = true;           /* the front-end has it in the guest's way */
bool isWithdrawn;               /* VRING_HOST_NOTIFIER without a descriptor is on its way */
bool isOffered;                 /* with one */

/* The outcome. */
mtype = { running, moved, refused, undone, stopped, isStuck };
mtype outcome = running;
bool lost;                      /* StoppedRings.lost: reported broken */
byte repeated;                  /* StoppedRings.repeated */
bool hasReason;                 /* notReadyReason, or the connection has ended with one */

/* MARK: The guest */

proctype Guest() {
end:
  do
  :: atomic { available < CHAINS -> available++ };
    if                          /* the kick comes later, to where the way led when it began */
    :: atomic { doorbell ->     /* seen only by a device that is there */
      if :: on[OLD] && !deaf[OLD] -> awake[OLD] = true :: else fi }
    :: atomic { !doorbell -> kick = true }
    fi
  :: atomic { call -> call = false; seen = used }
  od
}

/* MARK: A device */

#define CAN_WRITE(d) (on[d] && mapped[d])

proctype Device(byte d) {
  byte c;
end:
  do
    /* Fetches. One that completes in order has one chain at a time here, others two. */
  :: atomic { on[d] && mapped[d] && awake[d] && next[d] < available &&
#ifdef ANY_ORDER
      (IDLE(d) || (!HAS(d, 2) && next[d] < 3)) ->
#else
      IDLE(d) ->
#endif
    HOLDS(memory_is_kept, held[d]);
    HAS(d, next[d]) = true; next[d]++ }
    /* Asks for kicks, and looks once more: one step. */
  :: atomic { on[d] && awake[d] && next[d] == available -> awake[d] = false }
    /* Is kicked by the descriptor, which every device that serves watches. */
  :: atomic { on[d] && !deaf[d] && kick -> kick = false; awake[d] = true }
    /* Does the work and returns the chain, then calls. */
  :: atomic { on[d] && mapped[d] && !IDLE(d) ->
    if :: HAS(d, 0) -> c = 0 :: HAS(d, 1) -> c = 1 :: HAS(d, 2) -> c = 2 fi;
    served[c]++;
    HOLDS(served_once_or_repeated, served[c] <= 1 || (repeated > 0 && served[c] == 2)) };
    if
    :: atomic { on[d] && mapped[d] && HAS(d, c) ->
      HOLDS(memory_is_kept, held[d]);
      HOLDS(one_writer, !(CAN_WRITE(OLD) && CAN_WRITE(NEW)));
      HAS(d, c) = false; returned[c]++; used++;
      HOLDS(returned_once, returned[c] == 1) };
      if
      :: atomic { on[d] -> call = true }
      :: atomic { !on[d] }                      /* it was stopped, or cut off, before it came to call */
      fi
    :: atomic { !(on[d] && mapped[d]) }         /* it was cut off with the chain in hand */
    fi;
    c = 0
    /* Vanishes: on with its work or not. */
  :: atomic { d == OLD && on[d] && !deaf[d] -> deaf[d] = true; if :: skip :: awake[d] = false fi }
  od
}

/* MARK: The front-end */

proctype Frontend() {
end:
  do
    /* Session.withdrawDoorbell: the answer has the kick descriptor signalled */
  :: atomic { isWithdrawn -> isWithdrawn = false; doorbell = false;
#ifndef BROKEN_ACK
    kick = true
#endif
    }
  :: atomic { isOffered && !isWithdrawn -> isOffered = false; doorbell = true }
  od
}

/* MARK: Session.handOver, Handover.run */

/* Held.configure: from a position on; looks at the ring once and calls the guest once */
inline configure(d, at) {
  held[d] = true; mapped[d] = true;
  next[d] = at;
#ifndef BROKEN_LOOK
  awake[d] = true;
#endif
#ifndef BROKEN_CALL
  call = true;
#endif
  HOLDS(one_writer, !CAN_WRITE(1 - d));
  on[d] = true
}

/* Held.forget */
inline forget(d) { mapped[d] = false; held[d] = false }

/* Handover.abandon: the new device lets go of guest memory */
inline abandon() {
  if
  :: !stuck[NEW] -> forget(NEW)
  :: stuck[NEW] -> skip
  fi
}

proctype Session() {
  byte position;
  bool isSaid;

  /* Session.handOver: withdrawDoorbells */
  atomic { isWithdrawn = true;
#ifdef BROKEN_ACK
    /* Without REPLY_ACK there is no answer, and Session.sendBack completes at once. */
    kick = true
#endif
  };

  /* Handover.compare, Handover.prepare, Handover.tellNew */
  if
  :: outcome = refused
  :: atomic { held[NEW] = true; mapped[NEW] = true };
    if
    :: atomic { abandon(); outcome = refused }
    :: skip
    fi
  fi;
  if
  :: outcome == refused -> goto offer
  :: else
  fi;

  /* Handover.stop: Held.close of the old device, which drains what it has, or cannot be asked */
  if
  :: atomic { on[OLD] && !deaf[OLD] && IDLE(OLD) -> on[OLD] = false; forget(OLD); position = next[OLD]; isSaid = true }
  :: atomic { on[OLD] && deaf[OLD] ->           /* the engine has closed it, but nobody knows where it stands */
    on[OLD] = false; HAS(OLD, 0) = false; HAS(OLD, 1) = false; HAS(OLD, 2) = false; forget(OLD) }
  :: atomic { on[OLD] && deaf[OLD] -> stuck[OLD] = true;
    if
    :: forget(OLD)                              /* Held.fence: its DMA map is emptied, it may go on as it likes */
#ifdef BROKEN_FENCE
    :: held[OLD] = false; goto start            /* not fenced, and taken for closed */
#endif
    :: abandon();                               /* it can be neither closed nor fenced: its memory is kept */
      outcome = isStuck; hasReason = true; goto done
    fi }
  fi;
#ifdef BROKEN_FENCE
start:
#endif

  /* StoppedRings.init, RingRecovery.position */
  atomic {
    if
    :: isSaid -> skip
    :: !isSaid ->
#if defined(ANY_ORDER) && !defined(BROKEN_ORDER)
      lost = true
#elif defined(BROKEN_RECOVERY)
      position = next[OLD]                      /* what it had fetched is forgotten */
#else
      position = used; repeated = available - used
#endif
    fi };

  /* Handover.start: Held.configure of the new device */
  if
  :: atomic { lost -> on[NEW] = false; outcome = moved; goto done } /* it serves other rings; this one is reported broken */
  :: atomic { !lost -> configure(NEW, position); outcome = moved; goto done }
    /* It fails: at once, or after it has served the ring for a while (PartialStart). */
  :: atomic { !lost -> skip }
  :: atomic { !lost -> configure(NEW, position) };
    atomic { IDLE(NEW) -> on[NEW] = false;
#ifndef BROKEN_PARTIAL
      position = next[NEW]
#endif
    }
  fi;

  /* Handover.abandon: unmapping can fail */
  if
  :: atomic { abandon() }
  :: atomic { stuck[NEW] = true; outcome = isStuck; hasReason = true; goto done }
  fi;

  /* Undo: Held.configure of the old device, which refuses when it was fenced (checkNotStuck) */
  if
  :: atomic { !stuck[OLD] && !deaf[OLD] -> configure(OLD, position); outcome = undone }
  :: atomic { outcome = stopped; hasReason = true; goto done }
  fi;

offer:
  /* Session.offerDoorbells: the old device goes on. Messages arrive in order. */
  atomic { !isWithdrawn -> isOffered = true };

done:
  skip
}

/* MARK: When nothing can happen any more */

#define SERVES(d) (on[d] && mapped[d] && !deaf[d])
#define SOMEBODY (SERVES(OLD) || SERVES(NEW))

active proctype Rest() {
  byte c;
  timeout -> atomic {
    HOLDS(one_serves_or_a_reason, outcome != running);
    HOLDS(one_serves_or_a_reason, !(SERVES(OLD) && SERVES(NEW)));
    /* A device that vanishes after the hand-over is the next failure (session.pml). */
    HOLDS(one_serves_or_a_reason, SOMEBODY || lost || hasReason || deaf[OLD]);
    HOLDS(nothing_is_lost_silently, !lost || outcome == moved);
    c = 0;
    do
    :: c < CHAINS ->
      HOLDS(everything_is_served, !(SOMEBODY && c < available) || returned[c] == 1);
      c++
    :: else -> break
    od;
    HOLDS(guest_is_called, !SOMEBODY || seen == used)
  }
}

/* Everything that was made available is returned some time where somebody serves the ring, and the guest hears of it. */
ltl last_kick_is_seen { [] ((available == CHAINS) -> <> (seen == CHAINS || !SOMEBODY || outcome == running)) }
/* The hand-over ends, whatever fails. */
ltl it_ends { <> (outcome != running) }

init { atomic {
  on[OLD] = true; held[OLD] = true; mapped[OLD] = true; awake[OLD] = true;
  run Guest(); run Device(OLD); run Device(NEW); run Frontend(); run Session() } }
