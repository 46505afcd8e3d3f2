/**
 * `npm run sim:objects -- SEED [--calls N] [--json]`: random calls of three contexts, to core with the real drivers and
 * to the plain rules. Exit status 1 when they disagree, 2 when the arguments make no sense.
 */

import { parseArgs } from 'node:util'
import { Run, STAYS_BYTES } from './run.js'

const DEFAULT_CALLS = 100_000

/** Disagreements that are printed; the rest is only counted. */
const SHOWN = 10

/** Calls between two reports. */
const REPORTED = 50_000

function main(): number {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { calls: { type: 'string' }, json: { type: 'boolean', default: false } },
  })
  const seed = Number(positionals[0] ?? '1')
  const calls = Number(values.calls ?? DEFAULT_CALLS)
  if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(calls) || calls < 2) {
    process.stderr.write('SEED and --calls must be whole numbers\n')
    return 2
  }
  let shown = 0
  const run = new Run(seed, (what) => {
    if (++shown <= SHOWN) process.stderr.write(`${what}\n`)
  })
  const isTerminal = process.stderr.isTTY
  const half = (from: number): number => {
    for (let done = from; done < from + calls / 2; done += REPORTED) {
      run.go(Math.min(REPORTED, Math.ceil(from + calls / 2) - done))
      const { summary } = run
      const report = `${summary.calls}/${calls} calls, ${summary.disagreements} disagreements`
      process.stderr.write(isTerminal ? `\r${report}` : `${report}\n`)
    }
    return run.endAll()
  }
  const before = half(0)
  const leaked = half(calls / 2) - before
  if (isTerminal) process.stderr.write('\n')
  const { byMethod, ...rest } = run.summary
  const summary = { seed, ...rest, leakedBytes: leaked, byMethod: Object.fromEntries(byMethod) }
  if (values.json) process.stdout.write(`${JSON.stringify(summary)}\n`)
  else {
    for (const [method, { all, done }] of byMethod)
      process.stdout.write(`${method.padEnd(20)} ${all} calls, ${done} done\n`)
    process.stdout.write(`${rest.calls} calls, ${rest.disagreements} disagreements, ${leaked} bytes left behind\n`)
  }
  return rest.disagreements > 0 || leaked > STAYS_BYTES ? 1 : 0
}

process.exitCode = main()
