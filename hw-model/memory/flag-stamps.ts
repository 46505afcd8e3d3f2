/**
 * Where in tables hardware's own access and dirty flags were stored. Who keeps tables in a range of memory asks for stamps
 * there, links each table to the entry that points to it, and then reads again only the entries that may have been
 * touched: what is stamped below an entry is a stamp of that entry, too, so a search from the root passes by all others.
 */

const PAGE_BYTES = 4096
const SLOT_BYTES = 8
const SLOTS = PAGE_BYTES / SLOT_BYTES
/** Words of a page's stamps, a bit for each entry. */
const WORDS = SLOTS / 32
/** Pages whose links are kept together; those of memory that nobody uses are not there. */
const CHUNK = 4096

const NONE = -1
/** Far more than a walk has levels; a power of two. */
const LATE = 64

/** Stamps of entries, by address. */
export class FlagStamps {
  /** Which of the bitmaps is a page's, for those that have a stamp. */
  readonly #places = new Map<number, number>()
  readonly #free: number[] = []
  #bits = new Int32Array(0)
  /** Stamps of each bitmap. */
  #counts = new Int32Array(0)
  #made = 0
  /** Pages that were asked for lately, and the bitmap of each or NONE: a walk asks many times for the tables on its way. */
  readonly #latePages = new Float64Array(LATE).fill(NONE)
  readonly #latePlaces = new Int32Array(LATE)
  /** By page of the range: one more than the slot that points to it, counted from the range's start; 0 is none. */
  readonly #links: Float64Array[] = []
  #start = 0
  #end = 0

  /** From now on flags that are stored in `[base, base + bytes)` leave a stamp; elsewhere they leave none. */
  watch(base: number, bytes: number): void {
    this.#start = base
    this.#end = base + bytes
  }

  /** A table is reached through the entry at `slot`, both in the range that is watched. It has no stamp yet. */
  link(table: number, slot: number): void {
    const page = (table - this.#start) / PAGE_BYTES
    const chunk = Math.floor(page / CHUNK)
    this.#links[chunk] ??= new Float64Array(CHUNK)
    this.#links[chunk][page % CHUNK] = (slot - this.#start) / SLOT_BYTES + 1
  }

  /** Whether any entry of a page was touched since its stamp was taken away. */
  hasPage(pa: number): boolean {
    return this.#placeOf(Math.floor(pa / PAGE_BYTES)) !== NONE
  }

  /** Whether an entry has a stamp. */
  has(pa: number): boolean {
    const place = this.#placeOf(Math.floor(pa / PAGE_BYTES))
    if (place === NONE) return false
    const slot = slotOf(pa)
    return (this.#bits[place * WORDS + (slot >> 5)] & (1 << (slot & 31))) !== 0
  }

  /** The first entry with a stamp in `[pa, end)`, all of one page; `end` if there is none. */
  next(pa: number, end: number): number {
    const place = this.#placeOf(Math.floor(pa / PAGE_BYTES))
    if (place === NONE) return end
    const slot = slotOf(pa)
    const before = slot + (end - pa) / SLOT_BYTES
    for (let word = slot >> 5; word * 32 < before; word++) {
      const bits = this.#bits[place * WORDS + word] & (word === slot >> 5 ? -1 << (slot & 31) : -1)
      if (bits === 0) continue
      return Math.min(end, pa + (word * 32 + 31 - Math.clz32(bits & -bits) - slot) * SLOT_BYTES)
    }
    return end
  }

  /** A flag was stored at an address. */
  touch(pa: number): void {
    if (pa < this.#start || pa >= this.#end) return
    for (let at = pa; ; ) {
      const page = Math.floor(at / PAGE_BYTES)
      const known = this.#placeOf(page)
      this.#set(known === NONE ? this.#make(page) : known, slotOf(at))
      // What is above a page with stamps has its own already.
      if (known !== NONE) return
      const inRange = Math.floor((at - this.#start) / PAGE_BYTES)
      const link = this.#links[Math.floor(inRange / CHUNK)]?.[inRange % CHUNK] ?? 0
      if (link === 0) return
      at = this.#start + (link - 1) * SLOT_BYTES
    }
  }

  /** Entries from one on, all of one page, were stored with their flags set. */
  touchAll(pa: number, count: number): void {
    this.touch(pa)
    const place = this.#placeOf(Math.floor(pa / PAGE_BYTES))
    if (place === NONE) return
    const first = slotOf(pa)
    for (let slot = first; slot < first + count; slot++) this.#set(place, slot)
  }

  /** Takes the stamp of an entry away. */
  remove(pa: number): void {
    const page = Math.floor(pa / PAGE_BYTES)
    const place = this.#placeOf(page)
    if (place === NONE) return
    const slot = slotOf(pa)
    const word = place * WORDS + (slot >> 5)
    const bit = 1 << (slot & 31)
    if ((this.#bits[word] & bit) === 0) return
    this.#bits[word] &= ~bit
    if (--this.#counts[place] === 0) this.#drop(page, place)
  }

  /** Those of a page, and its link: it is no table any more, or another. */
  removePage(pa: number): void {
    const page = Math.floor(pa / PAGE_BYTES)
    const place = this.#placeOf(page)
    if (place !== NONE) this.#drop(page, place)
    const inRange = Math.floor((pa - this.#start) / PAGE_BYTES)
    const links = this.#links[Math.floor(inRange / CHUNK)]
    if (links !== undefined) links[inRange % CHUNK] = 0
  }

  /** A bitmap without a bit. */
  #make(page: number): number {
    const place = this.#free.pop() ?? this.#made++
    if (place * WORDS === this.#bits.length) {
      const grown = new Int32Array(Math.max(WORDS, 2 * this.#bits.length))
      grown.set(this.#bits)
      this.#bits = grown
      const counts = new Int32Array(grown.length / WORDS)
      counts.set(this.#counts)
      this.#counts = counts
    }
    this.#bits.fill(0, place * WORDS, (place + 1) * WORDS)
    this.#counts[place] = 0
    this.#places.set(page, place)
    this.#latePages[page & (LATE - 1)] = page
    this.#latePlaces[page & (LATE - 1)] = place
    return place
  }

  #placeOf(page: number): number {
    const late = page & (LATE - 1)
    if (this.#latePages[late] === page) return this.#latePlaces[late]
    const place = this.#places.get(page) ?? NONE
    this.#latePages[late] = page
    this.#latePlaces[late] = place
    return place
  }

  #set(place: number, slot: number): void {
    const word = place * WORDS + (slot >> 5)
    const bit = 1 << (slot & 31)
    if ((this.#bits[word] & bit) !== 0) return
    this.#bits[word] |= bit
    this.#counts[place]++
  }

  /** A page has no stamp any more. */
  #drop(page: number, place: number): void {
    this.#places.delete(page)
    this.#free.push(place)
    if (this.#latePages[page & (LATE - 1)] === page) this.#latePlaces[page & (LATE - 1)] = NONE
  }
}

const slotOf = (pa: number): number => (pa % PAGE_BYTES) / SLOT_BYTES
