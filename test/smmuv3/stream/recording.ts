/**
 * The recorded register writes and commands of a Linux guest's driver: read, and taken apart into what the driver gave at
 * once. The fields are read here by hand, so that a wrong layout of ours is not compared with itself.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const FOLDER = join(import.meta.dirname, '../../fixtures/captures/A')

/** A command as its two 64-bit words. */
export interface Command {
  readonly dw0: bigint
  readonly dw1: bigint
}

/** A register write; page 1 stands folded onto page 0. */
export interface RegisterWrite {
  readonly offset: number
  readonly bytes: number
  readonly value: bigint
}

/** One row: a register write stands after the commands that it started. */
export type Row =
  | { readonly kind: 'command'; readonly command: Command }
  | { readonly kind: 'register'; readonly write: RegisterWrite }

/** What the driver queued at once: commands and their SYNC, or one command without. */
export interface CommandList {
  readonly commands: readonly Command[]
  /** CMDQ_PROD was written for this list alone; else two processors' lists were told together. */
  readonly isAlone: boolean
}

/** A recording, in order. */
export type Step =
  | { readonly kind: 'list'; readonly list: CommandList }
  | { readonly kind: 'register'; readonly write: RegisterWrite }

/** Offsets that the replay knows. */
export const REGISTER = { CR0: 0x20, CMDQ_PROD: 0x98, EVENTQ_CONS: 0xac } as const

/** Opcodes by their names in the manual. [SMMU 4.1 Commands overview] */
export const OPCODES: Readonly<Record<number, string>> = {
  1: 'PREFETCH_CONFIG',
  3: 'CFGI_STE',
  4: 'CFGI_ALL',
  5: 'CFGI_CD',
  16: 'TLBI_NH_ALL',
  17: 'TLBI_NH_ASID',
  18: 'TLBI_NH_VA',
  32: 'TLBI_EL2_ALL',
  40: 'TLBI_S12_VMALL',
  42: 'TLBI_S2_IPA',
  48: 'TLBI_NSNH_ALL',
  64: 'ATC_INV',
  70: 'SYNC',
}

/** Bits `[high:low]` of a word. */
export const bits = (word: bigint, high: number, low: number): number =>
  Number((word >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n))

/** A command's name. */
export const nameOf = ({ dw0 }: Command): string => OPCODES[bits(dw0, 7, 0)] ?? `0x${bits(dw0, 7, 0).toString(16)}`

/** The recorded rows. */
export function recordedRows(): readonly Row[] {
  const text = gunzipSync(readFileSync(join(FOLDER, 'commands.jsonl.gz'))).toString()
  return text
    .trimEnd()
    .split('\n')
    .map((line): Row => {
      const row = JSON.parse(line) as readonly ['R', string, number, string] | readonly ['C', string, string]
      if (row[0] === 'C') return { kind: 'command', command: { dw0: BigInt(row[1]), dw1: BigInt(row[2]) } }
      return { kind: 'register', write: { offset: Number(row[1]), bytes: row[2], value: BigInt(row[3]) } }
    })
}

/** Rows as steps: what one write of CMDQ_PROD told, taken apart at each SYNC. */
export function stepsOf(rows: readonly Row[]): readonly Step[] {
  const steps: Step[] = []
  let told: Command[] = []
  for (const row of rows) {
    if (row.kind === 'command') told.push(row.command)
    else if (row.write.offset !== REGISTER.CMDQ_PROD || told.length === 0) {
      steps.push({ kind: 'register', write: row.write })
    } else {
      const lists = listsOf(told)
      told = []
      for (const commands of lists) steps.push({ kind: 'list', list: { commands, isAlone: lists.length === 1 } })
    }
  }
  return steps
}

function listsOf(commands: readonly Command[]): readonly (readonly Command[])[] {
  const lists: Command[][] = []
  let list: Command[] = []
  for (const command of commands) {
    list.push(command)
    const name = nameOf(command)
    if (name !== 'SYNC' && name !== 'PREFETCH_CONFIG') continue
    lists.push(list)
    list = []
  }
  if (list.length > 0) lists.push(list)
  return lists
}
