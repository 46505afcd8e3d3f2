/**
 * What the golden tests are written in: bit tables and words as the manuals print them, compared with a layout.
 * Nothing here is computed through the layout that is being judged.
 */

import { expect } from 'vitest'
import { type FieldSpec, type Layout, pack } from '../../hw-model/bits/layout.js'

type AnyLayout = Layout<Record<string, FieldSpec>>

/** One field of a bit table: 64-bit word, bits inclusive, and whether it holds an address in place. */
interface Place {
  readonly name: string
  readonly word: number
  readonly high: number
  readonly low: number
  readonly isAddress: boolean
}

/** A record's 64-bit words, low first, from its 32-bit ones. */
function wordsOf(words: Int32Array): bigint[] {
  return Array.from({ length: Math.ceil(words.length / 2) }, (_, i) => {
    const hi = BigInt((words[2 * i + 1] ?? 0) >>> 0)
    return (hi << 32n) | BigInt(words[2 * i] >>> 0)
  })
}

const hex = (words: readonly bigint[]): string[] => words.map((word) => word.toString(16).padStart(16, '0'))

/**
 * A bit table: one string per 64-bit word, `'V 0; Config 3:1; S1ContextPtr* 55:6'`; a star marks an address, whose
 * bits stay where they stand.
 */
function places(tables: readonly string[]): Place[] {
  return tables.flatMap((table, word) =>
    table
      .split(';')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== '')
      .map((entry) => {
        const [, name, star, high, low] = /^(\w+)(\*?) (\d+)(?::(\d+))?$/.exec(entry) as unknown as string[]
        return { name, word, high: Number(high), low: Number(low ?? high), isAddress: star === '*' }
      }),
  )
}

/** The layout has exactly these fields, and each bit of each of them, alone, stands where the table says. */
export function expectBits(record: unknown, tables: readonly string[]): void {
  const layout = record as AnyLayout
  const table = places(tables)
  expect([...layout.$.fields.keys()].sort()).toEqual(table.map(({ name }) => name).sort())
  for (const { name, word, high, low, isAddress } of table) {
    for (let bit = low; bit <= high; bit++) {
      const value = 2 ** (isAddress ? bit : bit - low)
      const words = pack(layout, { [name]: value })
      const expected = Array.from({ length: Math.ceil(words.length / 2) }, (_, i) =>
        i === word ? 1n << BigInt(bit) : 0n,
      )
      expect(hex(wordsOf(words)), `${layout.$.name}.${name} bit ${bit}`).toEqual(hex(expected))
      const field = layout.$.fields.get(name)
      expect(field?.get(words, 0), `${layout.$.name}.${name} bit ${bit}`).toBe(value)
    }
    if (high - low >= 52) continue
    const all = new Int32Array(layout.$.words).fill(-1)
    const full = isAddress ? (2 ** (high - low + 1) - 1) * 2 ** low : 2 ** (high - low + 1) - 1
    expect(layout.$.fields.get(name)?.get(all, 0), `${layout.$.name}.${name} of all ones`).toBe(full)
  }
}

/**
 * Packing the fields gives these words, and reading the words gives the fields back.
 *
 * @param vector 64-bit words in hex, low word first, separated by blanks; what is missing is zero
 */
export function expectWords(record: unknown, fields: Readonly<Record<string, number>>, vector: string): void {
  const layout = record as AnyLayout
  const expected = vector.split(' ').map((word) => BigInt(`0x${word}`))
  while (expected.length < layout.$.words / 2) expected.push(0n)
  const packed = pack(layout, fields)
  expect(hex(wordsOf(packed))).toEqual(hex(expected))
  const words = Int32Array.from(
    expected.flatMap((word) => [BigInt.asIntN(32, word), BigInt.asIntN(32, word >> 32n)]).map(Number),
  )
  for (const [name, field] of layout.$.fields) expect(field.get(words, 0), name).toBe(fields[name] ?? 0)
}

/** Whether what a module exports is a layout. */
export const isLayout = (exported: unknown): boolean =>
  typeof exported === 'object' && exported !== null && '$' in exported

/** A table of register offsets, `'IDR0 0; CR0 20'`, in hex. */
export function offsets(table: string): Record<string, number> {
  const pairs = table.split(';').map((entry) => entry.trim().split(' '))
  return Object.fromEntries(pairs.map(([name, offset]) => [name, Number.parseInt(offset, 16)]))
}
