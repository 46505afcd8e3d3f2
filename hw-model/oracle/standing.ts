/** Which watches still stand: all that they were made from is as it was, and a fresh walk would answer what they say. */

import type { Memory } from '../memory/memory.js'
import type { Transaction } from '../port.js'
import type { Journal } from './journal.js'
import { type Path, Paths } from './paths.js'
import type { Watch, Watches } from './watches.js'
import type { Words } from './words.js'

/** No word, and as many changes as there never were. */
const NOTHING = [0, 0] as const
const NEVER = -1

/** The watches of one oracle, and what they were made from. */
export class Standing {
  readonly #memory: Memory
  readonly #words: Words
  readonly #watches: Watches
  readonly #journal: Journal
  readonly #paths: Paths
  /** How the walk of each watch begins. */
  readonly #pathOf: Path[] = []

  constructor(memory: Memory, words: Words, watches: Watches, journal: Journal) {
    this.#memory = memory
    this.#words = words
    this.#watches = watches
    this.#journal = journal
    this.#paths = new Paths(words)
  }

  /** Whether a watch stands, which was right after an operation. */
  has(found: number, after: number): boolean {
    const { records, all } = this.#watches
    if (records.rightAt(found) <= after) return false
    const isSeen = records.holds(found, this.#words.changes, this.#memory) && this.#pathOf[found].isIn(this.#memory)
    if (isSeen && (records.isWhole(found) || this.#isRestSame(all[found]))) return true
    return this.#looksSame(all[found])
  }

  /** A watch that is right: a hit is to know at once what it says. */
  add(watch: Watch, transaction: Transaction): void {
    if (watch.isOpen) return
    watch.path = watch.words.length === 0 ? null : this.#paths.of(transaction, watch.words)
    watch.rest = watch.words.slice(watch.path?.ids.length ?? 0, -1)
    this.#say(watch)
  }

  /** Word by word. */
  #looksSame(watch: Watch): boolean {
    if (watch.isOpen || watch.wrongAt !== 0) return false
    const words = this.#words
    if (!words.areSame(watch.words, this.#journal.operation, this.#journal.syncs)) return false
    if (watch.changes === words.changes) return true
    if (words.hasChanged(watch.words, watch.changes)) return false
    watch.changes = words.changes
    this.#say(watch)
    return true
  }

  /** Words between the path and the last one: where there are two stages, both have leaves of the page's own. */
  #isRestSame({ rest }: Watch): boolean {
    return this.#words.areSame(rest, this.#journal.operation, this.#journal.syncs)
  }

  #say({ index, path, rest, words, address, rights, changes }: Watch): void {
    const { records } = this.#watches
    const last = words.at(-1)
    if (path === null || last === undefined) {
      records.say(index, { address, rights, word: 0, value: NOTHING, changes: NEVER, isWhole: true })
      return
    }
    this.#pathOf[index] = path
    const { address: word, after: value } = this.#words.changeOf(last)
    records.say(index, { address, rights, word, value, changes, isWhole: rest.length === 0 })
  }
}
