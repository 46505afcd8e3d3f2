/**
 * Which pages of tables hardware's own access and dirty flags were stored into. Who keeps tables in a range of memory
 * asks for stamps there, and then reads again only the tables that were touched.
 */

const PAGE_BYTES = 4096

/** Stamps of pages, by address. */
export class FlagStamps {
  readonly #pages = new Set<number>()
  #start = 0
  #end = 0

  /** From now on flags that are stored in `[base, base + bytes)` leave a stamp; elsewhere they leave none. */
  watch(base: number, bytes: number): void {
    this.#start = base
    this.#end = base + bytes
  }

  /** Whether the page of an address was touched since its stamp was taken away. */
  has(pa: number): boolean {
    return this.#pages.has(Math.floor(pa / PAGE_BYTES))
  }

  /** A flag was stored at an address. */
  touch(pa: number): void {
    if (pa >= this.#start && pa < this.#end) this.#pages.add(Math.floor(pa / PAGE_BYTES))
  }

  /** Takes the stamp of a page away. */
  remove(pa: number): void {
    this.#pages.delete(Math.floor(pa / PAGE_BYTES))
  }
}
