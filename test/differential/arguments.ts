/** The words of a command line. */

import { parseArgs } from 'node:util'

const ARCHITECTURES: readonly string[] = ['smmuv3', 'vtd']
const DEFAULT_CASES = 20_000
/** What was asked for. */
export interface Arguments {
  readonly arch: string
  readonly cases: number
  readonly seed: number
  readonly only: number | null
  readonly json: boolean
}

/** @throws Error with a sentence for whoever typed them */
export function argumentsOf(argv: readonly string[]): Arguments {
  const text = { type: 'string' } as const
  const options = {
    arch: text,
    cases: text,
    seed: text,
    only: text,
    json: { type: 'boolean', default: false },
  } as const
  const { values } = parseArgs({ args: [...argv], options })
  const number = (name: 'cases' | 'seed' | 'only', fallback: number): number => {
    const value = Number(values[name] ?? fallback)
    if (Number.isSafeInteger(value) && value >= 0) return value
    throw new Error(`--${name} must be a whole number, not ${values[name]}`)
  }
  const arch = values.arch ?? 'smmuv3'
  if (!ARCHITECTURES.includes(arch)) throw new Error(`--arch must be ${ARCHITECTURES.join(' or ')}, not ${arch}`)
  const only = values.only === undefined ? null : number('only', 0)
  return { arch, cases: number('cases', DEFAULT_CASES), seed: number('seed', 1), only, json: values.json }
}
