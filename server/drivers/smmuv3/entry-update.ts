/**
 * Changes an STE or a CD that hardware may be reading, 64 bits at a time, so that every state it can see is the old
 * entry, the new one, or an abort. Hitless where one 64-bit store makes the difference. [SMMU 3.21.3.1]
 */

/** 64-bit words of an STE and of a CD. */
export const QWORDS = 8

/** 32-bit words of an STE and of a CD. */
export const ENTRY_WORDS = QWORDS * 2

/** What an update needs to know of the kind of entry, and how it reaches memory and hardware. */
export interface EntryWriter {
  /** Bits that hardware may look at, given an entry. */
  used(entry: Int32Array): Int32Array
  /** Bits that may change early although both entries use them. */
  readonly safe: Int32Array
  /** Stores one 64-bit word. */
  store(qword: number, lo: number, hi: number): void
  /** Makes hardware forget what it has cached of the entry. */
  sync(): void
}

/**
 * Brings an entry from what it is to `target`. `current` is the driver's own copy and follows every store.
 *
 * 1. Which 64-bit words have used bits that differ once everything unused was set in advance?
 * 2. None: write them all. 3. One: prepare the others, store that one, clean up the others.
 * 4. More: make the entry invalid first; for that moment a DMA meets C_BAD_STE or C_BAD_CD.
 *
 * @returns whether it was hitless
 */
export function updateEntry(current: Int32Array, target: Int32Array, writer: EntryWriter): boolean {
  const used = writer.used(target)
  const prepared = prepare(current, target, used, writer)
  const critical = criticalQwords(prepared, target, used)
  if (critical.length === 0) {
    put(current, target, 0, QWORDS, writer)
    return true
  }
  if (critical.length === 1) {
    const [qword] = critical
    prepared[qword * 2] = current[qword * 2]
    prepared[qword * 2 + 1] = current[qword * 2 + 1]
    put(current, prepared, 0, QWORDS, writer)
    put(current, target, qword, 1, writer)
    put(current, target, 0, QWORDS, writer)
    return true
  }
  put(current, new Int32Array(ENTRY_WORDS), 0, 1, writer)
  put(current, target, 1, QWORDS - 1, writer)
  put(current, target, 0, 1, writer)
  return false
}

/** The entry with every bit that hardware does not look at now already as it will be. */
function prepare(current: Int32Array, target: Int32Array, usedByTarget: Int32Array, writer: EntryWriter): Int32Array {
  const used = writer.used(current)
  const prepared = new Int32Array(ENTRY_WORDS)
  for (let i = 0; i < ENTRY_WORDS; i++) {
    // What the target does not use goes last, safe or not: early it would take a store and a sync of its own.
    const held = used[i] & ~(writer.safe[i] & usedByTarget[i])
    prepared[i] = (current[i] & held) | (target[i] & ~held)
  }
  return prepared
}

function criticalQwords(prepared: Int32Array, target: Int32Array, used: Int32Array): number[] {
  const critical: number[] = []
  for (let qword = 0; qword < QWORDS; qword++) {
    const differs = (i: number): boolean => (prepared[i] & used[i]) !== target[i]
    if (differs(qword * 2) || differs(qword * 2 + 1)) critical.push(qword)
  }
  return critical
}

/** Stores the words that differ, and syncs if there were any. */
function put(current: Int32Array, from: Int32Array, first: number, count: number, writer: EntryWriter): void {
  let changed = false
  for (let qword = first; qword < first + count; qword++) {
    const at = qword * 2
    if (current[at] === from[at] && current[at + 1] === from[at + 1]) continue
    current[at] = from[at]
    current[at + 1] = from[at + 1]
    writer.store(qword, from[at], from[at + 1])
    changed = true
  }
  if (changed) writer.sync()
}
