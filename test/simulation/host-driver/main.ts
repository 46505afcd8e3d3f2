/**
 * `npm run sim:driver -- SEED [--operations N] [--machine N] [--json]`: random operations on the SMMUv3 host driver, with
 * DMAs at each store, judged by a plain model and by the slow reference. Exit status 1 when they disagree, 2 when the
 * arguments make no sense.
 */

import { parseArgs } from 'node:util'
import { summary } from './counts.js'
import { run } from './run.js'

const DEFAULT_OPERATIONS = 50_000

/** Disagreements that are printed; the rest is only counted. */
const SHOWN = 10

/** Machines between two reports. */
const REPORTED = 20

function main(): number {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      operations: { type: 'string' },
      machine: { type: 'string', default: '0' },
      json: { type: 'boolean', default: false },
    },
  })
  const seed = Number(positionals[0] ?? '1')
  const operations = Number(values.operations ?? DEFAULT_OPERATIONS)
  const from = Number(values.machine)
  if (![seed, operations, from].every((value) => Number.isSafeInteger(value) && value >= 0)) {
    process.stderr.write('SEED, --operations and --machine must be whole numbers\n')
    return 2
  }
  let shown = 0
  const isTerminal = process.stderr.isTTY
  const startedAt = Date.now()
  const counts = run(
    { seed, operations, from },
    ({ machine, operation, what }) => {
      if (++shown > SHOWN) return
      process.stderr.write(`seed ${seed}, machine ${machine}, operation ${operation}: ${what}\n`)
    },
    ({ machines, operations: done, disagreements, dmas }) => {
      if (machines % (isTerminal ? 1 : REPORTED) !== 0) return
      const report = `${done}/${operations} operations, ${dmas} DMAs, ${disagreements} disagreements`
      process.stderr.write(isTerminal ? `\r${report}` : `${report}\n`)
    },
  )
  if (isTerminal) process.stderr.write('\n')
  const seconds = Math.round((Date.now() - startedAt) / 100) / 10
  const told = summary(counts)
  if (values.json) process.stdout.write(`${JSON.stringify({ seed, seconds, ...told })}\n`)
  else {
    for (const kind of ['done', 'ends', 'moments', 'met'] as const) {
      for (const [name, count] of Object.entries(told[kind]).sort()) process.stdout.write(`${kind} ${name}: ${count}\n`)
    }
    const { stores, dmas, walks, disagreements } = counts
    const text = `${counts.operations} operations, ${stores} stores, ${dmas} DMAs, ${walks} walks of the reference`
    process.stdout.write(`seed ${seed}: ${text}, ${seconds} s, ${disagreements} disagreements\n`)
  }
  return counts.disagreements > 0 ? 1 : 0
}

process.exitCode = main()
