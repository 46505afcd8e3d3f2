/** The ids of a context: reserved, published, or spoilt for ever (a tombstone). */

import { LowestFree } from './ids.js'
import type { IommuObject } from './object.js'
import { assert, Refusal } from './refusal.js'

/** A class of objects that a call can look for. */
export interface Kind<T extends IommuObject> {
  new (...args: never[]): T
  /** As a refusal names it: `an IOAS`. */
  readonly label: string
  /** What to say to a caller who gave an object of another kind. */
  readonly hint?: (found: IommuObject) => string | undefined
}

/** One context's objects by id. */
export class ObjectTable {
  readonly #ids = new LowestFree()
  /** By id; undefined while reserved or free. Ids are dense, as the lowest free one is taken. */
  readonly #objects: (IommuObject | undefined)[] = []
  readonly #tombstones = new Set<number>()
  #count = 0

  /** Published objects. */
  get size(): number {
    return this.#count
  }

  /** Whether no id is in use: by an object, by a call that makes one, or as a tombstone. */
  get isEmpty(): boolean {
    return this.#ids.taken === 0
  }

  /** Takes the lowest free id; look-ups do not find it until `publish`. */
  reserve(): number {
    return this.#ids.take()
  }

  /** Gives a reserved id back. */
  release(id: number): void {
    this.#ids.free(id)
  }

  /** Makes an object visible under its reserved id. */
  publish(object: IommuObject): void {
    assert(this.#objects[object.id] === undefined, `id ${object.id} is published once`)
    this.#objects[object.id] = object
    this.#count++
  }

  /** Takes an object out; its id is free at once. */
  remove(object: IommuObject): void {
    this.#takeOut(object)
    this.#ids.free(object.id)
  }

  /** Takes an object out; its id is never used again in this context. [uAPI vDEVICE of an unbound device] */
  bury(object: IommuObject): void {
    this.#takeOut(object)
    this.#tombstones.add(object.id)
  }

  /** The object, or undefined: unused, reserved, buried. */
  find(id: number): IommuObject | undefined {
    return this.#objects[id]
  }

  /**
   * The object of that id and kind.
   *
   * @param field the request's field that names it
   * @throws Refusal ENOENT, saying what the id really is
   */
  get<T extends IommuObject>(kind: Kind<T>, id: number, field: string): T {
    const found = this.#objects[id]
    if (found instanceof kind) return found
    throw new Refusal('ENOENT', this.#whyNot(kind, id, found), { field, id, is: found?.kind ?? 'nothing' })
  }

  /** Published objects by ascending id. */
  *ascending(fromId = 1): Iterable<IommuObject> {
    for (let id = fromId; id < this.#objects.length; id++) {
      const object = this.#objects[id]
      if (object !== undefined) yield object
    }
  }

  /** What an id is, as the end of a sentence. */
  describe(id: number): string {
    const found = this.#objects[id]
    if (found !== undefined) return `id ${id} is a ${found.kind}`
    if (this.#tombstones.has(id)) return `id ${id} was a vDEVICE whose device was unbound, and stays unused`
    return `id ${id} is not in use`
  }

  #whyNot<T extends IommuObject>(kind: Kind<T>, id: number, found: IommuObject | undefined): string {
    if (found === undefined) return `${this.describe(id)}; ${kind.label} is wanted`
    const hint = kind.hint?.(found)
    return `${this.describe(id)}, not ${kind.label}${hint === undefined ? '' : `: ${hint}`}`
  }

  #takeOut(object: IommuObject): void {
    assert(this.#objects[object.id] === object, `${object.kind} ${object.id} is published before it is removed`)
    this.#objects[object.id] = undefined
    this.#count--
  }
}
